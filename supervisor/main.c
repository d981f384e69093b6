/* imsuper: the user's command. A table of verbs; each lives in its own file. */
#include <locale.h>

#include "ipc/base/count.h"
#include "supervisor/cli/commands.h"

static const struct im_command verbs[] = {
    {.name = "start",
     .typed = "imsuper start",
     .usual = "--data-dir DIR [flags]",
     .what = "Trains, or continues the run of that name.",
     .options = IM_FOR_START,
     .required = "data-dir",
     .check = IM_CHECK_NETWORK,
     .run = sv_cmd_start},
    {.name = "lr-find",
     .typed = "imsuper lr-find",
     .usual = "--data-dir DIR [--num-iter N] [--start-lr RATE] [--end-lr RATE] [flags of start]",
     .what = "Trains a fresh network for N steps at growing rates until the loss diverges, and suggests\n"
             "a rate; writes lr-find.png and lr-find.json (--output) and touches no run.",
     .options = IM_FOR_START | IM_FOR_LR_FIND,
     .required = "data-dir",
     .check = IM_CHECK_NETWORK,
     .run = sv_cmd_lr_find},
    {.name = "recipes",
     .typed = "imsuper recipes",
     .usual = "[NAME]",
     .what = "Lists the recipes, or shows one. File, environment and flags override its options:\n"
             "imsuper start --recipe NAME --data-dir DIR --epochs 10",
     .words = sv_cmd_recipes},
    {.name = "status",
     .typed = "imsuper status",
     .usual = "[RUN] [flags]",
     .what = "Shows a run. Exit status 0 running, 3 not running, 4 unknown.",
     .options = IM_FOR_STATUS,
     .operand = "run-name",
     .run = sv_cmd_status},
    {.name = "runs",
     .typed = "imsuper runs",
     .usual = "[--workspace DIR] [--json]",
     .what = "Lists the runs of a workspace, the newest first: state, epochs, best validation top-1, size.",
     .options = IM_FOR_LIST_RUNS,
     .run = sv_cmd_runs},
    {.name = "stop",
     .typed = "imsuper stop",
     .usual = "[RUN] [flags]",
     .what = "Lets the run finish its step and save.",
     .options = IM_FOR_STOP,
     .operand = "run-name",
     .run = sv_cmd_stop},
    {.name = "gpus",
     .typed = "imsuper gpus",
     .usual = "[--json]",
     .what = "Lists the GPUs that a run started here could take, under the numbers of --gpus.",
     .options = IM_FOR_GPUS,
     .run = sv_cmd_gpus},
    {.name = "version", .typed = "imsuper version", .what = "Prints the version.", .run = sv_cmd_version},
    {.name = "help",
     .typed = "imsuper help",
     .usual = "[VERB]",
     .what = "Lists the verbs, or shows one.",
     .run = sv_cmd_help},
    {.name = "supervise", .typed = "imsuper supervise", .run = sv_cmd_supervise},
    {.name = "data", .words = sv_cmd_role},
    {.name = "bench", .words = sv_cmd_role},
    {.name = "profile", .words = sv_cmd_role},
    {.name = "model", .words = sv_cmd_role},
};

int main(int argc, char **argv)
{
    char *words[SV_HELP_WORDS];

    setlocale(LC_CTYPE, "");
    argv = sv_help_words(&argc, argv, words);
    return im_command_main("imsuper", verbs, IM_COUNT(verbs), argc, argv);
}
