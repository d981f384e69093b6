/* The parts of the screen of `imsuper top`. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/report/epochs.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/screen.h"
#include "supervisor/top/draw.h"

#define BAR_MAX 20

static int draw_bar(const struct sv_top_screen *s, struct sv_canvas *c, int row, int column, int cells,
                    double share, enum sv_style style)
{
    const int full = (int)(fmin(fmax(share, 0), 1) * cells + 0.5);

    for (int i = 0; i < cells; i++)
        column = sv_canvas_put(c, row, column, 1, i < full ? style : SV_FAINT,
                               i < full ? (s->utf8 ? "█" : "#") : (s->utf8 ? "░" : "."));
    return column;
}

static double share_of(int64_t part, int64_t whole)
{
    const double share = whole > 0 ? (double)part / (double)whole : 0;

    return share < 0 ? 0 : share < 1 ? share : 1;
}

/* Words of the strip; `level` of brevity: 0 all of them, 1 without units, 2 without brackets and blanks. */
struct strip {
    char name[3][32], fill[2][48];
    const char *arrow, *open, *close;
    int bar; /* cells of each */
};

static int measure_strip(const struct sv_top_screen *s, int columns, int level, struct strip *ret)
{
    static const char *const ready[] = {"ready_cells", "ready_batches"}, *const all[] = {"cells", "batches"},
                             *const units[] = {" files", " batches"};
    static const char *const arrows[2][2] = {{" -> ", "->"}, {" → ", "→"}};
    const struct im_json *j = s->run->status, *stages = im_json_get(j, "stages");
    int width = 0;

    *ret = (struct strip){
        .arrow = arrows[s->utf8][level == 2], .open = level == 2 ? "" : "[", .close = level == 2 ? "" : "]"};
    for (size_t i = 0; i < 3; i++) {
        const struct im_json *stage = im_json_at(stages, i);

        snprintf(ret->name[i], sizeof ret->name[i], "%.12s %d", im_json_str_or(stage, "stage", "?"),
                 (int)im_json_int_or(stage, "processes", 0));
        width += sv_text_width(ret->name[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        snprintf(ret->fill[i], sizeof ret->fill[i], "%" PRId64 "/%" PRId64 "%s",
                 im_json_int_or(j, ready[i], 0), im_json_int_or(j, all[i], 0), level == 0 ? units[i] : "");
        width += (int)(strlen(ret->fill[i]) + strlen(ret->open) + strlen(ret->close)) +
                 2 * sv_text_width(ret->arrow);
    }
    ret->bar = level == 2 ? 0 : (columns - width) / 2 - 1; /* a blank behind each */
    ret->bar = ret->bar < 0 ? 0 : ret->bar < BAR_MAX ? ret->bar : BAR_MAX;
    return width;
}

/* "read 1 -> [#### 64/64 files] -> augment 2 -> [## 2/4 batches] -> train 1" */
int sv_top_draw_pipeline(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    const struct im_json *j = s->run->status;
    const double share[] = {share_of(im_json_int_or(j, "ready_cells", 0), im_json_int_or(j, "cells", 0)),
                            share_of(im_json_int_or(j, "ready_batches", 0), im_json_int_or(j, "batches", 0))};
    struct strip strip;
    int column = 0;

    for (int level = 0; level < 3 && measure_strip(s, c->columns, level, &strip) > c->columns; level++)
        ;
    for (size_t i = 0; i < 3; i++) {
        column = sv_canvas_print(c, row, column, SV_BOLD, "%s", strip.name[i]);
        if (i == 2)
            break;
        column = sv_canvas_print(c, row, column, SV_FAINT, "%s%s", strip.arrow, strip.open);
        column = draw_bar(s, c, row, column, strip.bar, share[i], SV_ACCENT);
        column = sv_canvas_print(c, row, column, SV_PLAIN, "%s%s", strip.bar > 0 ? " " : "", strip.fill[i]);
        column = sv_canvas_print(c, row, column, SV_FAINT, "%s%s", strip.close, strip.arrow);
    }
    return row + 1;
}

static void draw_heading(struct sv_canvas *c, int row, const char *text)
{
    sv_canvas_style(c, row, SV_HEADING);
    sv_canvas_put(c, row, 0, c->columns, SV_HEADING, text);
}

int sv_top_draw_stages(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    const struct im_json *j = s->run->status, *stages = im_json_get(j, "stages");
    const char *limit = im_json_str_or(j, "limited_by", "");
    const int bar = c->columns >= 80 ? BAR_MAX : c->columns >= 56 ? 6 : 0;
    char number[24];

    draw_heading(c, row, "STAGE       IMG/S  WAIT-IN  WAIT-OUT  BUSY");
    for (size_t i = 0; i < 3; i++) {
        const struct im_json *stage = im_json_at(stages, i);
        const double busy = im_json_real_or(stage, "busy", 0);
        const bool limits = strcmp(limit, im_json_str_or(stage, "stage", "?")) == 0;
        int column =
            sv_canvas_print(c, row + 1 + (int)i, 0, limits ? SV_BUSY : SV_PLAIN,
                            "%-8.8s %8s  %6.0f%%  %7.0f%%  %3.0f%%", im_json_str_or(stage, "stage", "?"),
                            sv_format_rate(im_json_real_or(stage, "per_second", 0), number, sizeof number),
                            100 * im_json_real_or(stage, "wait_input", 0),
                            100 * im_json_real_or(stage, "wait_output", 0), 100 * busy);

        if (bar > 0)
            column = draw_bar(s, c, row + 1 + (int)i, column + 1, bar, busy, limits ? SV_BUSY : SV_GOOD);
        if (limits && column + 8 <= c->columns)
            sv_canvas_print(c, row + 1 + (int)i, column + 1, SV_BUSY, "limits");
        else if (im_json_bool_or(stage, "automatic", false) && column + 8 <= c->columns)
            sv_canvas_print(c, row + 1 + (int)i, column + 1, SV_FAINT, "auto");
    }
    return row + 4;
}

static double busy_of(const struct im_json *node, size_t stage)
{
    return 100 * im_json_real_or(im_json_at(im_json_get(node, "stages"), stage), "busy", 0);
}

static void draw_node(struct sv_canvas *c, int row, const struct im_json *j)
{
    const char *state = im_json_str_or(j, "state", "?");
    const struct im_json *cache = im_json_get(j, "cache");
    const double hits = im_json_real_or(cache, "hits", 0), all = hits + im_json_real_or(cache, "misses", 0);
    char number[24], share[16] = "-";
    int column = sv_canvas_print(c, row, 0, strcmp(state, "there") == 0 ? SV_PLAIN : SV_BAD, "%4d  %-7.7s",
                                 (int)im_json_int_or(j, "node", 0), state);

    if (cache)
        snprintf(share, sizeof share, "%.0f%%", all > 0 ? 100 * hits / all : 0.0);
    column =
        sv_canvas_print(c, row, column, SV_PLAIN, "  %8s",
                        sv_format_rate(im_json_real_or(j, "images_per_second", 0), number, sizeof number));
    if (im_json_get(j, "stages"))
        column = sv_canvas_print(c, row, column, SV_PLAIN, "  %4.0f%%  %6.0f%%  %4.0f%%  %5s", busy_of(j, 0),
                                 busy_of(j, 1), busy_of(j, 2), share);
    else
        column = sv_canvas_print(c, row, column, SV_FAINT, "  %-29s", "has not answered");
    sv_canvas_print(c, row, column, SV_FAINT, "  %.40s", im_json_str_or(j, "name", "?"));
}

/* The machines of a run; where there is no room for all, those that are not there come first. */
int sv_top_draw_nodes(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows)
{
    const struct im_json *nodes = im_json_get(s->run->status, "nodes");
    int drawn = 1;

    draw_heading(c, row, "NODE  STATE       IMG/S   READ  AUGMENT  TRAIN  CACHE  NAME");
    for (int there = (int)im_json_count(nodes) < rows; there < 2; there++)
        for (size_t i = 0; i < im_json_count(nodes) && drawn < rows; i++) {
            const struct im_json *j = im_json_at(nodes, i);
            const bool is_there = strcmp(im_json_str_or(j, "state", "?"), "there") == 0;

            if ((int)im_json_count(nodes) < rows || is_there == (there == 1))
                draw_node(c, row + drawn++, j);
        }
    return row + rows;
}

/* The newest values, one a column, between the least and the largest of them. */
static void draw_spark(const struct sv_top_screen *s, struct sv_canvas *c, int row, const char *name,
                       const struct sv_top_past *past, bool from_zero, const char *format)
{
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    static const char *const marks[] = {"_", ".", "-", "~", "=", "+", "*", "#"};
    const int label = 7, tail = 18, width = c->columns - label - tail;
    const int first = past->count > width ? past->count - width : 0;
    double low = from_zero ? 0 : (double)INFINITY, high = -(double)INFINITY;
    char a[24], b[24];

    sv_canvas_put(c, row, 0, label, SV_FAINT, name);
    for (int i = first; i < past->count; i++) {
        low = fmin(low, past->value[i]);
        high = fmax(high, past->value[i]);
    }
    if (past->count == 0)
        return;
    for (int i = first; i < past->count; i++) {
        const double share = high > low ? (past->value[i] - low) / (high - low) : 0.5;
        const int level = (int)(share * 7.999);

        sv_canvas_put(c, row, label + i - first, 1, SV_ACCENT, s->utf8 ? blocks[level] : marks[level]);
    }
    snprintf(a, sizeof a, format, low);
    snprintf(b, sizeof b, format, high);
    sv_canvas_print(c, row, c->columns - tail + 1, SV_FAINT, "%s to %s", a, b);
}

int sv_top_draw_past(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    draw_spark(s, c, row, "img/s", &s->run->rate, true, "%.4g");
    draw_spark(s, c, row + 1, "loss", &s->run->loss, false, "%.4g");
    return row + 2;
}

/* Appends a number, or "-" where the driver says nothing. */
static void add_cell(char *line, size_t n, const struct im_json *j, const char *key, double scale, int width,
                     const char *unit)
{
    const double value = im_json_real_or(j, key, (double)NAN);
    const size_t used = strlen(line);

    if (isnan(value))
        snprintf(line + used, n - used, " %*s", width, "-");
    else
        snprintf(line + used, n - used, " %*.0f%s", width - (int)strlen(unit), scale * value, unit);
}

/* Numbers of one GPU, or, where there is no room for each, of all: mean, sum, or the most. */
static struct im_json *all_gpus(const struct im_json *gpus)
{
    static const struct {
        const char *key;
        enum { MEAN, SUM, MOST } how;
    } keys[] = {
        {"busy", MEAN}, {"memory_bytes", SUM}, {"power_w", SUM}, {"temperature_c", MOST}, {"sm_mhz", MEAN}};
    struct im_json *all = im_json_object();

    for (size_t k = 0; k < IM_COUNT(keys); k++) {
        double sum = 0, most = -(double)INFINITY;
        size_t known = 0;

        for (size_t i = 0; i < im_json_count(gpus); i++) {
            const double value = im_json_real_or(im_json_at(gpus, i), keys[k].key, (double)NAN);

            if (isnan(value))
                continue;
            known++;
            sum += value;
            most = fmax(most, value);
        }
        if (known > 0)
            im_json_set_real(all, keys[k].key,
                             keys[k].how == MEAN  ? sum / (double)known
                             : keys[k].how == SUM ? sum
                                                  : most);
    }
    return all;
}

static void draw_gpu(struct sv_canvas *c, int row, const char *name, const struct im_json *j)
{
    const struct im_json *words = im_json_get(j, "throttled");
    char line[256];

    snprintf(line, sizeof line, "%s", name);
    add_cell(line, sizeof line, j, "busy", 100, 5, "%");
    add_cell(line, sizeof line, j, "memory_bytes", 1.0 / (1 << 20), 10, " MiB");
    add_cell(line, sizeof line, j, "power_w", 1, 6, " W");
    add_cell(line, sizeof line, j, "temperature_c", 1, 5, " C");
    add_cell(line, sizeof line, j, "sm_mhz", 1, 8, " MHz");
    for (size_t k = 0; k < im_json_count(words); k++) {
        const char *word = "";
        const size_t used = strlen(line);

        if (im_json_as_str(im_json_at(words, k), &word) == 0)
            snprintf(line + used, sizeof line - used, "%s%s", k > 0 ? "," : "  ", word);
    }
    sv_canvas_put(c, row, 0, c->columns, SV_PLAIN, line);
}

int sv_top_draw_gpus(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows)
{
    const struct im_json *gpus = im_json_get(s->run->status, "gpus");
    const int count = (int)im_json_count(gpus);
    char name[32];

    draw_heading(c, row, "GPU  RANK  BUSY     MEMORY  POWER  TEMP    CLOCK  THROTTLED");
    for (int i = 0; i < count && count < rows; i++) {
        const struct im_json *j = im_json_at(gpus, (size_t)i);

        snprintf(name, sizeof name, "%3d %5d", (int)im_json_int_or(j, "gpu", 0),
                 (int)im_json_int_or(j, "rank", 0));
        draw_gpu(c, row + 1 + i, name, j);
    }
    if (count >= rows) {
        struct im_json *all = all_gpus(gpus);

        snprintf(name, sizeof name, "all %5d", count);
        draw_gpu(c, row + 1, name, all);
        im_json_free(&all);
    }
    return row + rows;
}

/* Columns of the table of processes, the first ones first where there is no room. */
static const struct {
    const char *heading;
    int width;
} process_columns[] = {{"PROCESS", 14}, {"PID", 8}, {"STATE", 17}, {"CPU%", 6},   {"ITEMS/S", 9},
                       {"MEM MiB", 8},  {"RST", 4}, {"P50 ms", 8}, {"P99 ms", 8}, {" LAST", 24}};

static void format_ms(const struct im_json *j, const char *key, char *s, size_t n)
{
    const double ms = im_json_real_or(j, key, (double)NAN);

    if (isnan(ms))
        snprintf(s, n, "-");
    else
        snprintf(s, n, ms < 10 ? "%.2f" : ms < 100 ? "%.1f" : "%.0f", ms);
}

static const struct sv_top_event *last_event_of(const struct sv_top_run *r, const char *process)
{
    for (int i = r->events - 1; i >= 0; i--)
        if (strcmp(r->event[i].process, process) == 0 && strcmp(r->event[i].brief, "recovered") != 0)
            return &r->event[i];
    return NULL;
}

static void format_process(const struct sv_top_run *r, int index, int column, char *s, size_t n)
{
    const struct im_json *j = im_json_at(im_json_get(r->status, "processes"), (size_t)index);
    const struct sv_top_process *p = &r->process[index];
    const char *state = im_json_str_or(j, "state", "?");
    const struct sv_top_event *event;

    snprintf(s, n, "-");
    switch (column) {
    case 0:
        snprintf(s, n, "%s", p->name);
        break;
    case 1:
        snprintf(s, n, "%d", (int)im_json_int_or(j, "pid", 0));
        break;
    case 2:
        snprintf(s, n, "%s", strcmp(state, "running") == 0 ? im_json_str_or(j, "activity", state) : state);
        break;
    case 3:
        if (!isnan(p->cpu))
            snprintf(s, n, "%.0f", 100 * p->cpu);
        break;
    case 4:
        if (!isnan(p->rate))
            snprintf(s, n, "%.1f", p->rate);
        break;
    case 5:
        if (im_json_get(j, "rss_bytes"))
            snprintf(s, n, "%d", (int)(im_json_int_or(j, "rss_bytes", 0) >> 20));
        break;
    case 6:
        snprintf(s, n, "%d", (int)im_json_int_or(j, "restarts", 0));
        break;
    case 7:
        format_ms(j, "item_p50_ms", s, n);
        break;
    case 8:
        format_ms(j, "item_p99_ms", s, n);
        break;
    default:
        event = last_event_of(r, p->name);
        snprintf(s, n, " %.5s %s", event ? event->time : "", event ? event->brief : "");
    }
}

static enum sv_style style_of_process(const struct sv_top_run *r, int index)
{
    const struct im_json *j = im_json_at(im_json_get(r->status, "processes"), (size_t)index);
    const char *state = im_json_str_or(j, "state", "?");

    if (strcmp(state, "down") == 0)
        return SV_BAD;
    if (strcmp(state, "starting") == 0)
        return SV_BUSY;
    return strcmp(im_json_str_or(j, "activity", ""), "works") == 0 ? SV_GOOD : SV_PLAIN;
}

/* One row, or with -1 the heading. What happened last stands in the room behind the others. */
static void draw_process(const struct sv_top_screen *s, struct sv_canvas *c, int row, int index,
                         enum sv_style style)
{
    const int last = (int)IM_COUNT(process_columns) - 1;
    int column = 0;

    if (style == SV_CHOSEN || index < 0)
        sv_canvas_style(c, row, style);
    for (int i = 0; i <= last; i++) {
        const int width = process_columns[i].width, room = c->columns - column;
        char text[64], padded[96];

        if (room < (i == last ? 10 : width))
            continue;
        if (c->columns < 100 && (i == 7 || i == 8)) /* what happened is worth more */
            continue;
        if (index < 0)
            snprintf(text, sizeof text, "%s", process_columns[i].heading);
        else
            format_process(s->run, index, i, text, sizeof text);
        snprintf(padded, sizeof padded, i < 3 || i == last ? "%-*s" : "%*s", width, text);
        sv_canvas_put(c, row, column, i == last ? room : width, style, padded);
        column += width;
    }
}

int sv_top_draw_processes(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows)
{
    const int shown = rows - 1, count = s->run->processes;
    int first = s->chosen >= shown ? s->chosen - shown + 1 : 0;

    draw_process(s, c, row, -1, SV_HEADING);
    for (int i = 0; i < shown && first + i < count; i++)
        draw_process(s, c, row + 1 + i, first + i,
                     first + i == s->chosen ? SV_CHOSEN : style_of_process(s->run, first + i));
    return row + rows;
}

int sv_top_draw_events(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows)
{
    const int shown = rows - 1 < s->run->events ? rows - 1 : s->run->events;

    draw_heading(c, row, "EVENTS");
    for (int i = 0; i < shown; i++) {
        const struct sv_top_event *e = &s->run->event[s->run->events - shown + i];
        const int column = sv_canvas_print(c, row + 1 + i, 0, SV_FAINT, "%s ", e->time);

        sv_canvas_print(c, row + 1 + i, column, strstr(e->text, "died") ? SV_BAD : SV_PLAIN, "%s", e->text);
    }
    return row + rows;
}

/* Of a run that does not answer: its last epochs. */
int sv_top_draw_epochs(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows)
{
    const struct sv_top_run *r = s->run;
    const struct sv_epochs table = {
        .columns = c->columns + 1, .has_averages = r->has_averages, .multi_label = r->multi_label};
    const int count = (int)im_json_count(r->epochs), shown = rows - 1 < count ? rows - 1 : count;
    char line[256];

    draw_heading(c, row, sv_epochs_heading(&table, line, sizeof line));
    for (int i = 0; i < shown; i++)
        sv_canvas_put(c, row + 1 + i, 0, c->columns, SV_PLAIN,
                      sv_epochs_row(&table, im_json_at(r->epochs, (size_t)count - (size_t)shown + (size_t)i),
                                    line, sizeof line));
    return row + rows;
}

static int count_lines(const char *text)
{
    int lines = 0;

    for (; *text; text++)
        lines += *text == '\n';
    return lines;
}

/* The last lines of the log but for those that are scrolled back; long ones are cut. */
int sv_top_draw_log(const struct sv_top_screen *s, struct sv_canvas *c, int row, int rows)
{
    const int lines = count_lines(s->log), most = lines > rows ? lines - rows : 0;
    const int skipped = most - (s->log_back < most ? s->log_back : most);
    const char *line = s->log;

    for (int i = 0; i < lines && i < skipped + rows; i++) {
        const char *end = strchr(line, '\n');
        char text[1024];

        snprintf(text, sizeof text, "%.*s", (int)(end - line), line);
        if (i >= skipped)
            sv_canvas_put(c, row + i - skipped, 0, c->columns,
                          strstr(text, "level=error") ? SV_BAD : SV_PLAIN, text);
        line = end + 1;
    }
    if (lines == 0)
        sv_canvas_print(c, row, 0, SV_FAINT, "nothing yet");
    return row + rows;
}

int sv_top_draw_help(struct sv_canvas *c, int row, int rows)
{
    static const char *const lines[] = {
        "h F1 ?   this help           q F10 Ctrl-C  quit; the run goes on",
        "up down  choose a process    Tab           the next run",
        "l        its log, as it grows",
        "r        restart it: readers and augmenters when they hold nothing,",
        "         trainers from a snapshot",
        "+ -      one reader or augmenter more or less (the chosen one's stage)",
        "p        pause the run, or let it go on",
        "",
        "Rings: files read and batches made that wait for the next stage. A full",
        "ring in front of a stage means that the stage limits the run.",
        "WAIT-IN, WAIT-OUT: a stage's time without input, without a place for output.",
        "CPU%: 100 is one core. RST: restarts. MEM: with shared memory.",
    };

    for (int i = 0; i < rows && i < (int)IM_COUNT(lines); i++)
        sv_canvas_put(c, row + i, 0, c->columns, SV_PLAIN, lines[i]);
    return row + rows;
}
