/* Runs that a command names: in the workspace, or by their folders. */
#ifndef SUPERVISOR_CLI_RUN_LIST_H
#define SUPERVISOR_CLI_RUN_LIST_H

#include <limits.h>
#include <stddef.h>

#include "ipc/config/conf.h"
#include "supervisor/report/chart.h"

enum { SV_RUNS_MAX = 16 };

struct sv_run_list {
    char directory[SV_RUNS_MAX][PATH_MAX];
    struct sv_chart_run run[SV_RUNS_MAX];
    size_t count;
};

/* Finds the runs of conf->runs (none: the newest) and reads their files. -ENOENT with a sentence: there is no such
 * run; another error: its files cannot be read. */
int sv_run_list_load(struct sv_run_list *list, const struct im_conf *conf, struct im_text *text);
void sv_run_list_free(struct sv_run_list *list);

/* Makes a picture with a chart of each metric of a list such as "loss,accuracy". */
int sv_run_list_draw(const struct sv_run_list *list, const char *metrics, const struct sv_chart_style *style,
                     const char *path, struct im_text *text);

/* Says why runs cannot be shown; returns the exit status for it. */
int sv_fail_of_runs(int err, const struct im_text *text);

#endif
