/* See history.h. The file's columns are found by their names, so that a run of another version still shows
 * what it has. */
#include "supervisor/report/history.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/aside.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "supervisor/report/chart.h"
#include "supervisor/report/plot.h"

enum { COLUMNS_MAX = 64, SUMMARY_BYTES_MAX = 1 << 28 };

static size_t count_of(const char *s, char c)
{
    size_t n = 0;

    for (; *s; s++)
        n += *s == c;
    return n;
}

/* Cuts the line at its commas; returns the number of fields, at most `max`. */
static size_t split(char *line, char **field, size_t max)
{
    size_t n = 0;

    for (char *next = line; next && n < max;) {
        field[n++] = next;
        next = strchr(next, ',');
        if (next)
            *next++ = '\0';
    }
    return n;
}

/* An empty field is a value that was not measured. */
static int parse_row(struct sv_history *h, size_t epoch, char *line)
{
    char *field[COLUMNS_MAX];
    size_t n = split(line, field, COLUMNS_MAX);

    if (n != h->columns)
        return -EBADMSG;
    for (size_t i = 0; i < n; i++) {
        char *end;
        double value = *field[i] ? strtod(field[i], &end) : (double)NAN;

        if (*field[i] && *end)
            return -EBADMSG;
        h->value[i * h->epochs + epoch] = value;
    }
    return 0;
}

static int parse(struct sv_history *h, const char *path, struct im_text *text)
{
    char *line = h->text, *field[COLUMNS_MAX];
    size_t rows = count_of(h->text, '\n'), room = rows > 0 ? rows - 1 : 0;

    if (rows == 0)
        return im_fail(text, -ENOENT, "%s has no finished epoch yet", path);
    h->epochs = room;
    for (size_t row = 0; row < rows; row++) {
        char *end = strchr(line, '\n');

        *end = '\0';
        if (row == 0) {
            h->columns = split(line, field, COLUMNS_MAX);
            h->name = calloc(h->columns, sizeof *h->name);
            h->value = calloc(h->columns * (room + 1), sizeof *h->value);
            if (!h->name || !h->value)
                return -ENOMEM;
            memcpy(h->name, field, h->columns * sizeof *h->name);
        } else {
            if (parse_row(h, row - 1, line) < 0)
                return im_fail(text, -EBADMSG, "line %zu of %s is not a value for each column", row + 1,
                               path);
        }
        line = end + 1;
    }
    return 0;
}

int sv_history_load(struct sv_history *h, const char *directory, struct im_text *text)
{
    char path[PATH_MAX];
    size_t n;
    int err;

    *h = (struct sv_history){0};
    snprintf(path, sizeof path, "%s/summary.csv", directory);
    err = im_read_file(path, SUMMARY_BYTES_MAX, &h->text, &n, text);
    if (err == 0)
        err = parse(h, path, text);
    if (err < 0)
        sv_history_free(h);
    return err;
}

void sv_history_free(struct sv_history *h)
{
    free(h->text);
    free(h->name);
    free(h->value);
    *h = (struct sv_history){0};
}

const double *sv_history_column(const struct sv_history *h, const char *name)
{
    for (size_t i = 0; i < h->columns; i++)
        if (strcmp(h->name[i], name) == 0)
            return h->value + i * h->epochs;
    return NULL;
}

/* plots/NAME.png of each metric; a chart of nothing where there is no value yet. */
static int draw(const struct sv_chart_run *run, const char *directory, const char *metric,
                struct im_text *text)
{
    struct sv_chart *chart = malloc(sizeof *chart);
    char path[PATH_MAX];
    int err = -ENOMEM;

    snprintf(path, sizeof path, "%s/plots/%s.png", directory, metric);
    if (chart)
        err = sv_chart_make(chart, run, 1, metric, &(struct sv_chart_style){0}, text);
    if (err == -ENOENT)
        err = 0;
    if (err == 0 && im_is_no_file(path))
        err = im_move_aside(path, text);
    if (err == 0)
        err = sv_plot_png(&chart->plot, path, text);
    if (chart)
        sv_chart_free(chart);
    free(chart);
    return err;
}

static int draw_all(const struct sv_chart_run *run, const char *directory, struct im_text *text)
{
    static const char *const metrics[] = {"loss", "accuracy", "lr", "throughput"};
    char path[PATH_MAX];
    int err;

    snprintf(path, sizeof path, "%s/plots", directory);
    err = im_mkdirs(path, 0777, text);
    for (size_t i = 0; i < IM_COUNT(metrics) && err == 0; i++)
        err = draw(run, directory, metrics[i], text);
    return err;
}

/* training_log.json: a list of objects, as the names of the columns say. */
static int write_json(const struct sv_history *h, const char *directory, struct im_text *text)
{
    struct im_json *list = im_json_array();
    char path[PATH_MAX], *dumped;
    int err;

    for (size_t epoch = 0; epoch < h->epochs; epoch++) {
        struct im_json *row = im_json_object();

        for (size_t i = 0; i < h->columns; i++) {
            double value = h->value[i * h->epochs + epoch];

            if (isfinite(value) && value == floor(value) && fabs(value) < 0x1p53)
                im_json_set_int(row, h->name[i], (int64_t)value);
            else
                im_json_set_real(row, h->name[i], value);
        }
        im_json_append(list, row);
    }
    dumped = im_json_dump_indented(list);
    im_json_free(&list);
    snprintf(path, sizeof path, "%s/training_log.json", directory);
    err = dumped ? im_file_replace_any(path, dumped, strlen(dumped), text) : -ENOMEM;
    free(dumped);
    return err;
}

/* Of the table's columns: heading, column of summary.csv, factor, format. A column without a value in any epoch,
 * such as that of averages nobody asked for, is left out. */
static const struct {
    const char *heading, *column;
    double scale;
    const char *format;
} cells[] = {
    {"Epoch", "epoch", 1, "| %.0f "},
    {"Train loss", "train_loss", 1, "| %.4f "},
    {"Train top-1 (%)", "train_top1", 100, "| %.2f "},
    {"Val loss", "val_loss", 1, "| %.4f "},
    {"Val top-1 (%)", "val_top1", 100, "| %.2f "},
    {"Val top-5 (%)", "val_top5", 100, "| %.2f "},
    {"Val mAP (%)", "val_map", 100, "| %.2f "},
    {"Val F1 (%)", "val_f1", 100, "| %.2f "},
    {"Val macro F1 (%)", "val_f1_macro", 100, "| %.2f "},
    {"EMA val mAP (%)", "ema_val_map", 100, "| %.2f "},
    {"EMA val loss", "ema_val_loss", 1, "| %.4f "},
    {"EMA val top-1 (%)", "ema_val_top1", 100, "| %.2f "},
    {"EMA val top-5 (%)", "ema_val_top5", 100, "| %.2f "},
    {"LR", "lr", 1, "| %.4g "},
    {"Pixels", "image_size", 1, "| %.0f "},
    {"Images/s", "images_per_second", 1, "| %.1f "},
    {"Epoch time (s)", "seconds", 1, "| %.1f "},
};

enum { CELLS = IM_COUNT(cells) };

static bool has_value(const struct sv_history *h, const double *column)
{
    for (size_t i = 0; column && i < h->epochs; i++)
        if (isfinite(column[i]))
            return true;
    return false;
}

static void print_table(FILE *f, const struct sv_history *h)
{
    const double *column[CELLS];

    for (int i = 0; i < CELLS; i++) {
        column[i] = sv_history_column(h, cells[i].column);
        if (strncmp(cells[i].column, "ema_", 4) == 0 && !has_value(h, column[i]))
            column[i] = NULL;
        if (column[i])
            fprintf(f, "| %s ", cells[i].heading);
    }
    fputs("|\n", f);
    for (int i = 0; i < CELLS; i++)
        fputs(column[i] ? "|---:" : "", f);
    fputs("|\n", f);
    for (size_t epoch = 0; epoch < h->epochs; epoch++) {
        for (int i = 0; i < CELLS; i++) {
            if (column[i] && isfinite(column[i][epoch]))
                fprintf(f, cells[i].format, cells[i].scale * column[i][epoch]);
            else if (column[i])
                fputs("| ", f);
        }
        fputs("|\n", f);
    }
}

static int write_markdown(const struct sv_history *h, const char *directory, struct im_text *text)
{
    char path[PATH_MAX], *md = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&md, &n);
    int err;

    if (!f)
        return -ENOMEM;
    print_table(f, h);
    snprintf(path, sizeof path, "%s/training_log.md", directory);
    err = fclose(f) == 0 ? im_file_replace_any(path, md, n, text) : -ENOMEM;
    free(md);
    return err;
}

int sv_history_write(const char *directory, struct im_text *text)
{
    struct sv_chart_run run;
    int err = sv_chart_run_load(&run, directory, text);

    if (err < 0)
        return err;
    err = draw_all(&run, directory, text);
    if (err == 0)
        err = write_json(&run.history, directory, text);
    if (err == 0)
        err = write_markdown(&run.history, directory, text);
    sv_chart_run_free(&run);
    return err;
}

void sv_history_tidy(const char *directory)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/plots", directory);
    im_file_sweep(path);
    snprintf(path, sizeof path, "%s/checkpoints", directory);
    im_file_sweep(path);
    im_file_sweep(directory);
}
