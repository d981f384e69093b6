#include "supervisor/cli/run_list.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "ipc/base/printable.h"
#include "supervisor/report/rundir.h"

static bool is_run(const char *directory)
{
    static const char *const files[] = {"config.yaml", "summary.csv", "metrics.jsonl"};
    char path[PATH_MAX + 16];
    struct stat st;

    for (size_t i = 0; i < IM_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", directory, files[i]);
        if (stat(path, &st) == 0)
            return true;
    }
    return false;
}

/* The first n bytes of `word` are the name of a run in the workspace, or a folder. */
static bool run_list_find(const char *workspace, const char *word, size_t n, char ret[PATH_MAX])
{
    if (n == 0)
        return false;
    if (!memchr(word, '/', n) && snprintf(ret, PATH_MAX, "%s/%.*s", workspace, (int)n, word) < PATH_MAX &&
        is_run(ret))
        return true;
    return snprintf(ret, PATH_MAX, "%.*s", (int)n, word) < PATH_MAX && is_run(ret);
}

/* The words of a command were joined by blanks, and a name may hold some: the longest that is a run counts. */
static int add_named(struct sv_run_list *list, const struct im_conf *conf, struct im_text *text)
{
    const char *word = conf->runs;

    while (*word) {
        size_t n = strlen(word);

        if (list->count == SV_RUNS_MAX)
            return im_fail(text, -EINVAL, "at most %d runs can be compared", SV_RUNS_MAX);
        while (n > 0 && !run_list_find(conf->workspace, word, n, list->directory[list->count]))
            for (n--; n > 0 && word[n] != ' ';)
                n--;
        if (n == 0)
            return im_fail(text, -ENOENT,
                           "no run %.*s in %s; `imsuper runs --workspace %s` lists them, and a folder with a "
                           "run is named by its path",
                           (int)strcspn(word, " "), word, conf->workspace, conf->workspace);
        list->count++;
        word += n;
        word += *word == ' ';
    }
    return 0;
}

static int add_newest(struct sv_run_list *list, const struct im_conf *conf, struct im_text *text)
{
    struct im_conf *found = malloc(sizeof *found);
    int err = -ENOMEM;

    if (found) {
        *found = *conf;
        err = sv_rundir_find(found, text);
        snprintf(list->directory[0], sizeof list->directory[0], "%s", found->run_dir);
        list->count = err == 0;
    }
    free(found);
    return err;
}

int sv_run_list_load(struct sv_run_list *list, const struct im_conf *conf, struct im_text *text)
{
    int err;

    *list = (struct sv_run_list){.count = 0};
    err = *conf->runs ? add_named(list, conf, text) : add_newest(list, conf, text);
    for (size_t i = 0; i < list->count && err == 0; i++) {
        err = sv_chart_run_load(&list->run[i], list->directory[i], text);
        if (err == -ENOENT)
            err = im_fail(text, -ENODATA, "the run in %s has neither a finished epoch nor a step yet",
                          list->directory[i]);
    }
    if (err < 0)
        sv_run_list_free(list);
    return err;
}

void sv_run_list_free(struct sv_run_list *list)
{
    for (size_t i = 0; i < SV_RUNS_MAX; i++)
        sv_chart_run_free(&list->run[i]);
}

int sv_run_list_draw(const struct sv_run_list *list, const char *metrics, const struct sv_chart_style *style,
                     const char *path, struct im_text *text)
{
    struct sv_chart *chart = calloc(SV_PLOT_PANELS, sizeof *chart);
    struct sv_plot plot[SV_PLOT_PANELS];
    size_t count = 0;
    char name[64];
    int err = chart ? 0 : -ENOMEM;

    for (const char *at = metrics; *at && err == 0; at += *at == ',') {
        size_t n = strcspn(at, ",");

        if (count == SV_PLOT_PANELS)
            err = im_fail(text, -EINVAL, "--metric: at most %d charts in a picture", SV_PLOT_PANELS);
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        if (err == 0)
            err = sv_chart_make(&chart[count], list->run, list->count, name, style, text);
        count += err == 0;
        at += n;
    }
    for (size_t i = 0; i < count; i++)
        plot[i] = chart[i].plot;
    if (err == 0)
        err = sv_plot_panels(plot, count, path, text);
    for (size_t i = 0; chart && i < SV_PLOT_PANELS; i++)
        sv_chart_free(&chart[i]);
    free(chart);
    return err;
}

int sv_fail_of_runs(int err, const struct im_text *text)
{
    im_say(stderr, "imsuper: %s", text->s[0] ? text->s : strerror(-err));
    return err == -ENOENT ? IM_EXIT_UNKNOWN_RUN : err == -EINVAL ? IM_EXIT_USAGE : IM_EXIT_FAILED;
}
