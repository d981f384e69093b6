/* imsuper-augmenter: `imsuper start` starts one per --augmenters; its verbs show and measure samples without a run. */
#include "augment/augment.h"

#include "augment/limits.h"
#include "augment/sandbox.h"
#include "augment/tools/session.h"
#include "ipc/base/log.h"

static int augment_for_run(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_sandbox_state sandbox;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_AUGMENTER, &storage, &child, &text);

    if (err == 0) {
        au_limit_memory(child.conf);
        err = au_sandbox_enter(child.conf->read_root, child.conf->seek_file, au_needs_avif(&child),
                               im_child_is_first(&child), &sandbox, &text);
        child.sandbox = &sandbox;
        if (err == 0)
            err = au_run(&child, &text);
        im_child_close(&child);
    }
    if (err < 0 && text.s[0])
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
    return im_exit_status(err);
}

int main(int argc, char **argv)
{
    if (im_child_is_started(argc, argv))
        return augment_for_run(argc, argv);
    return au_command_main(argc, argv);
}
