#include "supervisor/top/draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/screen.h"

#define SILENCE_NS (5 * IM_SECOND / 2) /* a run that answers does so twice a second */

static bool is_silent(const struct sv_top_screen *s)
{
    return s->run->status && !s->run->state[0] && s->now - s->run->answered > SILENCE_NS;
}

/* "demo  training for 12m" and the number of the run on the right. */
static void draw_title(const struct sv_top_screen *s, struct sv_canvas *c)
{
    const struct im_json *j = s->run->status;
    const char *state = s->run->state[0] ? s->run->state : im_json_str_or(j, "state", "asking it");
    char time[24], text[64];
    enum sv_style style = SV_GOOD;
    int column = sv_canvas_print(c, 0, 0, SV_BOLD, "imsuper top  %s  ", s->run->name);

    if (is_silent(s)) {
        column =
            sv_canvas_print(c, 0, column, SV_BAD, "no answer for %s",
                            sv_format_seconds((double)(s->now - s->run->answered) / 1e9, time, sizeof time));
        column = sv_canvas_print(c, 0, column, SV_FAINT, ", before: %s", state);
    } else {
        if (s->run->state[0] || !j)
            style = SV_ACCENT;
        else if (strcmp(state, "training") != 0 && strcmp(state, "validating") != 0)
            style = SV_BUSY;
        column = sv_canvas_print(c, 0, column, style, "%s", state);
    }
    if (j)
        column = sv_canvas_print(c, 0, column, SV_PLAIN, " %s %s  epoch %d/%d %s step %d/%d",
                                 s->run->state[0] ? "after" : "up",
                                 sv_format_seconds(im_json_real_or(j, "up_seconds", -1), time, sizeof time),
                                 (int)im_json_int_or(j, "epoch", 0), (int)im_json_int_or(j, "epochs", 0),
                                 im_json_str_or(j, "split", ""), (int)im_json_int_or(j, "step", 0),
                                 (int)im_json_int_or(j, "steps", 0));
    snprintf(text, sizeof text, "run %d of %d", s->at, s->runs);
    if (s->runs > 1 && column + 2 + (int)strlen(text) <= c->columns)
        sv_canvas_put(c, 0, c->columns - (int)strlen(text), c->columns, SV_FAINT, text);
}

/* Loss, rate, images/s, time left and what limits, as far as there is room for whole ones. */
static void draw_numbers(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    const struct im_json *j = s->run->status;
    const double loss = im_json_real_or(j, "loss", (double)NAN), eta = im_json_real_or(j, "eta_seconds", -1),
                 top1 = im_json_real_or(j, "val_top1", (double)NAN), mfu = im_json_real_or(j, "mfu", 0),
                 rate = im_json_real_or(j, "images_per_second", 0);
    const struct im_json *cache = im_json_get(j, "cache");
    char part[9][64] = {""}, number[24];
    int column = 0;

    if (!isnan(loss))
        snprintf(part[0], sizeof part[0], "loss %.4g", loss);
    if (rate > 0) /* else it is not known yet */
        snprintf(part[1], sizeof part[1], "%s img/s", sv_format_rate(rate, number, sizeof number));
    if (eta >= 0)
        snprintf(part[2], sizeof part[2], "eta %s", sv_format_seconds(eta, number, sizeof number));
    snprintf(part[3], sizeof part[3], "limited by %.20s", im_json_str_or(j, "limited_by", "?"));
    if (!isnan(loss))
        snprintf(part[4], sizeof part[4], "lr %.4g", im_json_real_or(j, "lr", 0));
    if (im_json_get(j, "val_map"))
        snprintf(part[5], sizeof part[5], "val mAP %.2f%%", 100 * im_json_real_or(j, "val_map", (double)NAN));
    else if (!isnan(top1))
        snprintf(part[5], sizeof part[5], "val top1 %.2f%%", 100 * top1);
    if (mfu > 0)
        snprintf(part[6], sizeof part[6], "mfu %.0f%%", 100 * mfu);
    if (cache) {
        const double hits = (double)im_json_int_or(cache, "hits", 0),
                     all = hits + (double)im_json_int_or(cache, "misses", 0);

        snprintf(part[7], sizeof part[7], "cache %.0f%%, %.1f MB/s", all > 0 ? 100 * hits / all : 0.0,
                 im_json_real_or(cache, "bytes_per_second", 0) / 1e6);
    }
    if (im_json_get(j, "amp"))
        snprintf(part[8], sizeof part[8], "amp %.20s", im_json_str_or(j, "amp", "?"));
    for (size_t i = 0; i < IM_COUNT(part); i++) {
        const int width = (int)strlen(part[i]);

        if (width > 0 && column + width <= c->columns)
            column = sv_canvas_put(c, row, column, width, SV_PLAIN, part[i]) + 2;
    }
}

static void draw_keys(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    static const char *const keys[][2] = {{"h", "Help"}, {"q", "Quit"},    {"Tab", "Next run"},
                                          {"l", "Log"},  {"r", "Restart"}, {"+-", "Scale"},
                                          {"p", "Pause"}};
    int column = 0;

    if (s->message) {
        sv_canvas_put(c, row, 0, c->columns, SV_ACCENT, s->message);
        return;
    }
    for (size_t i = 0; i < IM_COUNT(keys); i++) {
        if (column + (int)strlen(keys[i][0]) + (int)strlen(keys[i][1]) + 1 > c->columns)
            break;
        column = sv_canvas_print(c, row, column, SV_BOLD, "%s", keys[i][0]);
        column = sv_canvas_print(c, row, column, SV_HEADING, " %s", keys[i][1]) + 2;
    }
}

/* A paragraph, folded. */
static void draw_text(struct sv_canvas *c, int row, const char *text)
{
    char folded[2048], *rest = folded, *line;

    sv_fold(text, c->columns, folded, sizeof folded);
    while ((line = strsep(&rest, "\n")))
        sv_canvas_put(c, row++, 0, c->columns, SV_PLAIN, line);
}

static void draw_nothing(const struct sv_top_screen *s, struct sv_canvas *c)
{
    char text[1024];

    sv_canvas_print(c, 0, 0, SV_BOLD, "imsuper top");
    snprintf(text, sizeof text,
             "There is no run in %s. Start one in another terminal, and it is shown here: imsuper start "
             "--data-dir DIR --workspace %s",
             s->workspace, s->workspace);
    draw_text(c, 2, text);
    draw_keys(s, c, c->rows - 1);
}

/* How many rows each part gets: what is most needed first. */
struct rows {
    int pipeline, stages, nodes, past, gpus, processes, events;
};

static int gpu_rows(const struct sv_top_screen *s)
{
    const int gpus = (int)im_json_count(im_json_get(s->run->status, "gpus"));

    return gpus > 0 ? 1 + gpus : 0;
}

static int draw_take(int *room, int wanted, int least)
{
    const int given = wanted <= *room ? wanted : *room >= least ? *room : 0;

    *room -= given;
    return given;
}

/* Room is without title, numbers and keys. */
static struct rows share_rows(const struct sv_top_screen *s, int room)
{
    const int gpus = gpu_rows(s), nodes = (int)im_json_count(im_json_get(s->run->status, "nodes"));
    struct rows r = {.processes = draw_take(&room, 4, 2)};

    r.pipeline = draw_take(&room, 1, 1);
    r.stages = draw_take(&room, 4, 4);
    r.nodes = draw_take(&room, nodes > 0 ? 1 + nodes : 0, 2);
    r.gpus = draw_take(&room, gpus > 0 ? 2 : 0, 2);
    r.past = draw_take(&room, 2, 2);
    r.events = draw_take(&room, 4, 2);
    if (gpus > 2 && room >= gpus - 2)
        r.gpus += draw_take(&room, gpus - 2, gpus - 2);
    r.processes += s->run->processes > 3 ? draw_take(&room, s->run->processes - 3, 1) : 0;
    r.events += room;
    return r;
}

static void draw_run(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    const struct rows r = share_rows(s, c->rows - 1 - row);

    if (r.pipeline)
        row = sv_top_draw_pipeline(s, c, row);
    if (r.stages)
        row = sv_top_draw_stages(s, c, row);
    if (r.nodes)
        row = sv_top_draw_nodes(s, c, row, r.nodes);
    if (r.past)
        row = sv_top_draw_past(s, c, row);
    if (r.gpus)
        row = sv_top_draw_gpus(s, c, row, r.gpus);
    row = sv_top_draw_processes(s, c, row, r.processes);
    if (r.events)
        sv_top_draw_events(s, c, row, r.events);
}

/* Of a run that does not answer. */
static void draw_hint(const struct sv_top_screen *s, struct sv_canvas *c, int row)
{
    if (!s->run->state[0] || strcmp(s->run->state, "starting") == 0)
        sv_canvas_print(c, row, 0, SV_FAINT, "it has not answered yet");
    else if (strcmp(s->run->state, "done") == 0)
        sv_canvas_print(c, row, 0, SV_FAINT, "it has all its epochs; more --epochs continue it");
    else
        sv_canvas_print(c, row, 0, SV_FAINT, "its `imsuper start` continues it, with --run-name %s",
                        s->run->name);
}

void sv_top_draw(const struct sv_top_screen *s, struct sv_canvas *c)
{
    const int body = 2, rows = c->rows - 1 - body;
    char text[160];

    if (c->columns < SV_TOP_COLUMNS_MIN || c->rows < SV_TOP_ROWS_MIN) {
        snprintf(text, sizeof text, "imsuper top needs %d columns and %d rows; this terminal has %d and %d.",
                 SV_TOP_COLUMNS_MIN, SV_TOP_ROWS_MIN, c->columns, c->rows);
        draw_text(c, 0, text);
        return;
    }
    if (!s->run) {
        if (s->help)
            sv_top_draw_help(c, 0, c->rows - 1);
        else
            draw_nothing(s, c);
        return;
    }
    draw_title(s, c);
    draw_keys(s, c, c->rows - 1);
    if (s->help) {
        sv_top_draw_help(c, body, rows);
    } else if (s->log) {
        sv_canvas_print(c, 1, 0, SV_FAINT, "log of %s; arrows scroll, l or Esc goes back", s->log_of);
        sv_top_draw_log(s, c, body, rows);
    } else if (s->run->status) {
        draw_numbers(s, c, 1);
        draw_run(s, c, body);
    } else {
        const int events = rows >= 8 ? rows / 2 : 0;

        draw_hint(s, c, 1);

        sv_top_draw_epochs(s, c, body, rows - events);
        if (events)
            sv_top_draw_events(s, c, body + rows - events, events);
    }
}
