/* imsuper-reader: `imsuper start` starts one per --readers; its verbs are those of `imsuper data`. */
#include "ipc/base/log.h"
#include "reader/reader.h"
#include "reader/sandbox.h"
#include "reader/tools/verbs.h"

static int read_for_run(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_sandbox_state sandbox;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_READER, &storage, &child, &text);

    if (err == 0) {
        err = rd_sandbox_enter(child.conf->read_root, child.conf->index_file, child.conf->seek_file,
                               im_child_is_first(&child), &sandbox, &text);
        child.sandbox = &sandbox;
        if (err == 0)
            err = rd_run(&child, &text);
        im_child_close(&child);
    }
    if (err < 0 && text.s[0])
        im_log(IM_LOG_ERROR, "leaving", "why=%s", im_log_quote(&(struct im_quoted){0}, text.s));
    return im_exit_status(err);
}

int main(int argc, char **argv)
{
    if (im_child_is_started(argc, argv))
        return read_for_run(argc, argv);
    return rd_verb_main(argc, argv);
}
