#include "supervisor/report/chart.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "ipc/base/suggest.h"

#define DOTS_MAX 40 /* of more points a line alone is clearer */

enum stroke { SOLID, DASHED, FAINT, NOT_THERE };

/* One curve of a metric: a column of summary.csv, or one of metrics.jsonl. */
struct curve {
    const char *column, *label, *word; /* word: behind a run's name, where there are several */
    enum sv_plot_colour colour;
    double scale;
    enum sv_series_column series; /* where there is no column */
    enum stroke stroke;           /* where there are several runs, and the colour is the run's */
};

enum { CURVES_MAX = 7 };

struct metric {
    const char *name, *title, *y_label;
    struct curve curve[CURVES_MAX];
    int curves;
    bool by_step, clip_y;
};

static const struct metric metrics[] = {
    {"loss",
     "Loss",
     "mean loss",
     {{"train_loss", "training", "train", SV_PLOT_BLUE, 1, 0, DASHED},
      {"val_loss", "validation", "val", SV_PLOT_ORANGE, 1, 0, SOLID},
      {"ema_val_loss", "validation, averaged weights", "ema", SV_PLOT_RED, 1, 0, FAINT}},
     .curves = 3,
     .clip_y = true},
    {"accuracy",
     "Accuracy",
     "%",
     {{"train_top1", "training top-1", "train", SV_PLOT_BLUE, 100, 0, DASHED},
      {"val_top1", "validation top-1", "val", SV_PLOT_ORANGE, 100, 0, SOLID},
      {"val_top5", "top-5", "top-5", SV_PLOT_GREEN, 100, 0, NOT_THERE},
      {"ema_val_top1", "averaged weights", "ema", SV_PLOT_RED, 100, 0, FAINT},
      {"val_map", "validation mAP", "mAP", SV_PLOT_ORANGE, 100, 0, SOLID},
      {"val_f1", "F1", "F1", SV_PLOT_GREEN, 100, 0, NOT_THERE},
      {"ema_val_map", "mAP of averaged weights", "ema mAP", SV_PLOT_RED, 100, 0, FAINT}},
     .curves = 7},
    {"lr",
     "Learning rate",
     "learning rate",
     {{NULL, NULL, "lr", SV_PLOT_BLUE, 1, SV_SERIES_LR, SOLID}},
     .curves = 1,
     .by_step = true},
    {"throughput",
     "Throughput",
     "training images/s",
     {{"images_per_second", NULL, "images/s", SV_PLOT_BLUE, 1, 0, SOLID}},
     .curves = 1},
    {"step_loss",
     "Training loss",
     "loss of a step",
     {{NULL, NULL, "loss", SV_PLOT_BLUE, 1, SV_SERIES_LOSS, SOLID}},
     .curves = 1,
     .by_step = true,
     .clip_y = true},
    {"step_top1",
     "Training top-1",
     "% of a step",
     {{NULL, NULL, "top-1", SV_PLOT_BLUE, 100, SV_SERIES_TOP1, SOLID}},
     .curves = 1,
     .by_step = true},
    {"grad_norm",
     "Gradient norm",
     "global norm of a step",
     {{NULL, NULL, "norm", SV_PLOT_BLUE, 1, SV_SERIES_NORM, SOLID}},
     .curves = 1,
     .by_step = true,
     .clip_y = true},
};

/* The names that sv_chart_make() takes, separated by commas. */
static const char *metric_names(void)
{
    return "loss, accuracy, lr, throughput, step_loss, step_top1, grad_norm, or a column of summary.csv";
}

int sv_chart_run_load(struct sv_chart_run *run, const char *directory, struct im_text *text)
{
    size_t n = strlen(directory);
    const char *name;
    char copy[NAME_MAX + 1];
    int err;

    *run = (struct sv_chart_run){.name = ""};
    while (n > 1 && directory[n - 1] == '/')
        n--;
    name = memrchr(directory, '/', n);
    name = name && n > 1 ? name + 1 : directory;
    snprintf(copy, sizeof copy, "%.*s", (int)(directory + n - name), name);
    im_printable(copy, run->name, sizeof run->name);
    err = sv_series_load(&run->series, directory, text);
    if (err < 0 && err != -ENOENT)
        return err;
    err = sv_history_load(&run->history, directory, text);
    if (err == -ENOENT && run->series.count > 0)
        err = 0;
    if (err < 0)
        sv_chart_run_free(run);
    return err;
}

void sv_chart_run_free(struct sv_chart_run *run)
{
    sv_history_free(&run->history);
    sv_series_free(&run->series);
}

static double *take_room(struct sv_chart *chart, size_t n)
{
    double *room = calloc(n + 1, sizeof *room);

    if (room)
        chart->values[chart->used++] = room;
    return room;
}

/* As TensorBoard does it: an exponential average whose first values are not drawn towards 0. */
static void smooth(double *y, const double *raw, size_t n, double weight)
{
    double sum = 0, mass = 1;

    for (size_t i = 0; i < n; i++) {
        if (isfinite(raw[i])) {
            sum = sum * weight + (1 - weight) * raw[i];
            mass *= weight;
            y[i] = sum / (1 - mass);
        } else {
            y[i] = raw[i];
        }
    }
}

static bool has_value(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (isfinite(v[i]))
            return true;
    return false;
}

/* The label of the next line, of which there is room. */
static char *label_of(struct sv_chart *chart, const char *s, const char *more)
{
    char *label = chart->label[chart->plot.lines];

    if (!s)
        return NULL;
    snprintf(label, sizeof chart->label[0], "%.120s%s%.30s", s, *more ? " " : "", more);
    return label;
}

/* The points that have a value, times the scale. A line of an epoch has a gap where nothing was measured; of steps
 * only some lines have each value. */
static int copy_points(struct sv_chart *chart, const double *x, const double *y, size_t n, bool gaps,
                       double scale, struct sv_plot_line *line)
{
    double *to_x = take_room(chart, n), *to_y = take_room(chart, n);

    if (!to_x || !to_y)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        if (!gaps && !isfinite(y[i]))
            continue;
        to_x[line->count] = x[i];
        to_y[line->count++] = scale * y[i];
    }
    line->x = to_x;
    line->y = to_y;
    return 0;
}

static int add_smoothed(struct sv_chart *chart, const struct sv_plot_line *raw, double weight)
{
    struct sv_plot_line line = *raw;
    double *y = take_room(chart, raw->count);

    if (!y)
        return -ENOMEM;
    smooth(y, raw->y, raw->count, weight);
    line.y = y;
    line.dots = false;
    chart->line[chart->plot.lines++] = line;
    return 0;
}

/* Adds a curve of a run, and where that was asked for behind its smoothed self, faint. */
static int add_curve(struct sv_chart *chart, const struct metric *m, const struct curve *c,
                     const struct sv_chart_run *run, int colour, const struct sv_chart_style *style)
{
    const struct sv_history *h = &run->history;
    const double *x = m->by_step ? run->series.value[SV_SERIES_STEP] : sv_history_column(h, "epoch");
    const double *y = m->by_step ? run->series.value[c->series] : sv_history_column(h, c->column);
    const size_t n = m->by_step ? run->series.count : h->epochs;
    const bool many = colour >= 0, smoothed = style->smooth > 0;
    struct sv_plot_line line = {.colour = many ? (enum sv_plot_colour)colour : c->colour,
                                .dashed = many && c->stroke != SOLID,
                                .faint = many && c->stroke == FAINT},
                        raw;
    int err;

    if (!x || !y || !has_value(y, n) || (many && c->stroke == NOT_THERE) ||
        chart->plot.lines + 2 > SV_CHART_LINES)
        return 0;
    err = copy_points(chart, x, y, n, !m->by_step, c->scale, &line);
    if (err < 0)
        return err;
    line.dots = line.count <= DOTS_MAX;
    raw = line;
    raw.faint = true;
    raw.dots = raw.dashed = false;
    if (smoothed)
        chart->line[chart->plot.lines++] = raw;
    line.label =
        many ? label_of(chart, run->name, m->curves > 1 ? c->word : "") : label_of(chart, c->label, "");
    if (smoothed)
        return add_smoothed(chart, &line, style->smooth);
    chart->line[chart->plot.lines++] = line;
    return 0;
}

static const struct metric *find_metric(const char *name)
{
    for (size_t i = 0; i < IM_COUNT(metrics); i++)
        if (strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}

static bool is_column(const struct sv_chart_run *runs, size_t count, const char *name)
{
    for (size_t r = 0; r < count; r++)
        if (sv_history_column(&runs[r].history, name))
            return true;
    return false;
}

static int refuse(const char *name, struct im_text *text)
{
    const char *names[IM_COUNT(metrics)], *near;

    for (size_t i = 0; i < IM_COUNT(metrics); i++)
        names[i] = metrics[i].name;
    near = im_nearest(name, names, IM_COUNT(metrics));
    return im_fail(text, -EINVAL, "--metric %.100s: expected %s%s%s%s", name, metric_names(),
                   near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* "Loss of a" or, where there are several runs, "Loss". */
static void entitle(struct sv_chart *chart, const char *title, const struct sv_chart_run *runs, size_t count)
{
    snprintf(chart->title, sizeof chart->title, "%.120s%s%s", title, count == 1 ? " of " : "",
             count == 1 ? runs[0].name : "");
    chart->plot.title = chart->title;
}

int sv_chart_make(struct sv_chart *chart, const struct sv_chart_run *runs, size_t count, const char *metric,
                  const struct sv_chart_style *style, struct im_text *text)
{
    const struct metric *m = find_metric(metric);
    struct metric column = {.name = metric,
                            .title = metric,
                            .y_label = metric,
                            .curve = {{metric, NULL, metric, SV_PLOT_BLUE, 1, 0, SOLID}},
                            .curves = 1};
    int err = 0;

    *chart = (struct sv_chart){.used = 0};
    if (!m && !is_column(runs, count, metric))
        return refuse(metric, text);
    m = m ? m : &column;
    chart->plot = (struct sv_plot){.x_label = m->by_step ? "step" : "epoch",
                                   .y_label = m->y_label,
                                   .line = chart->line,
                                   .whole_x = !style->log_x,
                                   .clip_y = m->clip_y,
                                   .log_x = style->log_x,
                                   .log_y = style->log_y};
    entitle(chart, m->title, runs, count);
    for (size_t r = 0; r < count; r++)
        for (int c = 0; c < m->curves && err == 0; c++)
            err =
                add_curve(chart, m, &m->curve[c], &runs[r], count > 1 ? (int)(r % SV_PLOT_RUNS) : -1, style);
    if (err == 0 && chart->plot.lines == 0)
        err = im_fail(text, -ENOENT, "there is no %s yet", m->name);
    return err;
}

void sv_chart_free(struct sv_chart *chart)
{
    for (size_t i = 0; i < chart->used; i++)
        free(chart->values[i]);
    chart->used = 0;
}
