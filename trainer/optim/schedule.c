/* Schedules: see schedule.h for the formulas. All arithmetic is in double; the optimiser rounds once.
 *
 * Steps past the end have the values at the end: a run continued with fewer epochs needs them. */
#include "trainer/optim/schedule.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "ipc/config/lr_range.h"

/* One segment of a schedule: from `from` at its start to `to` at its end, both positions in steps. */
struct part {
    double start, end;
    double from, to;
};

static bool is_by_epoch(enum im_conf_schedule kind)
{
    return kind == IM_SCHEDULE_STEP || kind == IM_SCHEDULE_MULTISTEP || kind == IM_SCHEDULE_EXPONENTIAL ||
           kind == IM_SCHEDULE_TRIANGULAR;
}

/* Steps in the first `epochs` epochs; a fraction of an epoch counts proportionally. */
static double steps_of(const struct tr_schedule *s, double epochs)
{
    double whole = floor(epochs);
    uint32_t e = whole < s->epochs ? (uint32_t)whole : s->epochs;
    double rest = e < s->epochs ? (epochs - whole) * (double)(s->first[e + 1] - s->first[e]) : 0;

    return (double)s->first[e] + rest;
}

static double scale_of(const struct im_conf *conf, uint32_t images)
{
    double times = images / 256.0;

    switch ((enum im_conf_lr_scale)conf->lr_scale) {
    case IM_LR_SCALE_LINEAR:
        return times;
    case IM_LR_SCALE_SQRT:
        return sqrt(times);
    default:
        return 1;
    }
}

/* The steps of the cycle that an epoch belongs to, without the warm-up. */
struct span {
    double first, end;
};

static struct span course_of(const struct tr_schedule *s, uint32_t epoch)
{
    const uint32_t *course = s->course[epoch < s->epochs ? epoch : s->epochs - 1];
    const double first = (double)s->first[course[0]];

    return (struct span){first > s->warmup_steps ? first : s->warmup_steps, (double)s->first[course[1]]};
}

/* One cycle, or one for each entry of resize-schedule. */
static void divide(struct tr_schedule *s)
{
    struct im_conf_resize r = {.count = 0};

    if (s->conf->schedule_restarts && im_conf_resize(s->conf, &r, NULL) < 0)
        r.count = 0;
    for (uint32_t e = 0; e < s->epochs; e++) {
        s->course[e][0] = 0;
        s->course[e][1] = s->epochs;
        for (int i = 0; i < r.count; i++) {
            if (r.entry[i].first > e + 1 || e + 1 > r.entry[i].last)
                continue;
            s->course[e][0] = r.entry[i].first - 1;
            s->course[e][1] = r.entry[i].last < s->epochs ? r.entry[i].last : s->epochs;
        }
    }
}

/* OneCycleLR divides by the length of the rise, so it needs more than one step. */
static int check_onecycle(const struct tr_schedule *s, uint32_t epoch, struct im_text *text)
{
    const struct span span = course_of(s, epoch);
    double steps = span.end - span.first, pct = s->conf->pct_start;

    if (pct * steps > 1 && steps > 2)
        return 0;
    if (s->course[epoch][0] > 0 || s->course[epoch][1] < s->epochs)
        return im_fail(
            text, -EINVAL,
            "onecycle: pct-start %g of the %g steps of epochs %u to %u is less than two steps of rise; raise "
            "--pct-start or the number of epochs (--schedule-restarts gives each size its own schedule)",
            pct, steps, s->course[epoch][0] + 1, s->course[epoch][1]);
    return im_fail(text, -EINVAL,
                   "onecycle: pct-start %g of the %g steps after warm-up is less than two steps of rise; "
                   "raise --pct-start or --epochs",
                   pct, steps);
}

static uint64_t divide_up(uint64_t n, uint64_t by)
{
    return (n + by - 1) / by;
}

/* Steps of an epoch at the pace that the run began with. */
static uint64_t steps_at_first(const struct tr_schedule *s, uint32_t epoch, uint64_t steps)
{
    const uint64_t each = (uint64_t)s->pace.order_ranks * s->pace.accumulate;

    return each ? divide_up(s->batches[epoch], each) : steps;
}

/* The step at which a run at its first pace would be in the same place. */
static uint64_t place_of(const struct tr_schedule *s, uint64_t step)
{
    const struct tr_schedule_pace *p = &s->pace;
    const uint64_t each = (uint64_t)p->order_ranks * p->accumulate;
    uint64_t at = p->step, order = p->order, left = step - p->taken, windows;
    uint32_t e = p->epoch;

    if (each == 0)
        return step;
    if (step < p->taken) { /* the last one that was taken, for a report */
        const uint64_t place = s->first[e] + order / each, back = p->taken - step;

        return place > back ? place - back : 0;
    }
    while (e < s->epochs &&
           left >= (windows = divide_up(divide_up(s->batches[e], p->ranks) - at, p->accumulate))) {
        left -= windows;
        at = order = 0;
        e++;
    }
    if (e >= s->epochs)
        return s->first[s->epochs] + left;
    return s->first[e] + (left ? (at + left * p->accumulate) * p->ranks : order) / each;
}

int tr_schedule_init(struct tr_schedule *s, const struct im_conf *conf, const struct tr_schedule_epoch *epoch,
                     uint32_t epochs, struct im_text *text)
{
    return tr_schedule_init_paced(s, conf, epoch, epochs, &(struct tr_schedule_pace){0}, text);
}

int tr_schedule_init_paced(struct tr_schedule *s, const struct im_conf *conf,
                           const struct tr_schedule_epoch *epoch, uint32_t epochs,
                           const struct tr_schedule_pace *pace, struct im_text *text)
{
    struct tr_schedule made = {.conf = conf,
                               .epochs = epochs,
                               .momentum = im_optimizer_is_adaptive(im_conf_rest_opt(conf)) ? conf->beta1
                                                                                            : conf->momentum,
                               .first = calloc((size_t)epochs + 1, sizeof *made.first),
                               .scale = calloc((size_t)epochs + 1, sizeof *made.scale),
                               .course = calloc((size_t)epochs + 1, sizeof *made.course),
                               .batches = calloc((size_t)epochs + 1, sizeof *made.batches)};
    int err = made.first && made.scale && made.course && made.batches ? 0 : -ENOMEM;

    made.pace = *pace;

    for (uint32_t e = 0; e < epochs && err == 0; e++) {
        if (epoch[e].steps == 0)
            err = im_fail(text, -EINVAL, "epoch %u has no steps", e + 1);
        made.batches[e] = pace->batches ? pace->batches[e] : 0;
        made.first[e + 1] = made.first[e] + steps_at_first(&made, e, epoch[e].steps);
        made.scale[e] = scale_of(conf, epoch[e].images);
    }
    if (err == 0) {
        divide(&made);
        made.warmup_steps = steps_of(&made, conf->warmup_epochs);
        made.milestones = im_conf_milestones(conf->milestones, made.milestone);
        if (conf->schedule == IM_SCHEDULE_MULTISTEP && made.milestones < 0)
            err = im_fail(text, -EINVAL, "milestones: \"%s\" is not a list of epochs", conf->milestones);
    }
    for (uint32_t e = 0; e < epochs && err == 0 && conf->schedule == IM_SCHEDULE_ONECYCLE; e++)
        err = check_onecycle(&made, e, text);
    if (err < 0)
        tr_schedule_fini(&made);
    else
        *s = made;
    return err;
}

void tr_schedule_fini(struct tr_schedule *s)
{
    free(s->first);
    free(s->scale);
    free(s->course);
    free(s->batches);
    *s = (struct tr_schedule){0};
}

/* The epoch that a step belongs to; `epochs` past the end. */
static uint32_t epoch_of(const struct tr_schedule *s, uint64_t step)
{
    uint32_t low = 0, high = s->epochs;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (s->first[middle + 1] <= step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static double anneal(const struct im_conf *conf, const struct part *p, double t)
{
    double x = (t - p->start) / (p->end - p->start);

    if (conf->anneal == IM_ANNEAL_LINEAR)
        return p->from + (p->to - p->from) * x;
    return p->to + (p->from - p->to) / 2 * (1 + cos(M_PI * x));
}

/* OneCycleLR between the values low, high and end, at step t of n; with three phases it returns to `low` in
 * between. */
static double onecycle(const struct im_conf *conf, double low, double high, double end, double t, double n)
{
    double rise = conf->pct_start * n - 1, back = 2 * conf->pct_start * n - 2, last = n - 1;
    struct part up = {0, rise, low, high};
    struct part down = {rise, conf->three_phase ? back : last, high, conf->three_phase ? low : end};
    struct part out = {back, last, low, end};

    if (t > last)
        t = last;
    if (t <= up.end)
        return anneal(conf, &up, t);
    return t <= down.end || !conf->three_phase ? anneal(conf, &down, t) : anneal(conf, &out, t);
}

/* The schedules that run once from the end of the warm-up: step t of n. */
static double course(const struct im_conf *conf, double t, double n)
{
    double x = t < n ? t / n : 1, low = conf->lr / conf->div_factor;

    switch ((enum im_conf_schedule)conf->schedule) {
    case IM_SCHEDULE_COSINE:
        return conf->lr_min + (conf->lr - conf->lr_min) * 0.5 * (1 + cos(M_PI * x));
    case IM_SCHEDULE_POLYNOMIAL:
        return conf->lr_min + (conf->lr - conf->lr_min) * pow(1 - x, conf->poly_power);
    case IM_SCHEDULE_ONECYCLE:
        return onecycle(conf, low, conf->lr, low / conf->final_div_factor, t, n);
    default:
        return conf->lr;
    }
}

/* FFCV's triangular schedule, at a whole epoch. */
static double triangle(const struct tr_schedule *s, double epoch)
{
    const double lr = s->conf->lr, peak = s->conf->lr_peak_epoch, end = s->epochs;

    if (epoch <= peak)
        return peak > 0 ? 1e-4 * lr + (lr - 1e-4 * lr) * (epoch / peak) : lr;
    return epoch >= end ? 0 : lr - lr * ((epoch - peak) / (end - peak));
}

/* The schedules that depend on the epoch. */
static double by_epoch(const struct tr_schedule *s, uint32_t epoch, uint64_t step)
{
    const struct im_conf *conf = s->conf;
    double share, here;
    int passed = 0;

    switch ((enum im_conf_schedule)conf->schedule) {
    case IM_SCHEDULE_STEP:
        passed = (int)(epoch / conf->step_epochs);
        return conf->lr * pow(conf->gamma, passed);
    case IM_SCHEDULE_MULTISTEP:
        while (passed < s->milestones && s->milestone[passed] <= epoch)
            passed++;
        return conf->lr * pow(conf->gamma, passed);
    case IM_SCHEDULE_EXPONENTIAL:
        return conf->lr * pow(conf->gamma, epoch);
    default:
        if (epoch >= s->epochs)
            return 0;
        share = (double)(step - s->first[epoch]) / (double)(s->first[epoch + 1] - s->first[epoch]);
        here = triangle(s, epoch);
        return here + (triangle(s, epoch + 1.0) - here) * share;
    }
}

double tr_schedule_lr(const struct tr_schedule *s, uint64_t taken)
{
    const struct im_conf *conf = s->conf;
    const uint64_t step = place_of(s, taken);
    uint32_t epoch = epoch_of(s, step);
    const struct span span = course_of(s, epoch);
    double t = (double)step - span.first, n = span.end - span.first;
    double scale = s->scale[epoch < s->epochs ? epoch : s->epochs - 1];
    double warm = (double)step < s->warmup_steps
                      ? conf->warmup_factor + (1 - conf->warmup_factor) * (double)step / s->warmup_steps
                      : 1;

    if (conf->lr_range_test)
        return im_lr_range_lr(conf->start_lr, conf->end_lr, step, (uint64_t)conf->num_iter);
    if (is_by_epoch((enum im_conf_schedule)conf->schedule))
        return scale * warm * by_epoch(s, epoch, step);
    if ((double)step < s->warmup_steps) /* the warm-up may take the whole run */
        return scale * warm * course(conf, 0, n > 0 ? n : 1);
    return scale * course(conf, t, n);
}

double tr_schedule_momentum(const struct tr_schedule *s, uint64_t taken)
{
    const struct im_conf *conf = s->conf;
    const uint64_t step = place_of(s, taken);
    const struct span span = course_of(s, epoch_of(s, step));
    double t = (double)step - span.first;

    if (conf->schedule != IM_SCHEDULE_ONECYCLE || !conf->cycle_momentum)
        return s->momentum;
    return onecycle(conf, conf->max_momentum, conf->base_momentum, conf->max_momentum, t < 0 ? 0 : t,
                    span.end - span.first);
}

double tr_ema_decay(double decay, enum im_conf_ema_warmup warmup, uint64_t update)
{
    double t = (double)update;

    switch (warmup) {
    case IM_EMA_WARMUP_NONE:
        break;
    case IM_EMA_WARMUP_TF:
        return fmin(decay, (1 + t) / (10 + t));
    case IM_EMA_WARMUP_TIMM:
        return fmin(decay, 1 - pow(t, -2.0 / 3));
    }
    return decay;
}

double tr_schedule_ema_weight(const struct tr_schedule *s, uint64_t updates)
{
    const struct im_conf *conf = s->conf;

    return conf->ema > 0 ? 1 - tr_ema_decay(conf->ema, (enum im_conf_ema_warmup)conf->ema_warmup, updates + 1)
                         : 1;
}
