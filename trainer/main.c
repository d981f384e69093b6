/* imsuper-trainer: started by the warden, one per rank. */
#include "ipc/base/log.h"
#include "trainer/trainer.h"

int main(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_TRAINER, &storage, &child, &text);

    if (err == 0) {
        err = tr_run(&child, &text);
        im_child_close(&child);
    }
    if ((err < 0 || err == IM_EXIT_PEER) && text.s[0])
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
    return im_child_exit_status(err);
}
