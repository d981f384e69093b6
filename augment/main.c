/* imsuper-augmenter: `imsuper start` starts one per --augmenters; its verbs show and measure samples without a run. */
#include "augment/augment.h"

#include "augment/limits.h"
#include "augment/sandbox.h"
#include "augment/signals.h"
#include "augment/tools/session.h"
#include "ipc/base/count.h"
#include "ipc/base/log.h"

static const struct im_command verbs[] = {
    {.name = "preview",
     .typed = "imsuper data preview",
     .usual = "--data-dir DIR --augment classic -o grid.png",
     .what = "Shows one image under 16 draws and 16 images, as training would see them.",
     .options = IM_FOR_PREVIEW,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_preview},
    {.name = "bench",
     .typed = "imsuper bench augment",
     .usual = "--data-dir DIR --augment classic [--json]",
     .what = "Measures decoding and transforms on one core, files in memory.",
     .options = IM_FOR_BENCH,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_bench},
    {.name = "profile",
     .typed = "imsuper profile augment",
     .usual = "--data-dir DIR --augment classic [--json]",
     .what = "Shows where the time of an augmenter goes.",
     .options = IM_FOR_BENCH,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = au_cmd_profile},
    {.name = "pixels",
     .typed = "imsuper-augmenter pixels",
     .usual = "--data-dir DIR --split val",
     .what = "Sends samples to the program that started it.",
     .options = IM_FOR_PIXELS,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .is_inner = true,
     .run = au_cmd_pixels},
};

static int augment_for_run(int argc, char **argv)
{
    static struct im_child_storage storage;
    struct im_sandbox_state sandbox;
    struct im_child child;
    struct im_text text = {0};
    int err = im_child_open(argc, argv, IM_ROLE_AUGMENTER, &storage, &child, &text);

    if (err == 0) {
        au_limit_memory(child.conf);
        au_note_sent_signals(child.stats);
        err = au_sandbox_enter(child.conf->read_root, child.conf->seek_file, im_child_is_first(&child),
                               &sandbox, &text);
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
    return im_command_main("imsuper-augmenter", verbs, IM_COUNT(verbs), argc, argv);
}
