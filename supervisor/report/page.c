#include "supervisor/report/page.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/aside.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "supervisor/report/chart.h"
#include "supervisor/report/page_text.h"
#include "supervisor/report/results.h"
#include "supervisor/report/rundir.h"
#include "supervisor/report/saved.h"
#include "supervisor/report/screen.h"
#include "supervisor/report/series.h"

enum { LIST_MAX = 100, CLASSES_SHOWN = 40 }; /* lines of a list in the page */
#define TEXT_BYTES_MAX ((size_t)1 << 24)

/* What a page is made from. */
struct page {
    const char *directory;
    struct sv_chart_run run;
    struct sv_options options;
    struct sv_state_file saved;
    struct sv_done done;
    FILE *f;
};

static const char *option(const struct page *p, const char *name)
{
    const char *value = sv_options_value(&p->options, name);

    return value ? value : "?";
}

static void write_fact(FILE *f, const char *value, const char *label)
{
    fputs("<div class=\"fact\"><b>", f);
    sv_page_put(f, value);
    fputs("</b>", f);
    sv_page_put(f, label);
    fputs("</div>\n", f);
}

static void write_head(struct page *p)
{
    const struct sv_history *h = &p->run.history;
    char now[40], value[64], label[96];
    const time_t at = time(NULL);
    struct tm utc;

    gmtime_r(&at, &utc);
    strftime(now, sizeof now, "%Y-%m-%d %H:%M UTC", &utc);
    fputs("<h1>", p->f);
    sv_page_put(p->f, p->run.name);
    fputs("</h1>\n<p class=\"dim\">", p->f);
    sv_page_put(p->f, option(p, "model"));
    fputs(", amp ", p->f);
    sv_page_put(p->f, option(p, "amp"));
    fputs(", on ", p->f);
    sv_page_put(p->f, option(p, "data-dir"));
    fprintf(p->f, ", %zu of ", h->epochs);
    sv_page_put(p->f, option(p, "epochs"));
    fprintf(p->f, " epochs%s; imsuper %s, written %s</p>\n<div class=\"facts\">\n",
            p->done.epochs > 0 ? ", done" : "", IMSUPER_VERSION, now);
    for (size_t i = 1; i < sv_result_count(); i++) {
        const struct sv_result *r = sv_result_at(i);
        int64_t epoch;
        const double v = sv_result_pick(h, r, &epoch);

        if (isnan(v))
            continue;
        snprintf(value, sizeof value, r->format, r->scale * v);
        if (sv_result_is_best(r))
            snprintf(label, sizeof label, "%s, epoch %" PRId64, r->label, epoch);
        else
            snprintf(label, sizeof label, "%s", r->label);
        write_fact(p->f, value, label);
    }
    fputs("</div>\n", p->f);
}

static void write_key(FILE *f, const struct sv_plot *plot)
{
    fputs("<p class=\"key\">", f);
    for (size_t i = 0; i < plot->lines; i++) {
        if (!plot->line[i].label)
            continue;
        fprintf(f, "<span><i class=\"b%d\"></i>", plot->line[i].colour);
        sv_page_put(f, plot->line[i].label);
        fputs("</span>", f);
    }
    fputs("</p>\n", f);
}

static int write_charts(struct page *p, struct im_text *text)
{
    static const struct {
        const char *metric, *title;
        double smooth;
    } charts[] = {{"loss", "Loss", 0},
                  {"accuracy", "Accuracy (%)", 0},
                  {"lr", "Learning rate", 0},
                  {"throughput", "Training images/s", 0},
                  {"step_loss", "Loss of steps, smoothed over about ten", 0.9},
                  {"grad_norm", "Norm of gradients, smoothed over about ten", 0.9}};
    struct sv_chart *chart = malloc(sizeof *chart);
    int err = chart ? 0 : -ENOMEM;

    fputs("<h2>Curves</h2>\n<div class=\"charts\">\n", p->f);
    for (size_t i = 0; i < IM_COUNT(charts) && err == 0; i++) {
        const struct sv_chart_style how = {.smooth = charts[i].smooth};

        err = sv_chart_make(chart, &p->run, 1, charts[i].metric, &how, text);
        if (err == 0) {
            fprintf(p->f, "<div class=\"chart\"><h3>%s</h3>\n", charts[i].title);
            write_key(p->f, &chart->plot);
            sv_plot_svg(&chart->plot, p->f);
            fputs("</div>\n", p->f);
        }
        sv_chart_free(chart);
        err = err == -ENOENT ? 0 : err;
    }
    fputs("</div>\n", p->f);
    free(chart);
    return err;
}

/* Of the table of epochs. */
static const struct {
    const char *heading, *column, *format;
    double scale;
} cells[] = {
    {"epoch", "epoch", "%.0f", 1},
    {"px", "image_size", "%.0f", 1},
    {"batch", "batch_size", "%.0f", 1},
    {"train loss", "train_loss", "%.4f", 1},
    {"train top-1", "train_top1", "%.2f", 100},
    {"val loss", "val_loss", "%.4f", 1},
    {"val mAP", "val_map", "%.2f", 100},
    {"val F1", "val_f1", "%.2f", 100},
    {"val macro F1", "val_f1_macro", "%.2f", 100},
    {"ema mAP", "ema_val_map", "%.2f", 100},
    {"val top-1", "val_top1", "%.2f", 100},
    {"val top-5", "val_top5", "%.2f", 100},
    {"ema loss", "ema_val_loss", "%.4f", 1},
    {"ema top-1", "ema_val_top1", "%.2f", 100},
    {"lr", "lr", "%.4g", 1},
    {"images/s", "images_per_second", "%.1f", 1},
    {"s", "seconds", "%.1f", 1},
};

static bool has_value(const double *v, size_t n)
{
    for (size_t i = 0; v && i < n; i++)
        if (isfinite(v[i]))
            return true;
    return false;
}

static size_t best_epoch(const struct sv_history *h)
{
    const double *map = sv_history_column(h, "val_map"), *v = map ? map : sv_history_column(h, "val_top1");
    size_t best = SIZE_MAX;

    for (size_t i = 0; v && i < h->epochs; i++)
        if (isfinite(v[i]) && (best == SIZE_MAX || v[i] > v[best]))
            best = i;
    return best;
}

static void write_epochs(struct page *p)
{
    const struct sv_history *h = &p->run.history;
    const double *column[IM_COUNT(cells)];
    const size_t best = best_epoch(h);

    fputs("<h2>Epochs</h2>\n<div class=\"wide\"><table>\n<tr>", p->f);
    for (size_t i = 0; i < IM_COUNT(cells); i++) {
        column[i] = sv_history_column(h, cells[i].column);
        if (!has_value(column[i], h->epochs))
            column[i] = NULL;
        if (column[i])
            fprintf(p->f, "<th>%s</th>", cells[i].heading);
    }
    fputs("</tr>\n", p->f);
    for (size_t epoch = 0; epoch < h->epochs; epoch++) {
        fputs(epoch == best ? "<tr class=\"best\">" : "<tr>", p->f);
        for (size_t i = 0; i < IM_COUNT(cells); i++) {
            if (!column[i])
                continue;
            fputs("<td>", p->f);
            if (isfinite(column[i][epoch]))
                fprintf(p->f, cells[i].format, cells[i].scale * column[i][epoch]);
            fputs("</td>", p->f);
        }
        fputs("</tr>\n", p->f);
    }
    fputs("</table></div>\n", p->f);
}

static uint32_t last_epoch(const struct sv_history *h)
{
    const double *epoch = sv_history_column(h, "epoch");

    return epoch && h->epochs > 0 && epoch[h->epochs - 1] >= 1 && epoch[h->epochs - 1] < UINT32_MAX
               ? (uint32_t)epoch[h->epochs - 1]
               : 0;
}

static void write_options(struct page *p)
{
    fputs("<h2>Options that are not at their defaults</h2>\n<table class=\"pairs\">\n", p->f);
    for (size_t i = 0; i < p->options.count; i++) {
        const struct sv_option *o = &p->options.option[i];

        if (strcmp(o->source, "default") != 0 && sv_option_matters(o->name))
            sv_page_row(p->f, o->name, "%s (%s)", o->value, o->source);
    }
    fputs("</table>\n<h2>Command</h2>\n", p->f);
    sv_page_command(p->f, &p->options);
    fputs(
        "<p class=\"dim\">The same from its file, every option included: imsuper start --config config.yaml "
        "--run-name ANOTHER</p>\n",
        p->f);
}

static char *read_text(const struct page *p, const char *name)
{
    char path[PATH_MAX], *bytes = NULL;
    size_t n;

    snprintf(path, sizeof path, "%s/%s", p->directory, name);
    return im_read_file(path, TEXT_BYTES_MAX, &bytes, &n, NULL) == 0 ? bytes : NULL;
}

static void write_machine(struct page *p)
{
    char *bytes = read_text(p, "env.json");
    struct im_json *env = NULL;
    const struct im_json *value;
    char room[24];

    fputs("<h2>Machine</h2>\n<table class=\"pairs\">\n", p->f);
    if (bytes)
        im_json_parse(bytes, strlen(bytes), &env, NULL);
    for (const char *key = NULL; env && (value = im_json_next(env, &key));) {
        const char *s;
        int64_t i;

        if (strcmp(key, "schema") == 0)
            continue;
        if (im_json_as_str(value, &s) == 0)
            sv_page_row(p->f, key, "%s", s);
        else if (im_json_as_int(value, &i) == 0 && strcmp(key, "memory_bytes") == 0)
            sv_page_row(p->f, "memory", "%s", sv_format_bytes((uint64_t)i, room, sizeof room));
        else if (im_json_as_int(value, &i) == 0)
            sv_page_row(p->f, key, "%" PRId64, i);
    }
    fputs("</table>\n", p->f);
    im_json_free(&env);
    free(bytes);
}

/* The lines of a file as a list, as many as a page has room for; returns how many lines there are. */
static size_t write_lines(struct page *p, const char *name, size_t shown)
{
    char *bytes = read_text(p, name), *next;
    size_t count = 0;

    if (!bytes)
        return 0;
    fputs("<pre>", p->f);
    for (char *line = bytes; *line; line = next) {
        next = line + strcspn(line, "\n");
        if (*next)
            *next++ = 0;
        if (count++ >= shown)
            continue;
        sv_page_put(p->f, line);
        fputc('\n', p->f);
    }
    if (count > shown)
        fprintf(p->f, "... and %zu more", count - shown);
    fputs("</pre>\n", p->f);
    free(bytes);
    return count;
}

static bool exists(const struct page *p, const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/%s", p->directory, name);
    return access(path, F_OK) == 0;
}

static void write_data(struct page *p)
{
    const int64_t train = sv_saved_int(&p->saved, "train-images", -1);

    fputs("<h2>Data</h2>\n<table class=\"pairs\">\n", p->f);
    sv_page_row(p->f, "folder", "%s", option(p, "data-dir"));
    if (train >= 0)
        sv_page_row(p->f, "images", "%" PRId64 " to train on, %" PRId64 " to validate with", train,
                    sv_saved_int(&p->saved, "val-images", 0));
    fputs("</table>\n", p->f);
    if (exists(p, "classes.txt")) {
        fputs("<h3>Classes</h3>\n", p->f);
        write_lines(p, "classes.txt", CLASSES_SHOWN);
    }
    if (exists(p, "left_out.txt")) {
        fputs("<h3>Files that were left out</h3>\n", p->f);
        write_lines(p, "left_out.txt", LIST_MAX);
    }
}

static int take_event(void *context, const struct im_json *line)
{
    struct page *p = context;
    const struct im_json *value;
    const char *separator = "";
    char ts[20]; /* to the second */

    snprintf(ts, sizeof ts, "%s", im_json_str_or(line, "ts", ""));
    ts[strcspn(ts, "T")] = ts[strcspn(ts, "T")] ? ' ' : '\0';
    fputs("<tr><th>", p->f);
    sv_page_put(p->f, ts);
    fputs("</th><td>", p->f);
    sv_page_put(p->f, im_json_str_or(line, "event", ""));
    fputs("</td><td>", p->f);
    for (const char *key = NULL; (value = im_json_next(line, &key));) {
        const char *s = "";
        double number;
        int64_t whole;
        char word[40];

        if (strcmp(key, "ts") == 0 || strcmp(key, "event") == 0)
            continue;
        if (im_json_as_int(value, &whole) == 0) {
            snprintf(word, sizeof word, "%" PRId64, whole);
            s = word;
        } else if (im_json_as_real(value, &number) == 0) {
            snprintf(word, sizeof word, "%.6g", number);
            s = word;
        } else if (im_json_as_str(value, &s) < 0) {
            continue;
        }
        fputs(separator, p->f);
        sv_page_put(p->f, key);
        fputc(' ', p->f);
        sv_page_put(p->f, s);
        separator = "; ";
    }
    fputs("</td></tr>\n", p->f);
    return 0;
}

/* Where the last events begin. */
struct tail {
    int64_t count, skipped;
    struct page *page;
};

static int count_event(void *context, const struct im_json *line)
{
    struct tail *t = context;

    (void)line;
    t->count++;
    return 0;
}

static int take_late_event(void *context, const struct im_json *line)
{
    struct tail *t = context;

    return t->skipped++ < t->count - LIST_MAX ? 0 : take_event(t->page, line);
}

static void write_events(struct page *p)
{
    struct tail t = {.page = p};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/events.jsonl", p->directory);
    if (sv_each_line(path, 0, count_event, &t, NULL) < 0)
        return;
    fputs("<h2>Events</h2>\n", p->f);
    if (t.count > LIST_MAX)
        fprintf(p->f, "<p class=\"dim\">the last %d of %" PRId64 "</p>\n", LIST_MAX, t.count);
    fputs("<div class=\"wide\"><table class=\"pairs events\">\n", p->f);
    sv_each_line(path, 0, take_late_event, &t, NULL);
    fputs("</table></div>\n", p->f);
}

/* How often each stage was the one that limited. */
struct limits {
    int64_t count[3], lines;
};

static const char *const stages[3] = {"read", "augment", "train"};

static int take_limit(void *context, const struct im_json *line)
{
    struct limits *l = context;

    l->lines++;
    for (size_t i = 0; i < IM_COUNT(stages); i++)
        l->count[i] += strcmp(im_json_str_or(line, "limit", ""), stages[i]) == 0;
    return 0;
}

static void write_limits(struct page *p)
{
    struct limits l = {.lines = 0};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/stages.jsonl", p->directory);
    if (sv_each_line(path, 0, take_limit, &l, NULL) < 0 || l.lines == 0)
        return;
    fputs("<p>Limited by", p->f);
    for (size_t i = 0; i < IM_COUNT(stages); i++)
        if (l.count[i] > 0)
            fprintf(p->f, " %s (%.0f %% of the time)", stages[i], 100 * (double)l.count[i] / (double)l.lines);
    fputs(".</p>\n", p->f);
}

static int write_page(struct page *p, struct im_text *text)
{
    int err;

    sv_page_begin(p->f, p->run.name);
    write_head(p);
    write_limits(p);
    err = write_charts(p, text);
    write_epochs(p);
    sv_page_classes(p->f, p->directory, last_epoch(&p->run.history));
    write_options(p);
    write_machine(p);
    write_data(p);
    write_events(p);
    fputs("</body></html>\n", p->f);
    return err;
}

int sv_page_write(const char *directory, struct im_text *text)
{
    struct page p = {.directory = directory};
    char path[PATH_MAX], *html = NULL;
    size_t n = 0;
    int err = sv_options_load(&p.options, directory, text);

    if (err < 0)
        return err == -ENOENT ? 0 : err;
    err = sv_chart_run_load(&p.run, directory, text);
    if (err < 0) {
        sv_options_free(&p.options);
        return err == -ENOENT ? 0 : err;
    }
    sv_saved_read(directory, &p.saved);
    sv_rundir_done(directory, &p.done);
    p.f = open_memstream(&html, &n);
    err = p.f ? write_page(&p, text) : -ENOMEM;
    if (p.f && fclose(p.f) != 0)
        err = -ENOMEM;
    snprintf(path, sizeof path, "%s/report.html", directory);
    if (err == 0)
        err = im_file_replace_any(path, html, n, text);
    free(html);
    sv_saved_close(&p.saved);
    sv_chart_run_free(&p.run);
    sv_options_free(&p.options);
    return err;
}
