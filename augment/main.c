/* imsuper-augmenter: started by the warden, one per --augmenters. */
#include "augment/augment.h"

#include "augment/sandbox.h"
#include "ipc/base/log.h"

/* Said once in a run, not once in a process. */
static int restrict_us(const struct im_child *child, struct im_text *text)
{
    struct im_text why = {0};
    int err = au_sandbox_enter(&why);

    if (err > 0 && child->index == 0)
        im_log(IM_LOG_WARN, "no sandbox", "why=%s", im_log_quote(&(struct im_quoted){0}, why.s));
    return err < 0 ? im_fail(text, err, "%s", why.s) : 0;
}

int main(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_AUGMENTER, &storage, &child, &text);

    if (err == 0) {
        err = restrict_us(&child, &text);
        if (err == 0)
            err = au_run(&child, &text);
        im_child_close(&child);
    }
    if (err < 0 && text.s[0])
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
    return im_child_exit_status(err);
}
