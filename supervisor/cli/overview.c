#include "supervisor/cli/overview.h"

#include <stdbool.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"

const char *const sv_overview_what = "trains image classifiers, and continues when any of its processes dies";

/* clang-format off */
const struct sv_overview_line sv_overview[] = {
    {"Train", "start", "train, or continue the run of that name"},
    {"Train", "stop", "finish the step, save and stop the run; --now: at once"},
    {"Train", "pause", "let a run wait after its step; resume lets it go on"},
    {"Train", "resume", "let a paused run go on"},
    {"Train", "restart", "start a stage of a run again: restart augmenter#1"},
    {"Train", "scale", "more or fewer processes for a run: scale augmenters=4"},
    {"Train", "lr-find", "learning-rate range test: suggests --lr"},
    {"Train", "recipes", "files of options for start --recipe NAME"},
    {"Train", "cluster key", "a key file for runs on several machines"},
    {"Use", "eval", "accuracy and confusion matrix of weights: eval RUN"},
    {"Use", "predict", "the likeliest classes of images: predict RUN FILE...|DIR|-"},
    {"Use", "export", "weights for other programs: ONNX, PyTorch, timm, torchvision"},
    {"Use", "import", "weights of other programs, under the names used here"},
    {"Use", "average", "the mean of several weights, with new batch norm statistics"},
    {"Look", "status", "state of a run"},
    {"Look", "top", "a run on the full screen: rings, stages, processes, events"},
    {"Look", "logs", "what the processes of a run have logged; -f follows"},
    {"Look", "runs", "the runs of a workspace: state, epochs, accuracy"},
    {"Look", "plot", "charts of runs in a picture: plot RUN... --metric loss,lr"},
    {"Look", "compare", "options that differ, results and curves: compare RUN RUN"},
    {"Look", "gpus", "GPUs that --gpus can take"},
    {"Look", "model", "the layers of a network: shapes, parameters, FLOPs, memory"},
    {"Look", "memory", "what fits kinds of GPUs: memory by part, largest batch"},
    {"Look", "doctor", "is this machine fit for a run, and how to fix it"},
    {"Data", "data index", "look at a dataset and index it"},
    {"Data", "data organise", "make class folders of another layout: organise SRC DST"},
    {"Data", "data pack", "make tar shards (WebDataset) of a data set: pack SRC DST"},
    {"Data", "data unpack", "make class folders of shards: unpack SRC DST"},
    {"Data", "data synth", "make a labelled set of JPEG files"},
    {"Data", "data verify", "decode every image: bad ones, duplicates, leaks, balance"},
    {"Data", "data stats", "mean and deviation of the colours, sizes"},
    {"Data", "data preview", "a picture of what training will see"},
    {"Measure", "trace", "a timeline of a run's processes, for Perfetto"},
    {"Measure", "bench data", "images/s of readers and augmenters, and the limit"},
    {"Measure", "bench all", "each stage by itself and the whole, and which limits"},
    {"Measure", "bench ring", "nanoseconds of a hop through the rings"},
    {"Measure", "bench cluster", "how a run would scale over machines (a model)"},
    {"Measure", "profile ring", "how the times of those hops are spread"},
    {"Measure", "bench decode", "images/s of decoding whole images on one core"},
    {"Measure", "bench read", "images/s and latency of reading"},
    {"Measure", "profile reader", "latency of reads over the number of files in flight"},
    {"Measure", "bench augment", "images/s of one core, and ms of each transform"},
    {"Measure", "profile augment", "where an augmenter's time goes"},
    {"Measure", "bench trainer", "images/s of the training step alone"},
    {"Measure", "profile trainer", "where the trainer's time goes, layer by layer"},
};
/* clang-format on */
const size_t sv_overview_count = IM_COUNT(sv_overview);

const struct sv_exit_line sv_exits[] = {
    {IM_EXIT_OK, "done"},
    {IM_EXIT_FAILED, "failed"},
    {IM_EXIT_USAGE, "usage"},
    {IM_EXIT_NOT_RUNNING, "not running"},
    {IM_EXIT_UNKNOWN_RUN, "unknown run"},
    {IM_EXIT_BAD_DATA, "bad data"},
    {IM_EXIT_UNAVAILABLE, "something is missing on this machine"},
    {IM_EXIT_RESUMABLE, "stopped and saved (the same command continues)"},
    {IM_EXIT_FORCED, "stopped at once"},
};
const size_t sv_exit_count = IM_COUNT(sv_exits);

static const char examples[] =
    "  imsuper data synth --out data/synth     make a small labelled image set to try\n"
    "  imsuper start --data-dir data/synth --recipe quickstart\n"
    "  imsuper status                          processes, rates, the limiting stage\n";

enum { GROUP_COLUMNS = 9, NAME_COLUMNS_MIN = 10, GAP = 2, COLUMNS = 80 };

/* The column of `what` in a group: behind its longest name. */
static int name_columns(const char *group)
{
    size_t width = NAME_COLUMNS_MIN - GAP;

    for (size_t i = 0; i < sv_overview_count; i++)
        if (strcmp(sv_overview[i].group, group) == 0 && strlen(sv_overview[i].name) > width)
            width = strlen(sv_overview[i].name);
    return (int)width + GAP;
}

static void print_exits(FILE *out)
{
    int at = fprintf(out, "Exit status:");

    for (size_t i = 0; i < sv_exit_count; i++) {
        const struct sv_exit_line *e = &sv_exits[i];
        char item[96];
        int n = snprintf(item, sizeof item, "%d %s%s", e->status, e->what, i + 1 < sv_exit_count ? "," : ".");
        const bool breaks = at + 1 + n > COLUMNS;

        at = (breaks ? 0 : at + 1) + n;
        fprintf(out, "%s%s", breaks ? "\n" : " ", item);
    }
    fputc('\n', out);
}

void sv_overview_print(FILE *out)
{
    const char *group = "";

    fprintf(out, "imsuper %s.\n\n%s\n", sv_overview_what, examples);
    for (size_t i = 0; i < sv_overview_count; i++) {
        const struct sv_overview_line *l = &sv_overview[i];
        const bool begins = strcmp(group, l->group) != 0;

        group = l->group;
        fprintf(out, "%-*s%-*s%s\n", GROUP_COLUMNS, begins ? group : "", name_columns(group), l->name,
                l->what);
    }
    fputs("Other    version, help VERB  (imsuper VERB --help: its flags)\n"
          "\n"
          "Answers of all verbs for programs: --json. A flag may also stand in a YAML file\n"
          "(--config FILE) or the environment (IMSUPER_BATCH_SIZE=128).\n",
          out);
    print_exits(out);
}
