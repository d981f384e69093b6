/* What an option does for one verb alone, where the table's sentence tells of all. */
#include "ipc/config/conf_table.h"

#include "ipc/base/count.h"

static const struct {
    enum im_conf_key_id key;
    im_conf_commands commands; /* the first row whose bits the verb has */
    const char *help;
} rows[] = {
    {IM_KEY_output, IM_FOR_LR_FIND,
     "the PNG file, beside which its JSON file lies, or a folder for both; default: lr_finder_plots"},
    {IM_KEY_output, IM_FOR_EVAL, "folder for tables and pictures; default: none"},
    {IM_KEY_output, IM_FOR_EXPORT,
     "file to write, for timm a folder; its ending chooses the format where --format does not"},
    {IM_KEY_output, IM_FOR_IMPORT | IM_FOR_AVERAGE, "safetensors file to write"},
    {IM_KEY_output, IM_FOR_PREVIEW, "picture to write; default: preview.png"},
    {IM_KEY_output, IM_FOR_PLOT, "picture to write; default: plot.png"},
    {IM_KEY_output, IM_FOR_COMPARE, "picture to write; default: compare.png"},
    {IM_KEY_output, IM_FOR_TRACE, "timeline to write, for Perfetto; default: trace.json"},
    {IM_KEY_output, IM_FOR_VERIFY, "HTML page of what was found; default: none"},
    {IM_KEY_output, IM_FOR_BENCH_DATA, "picture of --scan to write; default: none"},
    {IM_KEY_output, IM_FOR_PROFILE, "profile to write, for speedscope; default: none"},
    {IM_KEY_json, IM_FOR_LR_FIND | IM_FOR_BENCH_DATA,
     "answer as one JSON object"}, /* which have start's bit, too */
    {IM_KEY_json, IM_FOR_START,
     "each event of the run, and each --status-interval its progress, as a line of JSON on standard output, "
     "in place "
     "of the screen"},
    {IM_KEY_json, IM_FOR_LOGS, "each line as a JSON object: time, process, level, text"},
    {IM_KEY_json, IM_FOR_PREDICT, "each answer as a JSON object on a line"},
    {IM_KEY_json, IM_FOR_TOP, "what the screen shows of all runs that go on, or of RUN, as one JSON object"},
    {IM_KEY_follow, IM_FOR_TOP, "with --json: an object each second, until no run goes on"},
    {IM_KEY_run_name, IM_FOR_START,
     "run directory in the workspace; an existing run is continued; default: model and time"},
    {IM_KEY_run_name, IM_FOR_ANY, "run in the workspace, or its directory; default: the newest"},
};

const char *im_conf_help_of(im_conf_commands commands, int key)
{
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if ((int)rows[i].key == key && (rows[i].commands & commands))
            return rows[i].help;
    return im_conf_keys[key].help;
}
