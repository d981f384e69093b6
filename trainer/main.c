/* imsuper-trainer: `imsuper start` starts one per rank; its verbs need no run. */
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/log.h"
#include "trainer/checkpoint/torch_open.h"
#include "trainer/save_snapshot.h"
#include "trainer/tools/bench.h"
#include "trainer/tools/gpus.h"
#include "trainer/tools/model.h"
#include "trainer/tools/weights.h"
#include "trainer/trainer.h"

static const struct im_command verbs[] = {
    {.name = "bench",
     .typed = "imsuper bench trainer",
     .usual = "--model resnet50 --image-size 224 --batch-size 16 [--json]",
     .what = "Measures images/s of the training step on random pixels.",
     .options = IM_FOR_STEPS,
     .check = IM_CHECK_NETWORK,
     .run = tr_cmd_bench},
    {.name = "profile",
     .typed = "imsuper profile trainer",
     .usual = "--model resnet50 --image-size 224 --batch-size 16 [--json]",
     .what = "Shows where the time of a training step goes, layer by layer.",
     .options = IM_FOR_STEPS,
     .check = IM_CHECK_NETWORK,
     .run = tr_cmd_profile},
    {.name = "model",
     .typed = "imsuper model",
     .usual = "[--model NAME] [--init-from FILE]",
     .what = "Shows the layers of a network; with --init-from FILE what of a file of weights does not fit.",
     .options = IM_FOR_MODEL,
     .check = IM_CHECK_VALUES,
     .run = tr_cmd_model},
    {.name = "weights",
     .typed = "imsuper-trainer weights",
     .usual = "--init-from FILE",
     .what = "Says which network a file of weights is for, and its classes, as JSON.",
     .options = IM_FOR_MODEL,
     .required = "init-from",
     .is_inner = true,
     .run = tr_cmd_weights},
    {.name = "gpus",
     .typed = "imsuper gpus --json",
     .what = "Lists the GPUs that a run started here could take, as JSON.",
     .run = tr_cmd_gpus},
};

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
        tr_torch_reader();
    if (im_child_is_started(argc, argv))
        return train_for_run(argc, argv);
    return im_command_main("imsuper-trainer", verbs, IM_COUNT(verbs), argc, argv);
}
