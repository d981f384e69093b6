/* The table of verbs; each lives in its own file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/launcher.h"

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
             "a rate; writes a plot and a JSON file (--output) and touches no run.",
     .options = IM_FOR_START | IM_FOR_LR_FIND,
     .required = "data-dir",
     .check = IM_CHECK_NETWORK,
     .run = sv_cmd_lr_find},
    {.name = "eval",
     .typed = "imsuper eval",
     .usual = "WEIGHTS|RUN [--data-dir DIR] [-o DIR] [flags]",
     .what =
         "Measures weights on the validation images as training does: top-1, top-5, loss, each class,\n"
         "confusion matrix, calibration, the images with the highest loss. Options of the weights' run\n"
         "hold where no flag says otherwise. On several machines each takes a part with --shard I/N -o DIR;\n"
         "imsuper eval DIR --join reports them as one.",
     .options = IM_FOR_EVAL,
     .operand = "weights-from",
     .operand_needed = true,
     .run = sv_cmd_eval},
    {.name = "predict",
     .typed = "imsuper predict",
     .usual = "WEIGHTS|RUN FILE...|DIR|- [--top-k N] [--json] [flags]",
     .what =
         "Prints the most likely classes of images, in their order: files, all images below a folder, or "
         "with -\n"
         "names from standard input (each ended by a NUL or a newline). Exit status 65: some could not be\n"
         "used. With --serve PORT or --serve unix:PATH it answers images that are sent to it over HTTP.",
     .options = IM_FOR_PREDICT,
     .words = sv_cmd_predict},
    {.name = "recipes",
     .typed = "imsuper recipes",
     .usual = "[NAME] [--json]",
     .what = "Lists the recipes, or shows one. File, environment and flags override its options:\n"
             "imsuper start --recipe NAME --data-dir DIR --epochs 10",
     .options = IM_FOR_WORDS,
     .words = sv_cmd_recipes},
    {.name = "cluster key",
     .typed = "imsuper cluster key",
     .usual = "FILE [--json]",
     .what = "Makes a key file for runs on several machines, which only its owner may read. Each machine "
             "needs a\n"
             "copy; anyone who has one can join the run.",
     .options = IM_FOR_WORDS,
     .words = sv_cmd_cluster_key},
    {.name = "cluster", .words = sv_cmd_role},
    {.name = "status",
     .typed = "imsuper status",
     .usual = "[RUN] [flags]",
     .what = "Shows a run. Exit status 0 running, 3 not running, 4 unknown.",
     .options = IM_FOR_STATUS,
     .operand = "run-name",
     .run = sv_cmd_status},
    {.name = "top",
     .typed = "imsuper top",
     .usual = "[RUN] [--json] [flags]",
     .what = "Shows a run on the full screen: rings, stages, processes, GPUs, events. Tab: the next run; h: "
             "keys.\n"
             "With --json it prints what the screen shows, of all runs that go on, once or (-f) each second.",
     .options = IM_FOR_TOP,
     .operand = "run-name",
     .run = sv_cmd_top},
    {.name = "logs",
     .typed = "imsuper logs",
     .usual = "[STAGE[#N]] [RUN] [-f] [flags]",
     .what = "Prints what the processes of a run have logged; of a stage, or of one process, alone.",
     .options = IM_FOR_LOGS,
     .operand = "stage",
     .second = "run-name",
     .run = sv_cmd_logs},
    {.name = "trace",
     .typed = "imsuper trace",
     .usual = "[RUN] [-o trace.json] [--seconds N]",
     .what =
         "Watches a run that goes on for some seconds and writes what each process did when: reads, images,\n"
         "batches, waits, and the fill of the rings. Perfetto (ui.perfetto.dev) and chrome://tracing open "
         "it.",
     .options = IM_FOR_TRACE,
     .operand = "run-name",
     .run = sv_cmd_trace},
    {.name = "runs",
     .typed = "imsuper runs",
     .usual = "[--workspace DIR] [--json]",
     .what = "Lists the runs of a workspace, the newest first: state, epochs, best validation top-1, size.",
     .options = IM_FOR_LIST_RUNS,
     .run = sv_cmd_runs},
    {.name = "plot",
     .typed = "imsuper plot",
     .usual = "[RUN...] [-o FILE] [--metric NAME,...] [--smooth X] [--log-x] [--log-y]",
     .what = "Draws charts of runs into a PNG file, several runs over each other; without RUN the newest.",
     .options = IM_FOR_PLOT,
     .operand = "runs",
     .operand_list = true,
     .run = sv_cmd_plot},
    {.name = "compare",
     .typed = "imsuper compare",
     .usual = "RUN RUN... [-o FILE] [--json]",
     .what = "Shows what differs between runs: results, options, and their curves in a PNG file.",
     .options = IM_FOR_COMPARE,
     .operand = "runs",
     .operand_list = true,
     .operand_needed = true,
     .run = sv_cmd_compare},
    {.name = "stop",
     .typed = "imsuper stop",
     .usual = "[RUN] [flags]",
     .what = "Lets the run finish its step and save.",
     .options = IM_FOR_STOP,
     .operand = "run-name",
     .run = sv_cmd_stop},
    {.name = "pause",
     .typed = "imsuper pause",
     .usual = "[RUN] [flags]",
     .what = "Lets the trainers wait after this step, until `imsuper resume` or `imsuper stop`.",
     .options = IM_FOR_CONTROL,
     .operand = "run-name",
     .run = sv_cmd_pause},
    {.name = "resume",
     .typed = "imsuper resume",
     .usual = "[RUN] [flags]",
     .what = "Lets a paused run go on.",
     .options = IM_FOR_CONTROL,
     .operand = "run-name",
     .run = sv_cmd_resume},
    {.name = "restart",
     .typed = "imsuper restart",
     .usual = "STAGE[#N] [RUN] [flags]",
     .what =
         "Starts the processes of a stage again: reader, augmenter or trainer; augmenter#1: that one alone.\n"
         "Readers and augmenters finish what they hold first, trainers take a snapshot and go on from it.",
     .options = IM_FOR_CONTROL | IM_FOR_RESTART,
     .operand = "stage",
     .operand_needed = true,
     .second = "run-name",
     .run = sv_cmd_restart},
    {.name = "scale",
     .typed = "imsuper scale",
     .usual = "augmenters=N readers=M [RUN] [flags]",
     .what =
         "Changes how many readers and augmenters a run has while it goes on; auto: as many as are needed.\n"
         "The weights do not depend on it.",
     .options = IM_FOR_CONTROL | IM_FOR_SCALE,
     .operand = "counts",
     .operand_list = true,
     .operand_needed = true,
     .run = sv_cmd_scale},
    {.name = "gpus",
     .typed = "imsuper gpus",
     .usual = "[--json]",
     .what = "Lists the GPUs that a run started here could take, under the numbers of --gpus.",
     .options = IM_FOR_GPUS,
     .run = sv_cmd_gpus},
    {.name = "doctor",
     .typed = "imsuper doctor",
     .usual = "[--data-dir DIR] [--json]",
     .what = "Checks what would hold up a run: CPU, memory, limits, io_uring, libraries, GPUs, the data set "
             "and its\n"
             "disk; says how to fix each finding. Exit status 69 when a check fails.",
     .options = IM_FOR_DOCTOR,
     .run = sv_cmd_doctor},
    {.name = "version",
     .typed = "imsuper version",
     .usual = "[--json]",
     .what = "Prints version, build, and the types of images that it decodes.",
     .options = IM_FOR_WORDS,
     .words = sv_cmd_version},
    {.name = "help",
     .typed = "imsuper help",
     .usual = "[VERB] [--json]",
     .what = "Lists the verbs, or shows one.",
     .options = IM_FOR_WORDS,
     .words = sv_cmd_help},
    {.name = "supervise", .typed = "imsuper supervise", .run = sv_cmd_supervise},
    {.name = "documents", .typed = "imsuper documents", .words = sv_cmd_documents},
    {.name = "data", .words = sv_cmd_role},
    {.name = "bench data",
     .typed = "imsuper bench data",
     .usual = "--data-dir DIR [--augmenters N] [--scan augmenters=1..8 -o FILE.png] [flags of start]",
     .what = "Measures readers and augmenters through the rings of a run, with stand-ins for trainers that "
             "take batches\n"
             "(--gpus 8 --images-per-second 2500: eight that take so many each): images/s, CPU time of an "
             "image, which\n"
             "stage limits and what one more of it would give.",
     .options = IM_FOR_START | IM_FOR_BENCH_DATA,
     .required = "data-dir",
     .check = IM_CHECK_VALUES,
     .run = sv_cmd_bench_data},
    {.name = "bench all",
     .typed = "imsuper bench all",
     .usual = "--data-dir DIR [--model NAME] [--compare old.json] [flags of start]",
     .what =
         "Measures each stage by itself and the data path as a whole, one after another: reading from the "
         "disk and\n"
         "from memory, decoding, augmenting, readers with augmenters, the trainer's step; says which limits.",
     .options = IM_FOR_START | IM_FOR_BENCH_DATA,
     .required = "data-dir",
     .check = IM_CHECK_NETWORK,
     .run = sv_cmd_bench_all},
    {.name = "bench ring",
     .typed = "imsuper bench ring",
     .usual = "[--json] [--compare old.json]",
     .what =
         "Measures what a hop through each ring costs and how long a sleeper takes to wake, in nanoseconds.",
     .options = IM_FOR_BENCH_RING | IM_FOR_MEASURED,
     .run = sv_cmd_bench_ring},
    {.name = "bench cluster",
     .typed = "imsuper bench cluster",
     .usual = "--nodes 1..256 --step-ms T [--bandwidth GBIT/S] [--latency MICROSECONDS] [flags]",
     .what = "Says how a run would scale over machines, and where it stops: a model of steps, sums and data.",
     .options = IM_FOR_BENCH_CLUSTER,
     .run = sv_cmd_bench_cluster},
    {.name = "profile ring",
     .typed = "imsuper profile ring",
     .usual = "[--json] [-o x.speedscope.json]",
     .what = "Shows how the times of `imsuper bench ring` are spread: quantiles of each hop, and of waking.",
     .options = IM_FOR_BENCH_RING | IM_FOR_PROFILE,
     .run = sv_cmd_profile_ring},
    {.name = "bench", .words = sv_cmd_role},
    {.name = "profile", .words = sv_cmd_role},
    {.name = "model", .words = sv_cmd_role},
    {.name = "memory", .words = sv_cmd_role},
    {.name = "export", .words = sv_cmd_role},
    {.name = "import", .words = sv_cmd_role},
    {.name = "average", .words = sv_cmd_role},
};

static bool is_verb(const char *word)
{
    for (size_t i = 0; i < IM_COUNT(verbs); i++)
        if (strcmp(verbs[i].name, word) == 0)
            return true;
    return false;
}

/* `imsuper --quiet start --help`: --help may stand anywhere, so the verb may too. Without one, help lists them. */
static int help_of_flags(int argc, char **argv)
{
    char help[] = "help", flag[] = "--help";
    char *words[] = {argv[0], help, flag, NULL};
    bool asked = false;

    for (int i = argc - 1; i > 0; i--) {
        asked |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
        if (is_verb(argv[i]))
            words[1] = argv[i];
    }
    return asked ? im_command_main("imsuper", verbs, IM_COUNT(verbs), words[1] == help ? 2 : 3, words) : -1;
}

int sv_command_main(int argc, char **argv)
{
    struct im_text note = {""};
    char **words = sv_launcher_rewrite(argc, argv, &argc, &note);
    int status = words || argc < 2 || argv[1][0] != '-' ? -1 : help_of_flags(argc, argv);

    if (note.s[0])
        im_say(stderr, "imsuper: %s", note.s);
    if (status < 0)
        status = im_command_main("imsuper", verbs, IM_COUNT(verbs), argc, words ? words : argv);
    free(words);
    return status;
}
