/* The live line: what matters most first in the order of losing it, each in its place. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/report/fold.h"
#include "supervisor/report/screen.h"

#define BAR_CELLS 16

/* In the order of the line. */
enum part {
    PART_EPOCH,
    PART_STATE,
    PART_BAR,
    PART_PERCENT,
    PART_STEP,
    PART_PLANS,
    PART_LOSS,
    PART_LR,
    PART_RATE,
    PART_ETA,
    PART_EPOCH_ETA,
    PART_LIMIT,
    PART_SKIPPED,
    PART_GPU,
    PART_SHARES,
    PART_SIZES,
    PARTS
};

/* The first gets its room first. */
static const enum part order[PARTS] = {
    PART_EPOCH,   PART_STATE, PART_PLANS,   PART_LOSS, PART_LR,  PART_RATE,   PART_ETA,   PART_LIMIT,
    PART_PERCENT, PART_STEP,  PART_SKIPPED, PART_BAR,  PART_GPU, PART_SHARES, PART_SIZES, PART_EPOCH_ETA};

#define NEEDED 8 /* up to what limits */

struct line {
    char text[PARTS][160];
    char brief[PARTS][32]; /* where there is no room for the text */
    bool shown[PARTS];
};

static uint64_t steps_of(const struct sv_progress *p)
{
    return p->steps ? p->steps : p->phase->steps;
}

static double fraction_of(const struct sv_progress *p)
{
    const uint64_t steps = steps_of(p);

    return steps ? (double)p->step / (double)steps : 0;
}

static void format_bar(const struct sv_screen *s, double fraction, char *buffer, size_t n)
{
    const int full = (int)(fraction * BAR_CELLS + 0.5);
    size_t at = (size_t)snprintf(buffer, n, " ");

    for (int i = 0; i < BAR_CELLS && at + 4 < n; i++)
        at += (size_t)snprintf(buffer + at, n - at, "%s",
                               s->utf8 ? (i < full ? "━" : "─") : (i < full ? "#" : "."));
}

/* "  gpu 97% 641W 62C mfu 41% power-throttled": what is known of it. */
static void format_gpus(const struct sv_view *v, char *s, size_t n)
{
    const struct im_telemetry *g = &v->gpus;
    size_t used = 0;

    if (g->gpus == 0)
        return;
    used += (size_t)snprintf(s, n, "  gpu");
    if (!isnan(g->busy))
        used += (size_t)snprintf(s + used, n - used, " %.0f%%", 100 * g->busy);
    if (!isnan(g->power_w))
        used += (size_t)snprintf(s + used, n - used, " %.0fW", g->power_w);
    if (!isnan(g->temperature_c))
        used += (size_t)snprintf(s + used, n - used, " %.0fC", g->temperature_c);
    if (v->mfu > 0)
        used += (size_t)snprintf(s + used, n - used, " mfu %.0f%%", 100 * v->mfu);
    for (unsigned i = 0; i < IM_THROTTLES; i++)
        if (g->throttled >> i & 1)
            used += (size_t)snprintf(s + used, n - used, " %s-throttled", im_throttle_word(i));
}

/* "cuDNN: plan 12 of 61": what a trainer is busy with before it trains. */
static void format_plans(const struct sv_view *v, char *s, size_t n)
{
    const double at = v->gauge[IM_G_PLANS], of = v->gauge[IM_G_PLANS_OF];

    if (at > 0 && of < 0)
        snprintf(s, n, "  cuDNN: another process makes the plans");
    else if (at > 0 && of > 0)
        snprintf(s, n, "  cuDNN: plan %.0f of %.0f", at, of);
    else if (at > 0)
        snprintf(s, n, "  cuDNN: plan %.0f", at);
}

bool sv_view_has_step(const struct sv_view *v)
{
    return v->gauge[IM_G_LOSS] != 0 || v->gauge[IM_G_LR] != 0;
}

static bool is_usual(const char *state)
{
    return !state || strcmp(state, "training") == 0 || strcmp(state, "validating") == 0;
}

#define PART(line, part, ...) snprintf((line)->text[part], sizeof(line)->text[part], __VA_ARGS__)

static void fill_place(const struct sv_screen *s, const struct sv_progress *p, struct line *l)
{
    if (p->steps == 0)
        PART(l, PART_EPOCH, "%3u/%u", p->phase->epoch + 1, p->epochs);
    if (!is_usual(p->state))
        PART(l, PART_STATE, "  %s", p->state);
    format_bar(s, fraction_of(p), l->text[PART_BAR], sizeof l->text[PART_BAR]);
    PART(l, PART_PERCENT, " %3.0f%%", 100 * fraction_of(p));
    PART(l, PART_STEP, " %s %llu/%llu", p->phase->split == IM_TRAIN ? "step" : "val",
         (unsigned long long)p->step, (unsigned long long)steps_of(p));
    PART(l, PART_SIZES, "  batch %u%s%u px", p->phase->batch_size, s->utf8 ? " · " : ", ",
         p->phase->image_size);
}

static void fill_numbers(const struct sv_screen *s, const struct sv_progress *p, struct line *l)
{
    const struct sv_view *v = p->view;
    const char *arrow = s->utf8 ? "→" : "->";
    char time[24];

    format_plans(v, l->text[PART_PLANS], sizeof l->text[PART_PLANS]);
    if (sv_view_has_step(v)) {
        PART(l, PART_LOSS, "  loss %.3f", v->gauge[IM_G_LOSS]);
        snprintf(l->brief[PART_LOSS], sizeof l->brief[PART_LOSS], " loss %.3g", v->gauge[IM_G_LOSS]);
        PART(l, PART_LR, "  lr %.4g", v->gauge[IM_G_LR]);
        snprintf(l->brief[PART_LR], sizeof l->brief[PART_LR], " lr %.2g", v->gauge[IM_G_LR]);
    }
    if (v->samples_per_second > 0)
        PART(l, PART_RATE, "  %s img/s", sv_format_rate(v->samples_per_second, time, sizeof time));
    if (p->eta_run >= 0)
        PART(l, PART_ETA, "  eta %s", sv_format_seconds(p->eta_run, time, sizeof time));
    if (p->eta_epoch >= 0)
        PART(l, PART_EPOCH_ETA, " (epoch %s)", sv_format_seconds(p->eta_epoch, time, sizeof time));
    if (v->limit >= 0) {
        PART(l, PART_LIMIT, "  %s limited by %s", arrow, sv_stage_name(v->limit));
        snprintf(l->brief[PART_LIMIT], sizeof l->brief[PART_LIMIT], " %s %s", arrow, sv_stage_name(v->limit));
    }
    if (v->gauge[IM_G_SKIPPED] > 0)
        PART(l, PART_SKIPPED, "  skipped %.0f", v->gauge[IM_G_SKIPPED]);
    format_gpus(v, l->text[PART_GPU], sizeof l->text[PART_GPU]);
    PART(l, PART_SHARES, "  | read %.0f%% aug %.0f%% train %.0f%%", 100 * v->stage[0].busy,
         100 * v->stage[1].busy, 100 * v->stage[2].busy);
}

/* Brief words for the first parts where they do not all fit at length. */
static void choose(struct line *l, int columns)
{
    int room = columns;

    for (size_t i = 0; i < NEEDED; i++)
        room -= sv_text_width(l->text[order[i]]);
    for (size_t i = 0; i < NEEDED && room < 0; i++)
        if (l->brief[order[i]][0])
            memcpy(l->text[order[i]], l->brief[order[i]], sizeof l->brief[order[i]]);
    for (size_t i = 0; i < PARTS; i++) {
        const int width = sv_text_width(l->text[order[i]]);

        l->shown[order[i]] = width > 0 && width <= columns;
        columns -= l->shown[order[i]] ? width : 0;
    }
}

void sv_format_line(const struct sv_screen *s, const struct sv_progress *p, int columns, char *buffer, int n)
{
    struct line l = {.text = {""}};
    size_t used = 0;

    if (p->phase)
        fill_place(s, p, &l);
    else
        PART(&l, PART_STATE, "%s", p->state);
    if (p->phase)
        fill_numbers(s, p, &l);
    else
        format_plans(p->view, l.text[PART_PLANS], sizeof l.text[PART_PLANS]);
    choose(&l, columns);
    buffer[0] = 0;
    for (size_t i = 0; i < PARTS; i++)
        if (l.shown[i] && used + strlen(l.text[i]) < (size_t)n)
            used += (size_t)snprintf(buffer + used, (size_t)n - used, "%s", l.text[i]);
}
