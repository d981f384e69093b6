/* imsuper-trainer: `imsuper start` starts one per rank; its verbs need no run. */
#include <unistd.h>

#include "ipc/base/log.h"
#include "trainer/checkpoint/torch_open.h"
#include "trainer/save_snapshot.h"
#include "trainer/tools/verbs.h"
#include "trainer/trainer.h"

static int train_for_run(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_TRAINER, &storage, &child, &text);

    if (err < 0) {
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
        return im_exit_status(err);
    }
    err = tr_run(&child, &text);
    if (tr_has_abandoned_gpu(&child, err))
        _exit(im_exit_status(err));
    im_child_close(&child);
    return im_exit_status(err);
}

static int save_for_run(void)
{
    static struct im_child_storage storage;
    struct im_text text = {0};
    int err = tr_save_snapshot(&storage, &text);

    if (err < 0)
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
    return im_exit_status(err);
}

int main(int argc, char **argv)
{
    if (tr_is_saver(argc, argv))
        return save_for_run();
    if (tr_is_torch_reader(argc, argv))
        tr_torch_reader(argc == 3 ? argv[2] : NULL);
    if (im_child_is_started(argc, argv))
        return train_for_run(argc, argv);
    return tr_verb_main(argc, argv);
}
