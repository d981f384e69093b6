/* Charts of runs: which columns of summary.csv and metrics.jsonl are drawn under which name. One run is drawn with a
 * colour for each curve, several with a colour for each run. */
#ifndef SUPERVISOR_REPORT_CHART_H
#define SUPERVISOR_REPORT_CHART_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/err.h"
#include "supervisor/report/history.h"
#include "supervisor/report/plot.h"
#include "supervisor/report/series.h"

struct sv_chart_run {
    char name[128]; /* printable */
    struct sv_history history;
    struct sv_series series;
};

/* Reads a run's files. The run has no epoch yet: its history is empty; -ENOENT, with a sentence: it has no step
 * either. */
int sv_chart_run_load(struct sv_chart_run *run, const char *directory, struct im_text *text);
void sv_chart_run_free(struct sv_chart_run *run); /* zeroed is fine */

struct sv_chart_style {
    double smooth; /* 0 .. 1 (excluded): weight of what was before, as in TensorBoard; 0: not at all */
    bool log_x, log_y;
};

/* A chart and the memory of its lines. */
enum { SV_CHART_LINES = 64 };
struct sv_chart {
    struct sv_plot plot;
    struct sv_plot_line line[SV_CHART_LINES];
    double *values[3 * SV_CHART_LINES]; /* owned */
    size_t used;                        /* of values */
    char title[320], label[SV_CHART_LINES][160];
};

/* Makes the chart of one metric: loss, accuracy, lr, throughput, step_loss, step_top1, grad_norm, or a column of
 * summary.csv. -EINVAL with a sentence for another name; -ENOENT: no run has it; -ENOMEM. */
int sv_chart_make(struct sv_chart *chart, const struct sv_chart_run *runs, size_t count, const char *metric,
                  const struct sv_chart_style *style, struct im_text *text);
void sv_chart_free(struct sv_chart *chart); /* zeroed is fine */

#endif
