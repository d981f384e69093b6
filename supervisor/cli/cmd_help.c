/* `imsuper help`, `version`, what other programs of ours do (`data`, `bench`, `profile`), and
 * the hidden `supervise`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/config/conf.h"
#include "supervisor/cli/commands.h"
#include "supervisor/cli/program.h"
#include "supervisor/supervise.h"

static const char overview[] =
    "imsuper trains image classifiers from JPEG files as fast as the machine allows, and keeps going when "
    "parts of it die.\n"
    "\n"
    "  imsuper data synth --out data/synth                    make a small labelled image set to try\n"
    "  imsuper start --data-dir data/synth --model resnet20 --image-size 32 --epochs 3\n"
    "  imsuper status                                         which stage limits, who lives, is every sample "
    "delivered once\n"
    "\n"
    "Train    start     train, or continue the run of that name\n"
    "         stop      finish the step, save and stop the run; --now: at once\n"
    "         lr-find   learning-rate range test: suggests --lr\n"
    "         recipes   files of options for start --recipe NAME; recipes NAME shows one\n"
    "Look     status    state of a run; --json for programs\n"
    "         gpus      GPUs that --gpus can take; --json for programs\n"
    "         model     the layers of a network: shapes, parameters, multiplications, memory\n"
    "Data     data index    look at a dataset and index it\n"
    "         data synth    make a labelled set of JPEG files\n"
    "         data preview  a picture of what training will see\n"
    "Measure  bench augment    images/s of one core, and ms of each transform\n"
    "         profile augment  where an augmenter's time goes\n"
    "         bench trainer    images/s of the training step alone\n"
    "         profile trainer  where its time goes, layer by layer\n"
    "Other    version, help [VERB]\n"
    "\n"
    "Every flag may also stand in a YAML file (--config FILE) or the environment (IMSUPER_BATCH_SIZE=128).\n"
    "Exit status: 0 done, 1 failed, 2 usage, 3 not running, 4 unknown run, 65 bad data, 69 something is "
    "missing on this machine,\n"
    "75 stopped and saved (the same command continues), 130 stopped at once.\n";

int sv_cmd_help(int argc, char **argv)
{
    static const struct {
        const char *verb;
        unsigned commands;
        const char *usage;
    } verbs[] = {
        {"start", IM_FOR_START,
         "imsuper start --data-dir DIR [flags]\n\nTrains, or continues the run of that name.\n"},
        {"lr-find", IM_FOR_START | IM_FOR_LR_FIND,
         "imsuper lr-find --data-dir DIR [--num-iter N] [--start-lr RATE] [--end-lr RATE] [flags of "
         "start]\n\nTrains "
         "a fresh network for N steps whose learning rate grows from step to step, until the loss diverges, "
         "and "
         "suggests one;\nwrites lr-find.png and lr-find.json (--output) and touches no run.\n"},
        {"recipes", 0,
         "imsuper recipes [NAME]\n\nLists the recipes, or shows one. Its options lie beneath those of a "
         "file, the "
         "environment and flags:\nimsuper start --recipe NAME --data-dir DIR --epochs 10\n"},
        {"status", IM_FOR_STATUS,
         "imsuper status [RUN] [flags]\n\nShows a run. Exit status 0 running, 3 not running, 4 unknown.\n"},
        {"stop", IM_FOR_STOP, "imsuper stop [RUN] [flags]\n\nLets the run finish its step and save.\n"},
        {"data", IM_FOR_SYNTH | IM_FOR_INDEX | IM_FOR_PREVIEW, "imsuper data index|synth|preview [flags]\n"},
        {"gpus", 0,
         "imsuper gpus [--json]\n\nLists the GPUs that a run started here could take, under the numbers of "
         "--gpus.\n"},
        {"model", IM_FOR_MODEL,
         "imsuper model [--model NAME] [flags]\n\nShows the layers of a network; with --init-from FILE what "
         "of a file of weights does not fit.\n"},
        {"bench", IM_FOR_BENCH | IM_FOR_STEPS,
         "imsuper bench augment --data-dir DIR [flags]\nimsuper bench trainer --model NAME [flags]\n\n"
         "Measures decoding and transforms on one core, or the training step alone.\n"},
        {"profile", IM_FOR_BENCH | IM_FOR_STEPS,
         "imsuper profile augment --data-dir DIR [flags]\nimsuper profile trainer --model NAME [flags]\n\n"
         "Shows where the time of an augmenter goes, or that of a training step.\n"},
    };

    if (argc < 2) {
        fputs(overview, stdout);
        return IM_EXIT_OK;
    }
    for (size_t i = 0; i < IM_COUNT(verbs); i++)
        if (strcmp(argv[1], verbs[i].verb) == 0) {
            printf("%s\n", verbs[i].usage);
            im_conf_help(stdout, verbs[i].commands, 0);
            return IM_EXIT_OK;
        }
    fprintf(stderr, "imsuper: unknown command '%s'; see `imsuper help`\n", argv[1]);
    return IM_EXIT_USAGE;
}

int sv_cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("imsuper %s (%s)\n", IMSUPER_VERSION, im_build_id());
    return IM_EXIT_OK;
}

int sv_cmd_data(int argc, char **argv)
{
    return sv_program_exec(argc > 1 && strcmp(argv[1], "preview") == 0 ? "imsuper-pixels" : "imsuper-data",
                           argv);
}

/* `imsuper bench augment` is `imsuper-pixels bench`, `imsuper bench trainer` is `imsuper-steps bench`, and so
 * for profile. */
static int exec_stage(int argc, char **argv)
{
    const char *program = argc < 2                          ? NULL
                          : strcmp(argv[1], "augment") == 0 ? "imsuper-pixels"
                          : strcmp(argv[1], "trainer") == 0 ? "imsuper-steps"
                                                            : NULL;

    if (!program) {
        fprintf(stderr, "imsuper: %s needs a target: `imsuper %s augment` or `imsuper %s trainer`\n", argv[0],
                argv[0], argv[0]);
        return IM_EXIT_USAGE;
    }
    argv[1] = argv[0];
    setenv("OMP_WAIT_POLICY", "passive", 0); /* as for the trainer of a run */
    return sv_program_exec(program, argv);
}

int sv_cmd_bench(int argc, char **argv)
{
    return exec_stage(argc, argv);
}

int sv_cmd_profile(int argc, char **argv)
{
    return exec_stage(argc, argv);
}

int sv_cmd_model(int argc, char **argv)
{
    (void)argc;
    return sv_program_exec("imsuper-model", argv);
}

int sv_cmd_supervise(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    return sv_supervise();
}
