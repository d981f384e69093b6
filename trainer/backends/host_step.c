/* See host_step.h. The decision is that of imk_cuda_decide() (kernels/cuda/step.h): the same formulas in
 * double.
 */
#include "trainer/backends/host_step.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

static struct tr_host_step *host_of(struct tr_backend *b)
{
    return (struct tr_host_step *)(void *)b;
}

static int stage(struct tr_backend *b, const struct tr_inputs *in)
{
    struct tr_host_step *s = host_of(b);

    s->in = *in;
    s->hyper = in->hyper ? *in->hyper : (struct imk_hyper){0};
    s->tally = (struct tr_tally){0};
    s->norm = 0;
    s->skips = false;
    return 0;
}

struct tr_exec tr_host_inputs(struct tr_backend *b, const struct tr_exec *e)
{
    struct tr_host_step *s = host_of(b);
    struct tr_exec with = *e;

    if (!e->staged)
        return with;
    with.pixels = s->in.pixels;
    with.labels = s->in.labels;
    with.valid = s->in.valid;
    with.mix = s->in.mix;
    with.smoothing = s->in.smoothing;
    with.divisor = s->in.divisor;
    with.tally = &s->tally;
    return with;
}

static int empty_batch(struct tr_backend *b, float *g, size_t count)
{
    memset(g, 0, count * sizeof *g);
    host_of(b)->tally = (struct tr_tally){0};
    return 0;
}

/* Contributes zeros to the sums of the other ranks. */
static int empty_norm(struct tr_backend *b, const struct tr_bn_sync *sync, int channels, bool forward)
{
    float *zeros = calloc(2 * (size_t)channels, sizeof *zeros);
    double count = 0;
    int err;

    (void)b;
    if (!zeros)
        return -ENOMEM;
    err = forward ? sync->moments(sync->context, channels, &count, zeros, zeros + channels)
                  : sync->sums(sync->context, channels, zeros, zeros + channels);
    free(zeros);
    return err;
}

/* ---- sums over the ranks ---- */

static void set_ranks(struct tr_backend *b, const struct tr_rank_sum *ranks)
{
    host_of(b)->ranks = ranks;
}

static int sum(struct tr_backend *b, float *x, size_t count)
{
    const struct tr_rank_sum *ranks = host_of(b)->ranks;

    return ranks ? ranks->sum(ranks->context, x, count, false, NULL) : 0;
}

static int sum_in_order(struct tr_backend *b, float *x, const float *before, size_t count, uint32_t ranks)
{
    const struct tr_rank_sum *of = host_of(b)->ranks;

    return of->sum_in_order(of->context, x, before, count, ranks);
}

static int take(struct tr_backend *b, float *x, size_t count, int root)
{
    const struct tr_rank_sum *of = host_of(b)->ranks;

    return of->take(of->context, x, count, root);
}

static int sum_tally(struct tr_backend *b)
{
    struct tr_host_step *s = host_of(b);
    double sums[] = {s->tally.loss_sum, s->tally.valid, s->tally.top1, s->tally.top5};
    int err = s->ranks ? s->ranks->sum(s->ranks->context, sums, IM_COUNT(sums), true, NULL) : 0;

    if (err == 0)
        s->tally = (struct tr_tally){.loss_sum = sums[0],
                                     .valid = (uint32_t)sums[1],
                                     .top1 = (uint32_t)sums[2],
                                     .top5 = (uint32_t)sums[3]};
    return err;
}

/* ---- the end of a window ---- */

static double clip(double limit, bool lamb, double norm)
{
    if (lamb)
        return 1 / fmax(1, norm / (limit > 0 ? limit : 1));
    return limit > 0 ? fmin(1, limit / (norm + 1e-6)) : 1;
}

static int decide(struct tr_backend *b, const float *g, size_t count, bool lamb)
{
    struct tr_host_step *s = host_of(b);
    const double factor = s->hyper.unscale / s->hyper.loss_scale;
    double squares = 0;
    int err = s->ops->sum_squares(b, g, count, &squares);

    s->norm = sqrt(squares) * factor;
    s->skips = !isfinite(s->norm) || !isfinite(s->tally.loss_sum);
    s->grad_scale = factor * clip(s->hyper.clip_norm, lamb, s->norm);
    return err;
}

static int update(struct tr_backend *b, const struct tr_update *u, const struct tr_averages *a)
{
    const struct tr_host_step *s = host_of(b);
    struct tr_update with = *u;
    int err;

    if (s->skips)
        return 0;
    with.grad_scale = s->grad_scale;
    with.hyper = &s->hyper;
    err = s->ops->update(b, &with);
    if (err == 0 && a->params)
        err = s->ops->lerp(b, a->params, u->w, s->hyper.ema_weight, a->param_count);
    if (err == 0 && a->stats)
        err = s->ops->lerp(b, a->stats, a->from_stats, s->hyper.ema_weight, a->stat_count);
    return err;
}

static int restore(struct tr_backend *b, float *y, const float *x, size_t count)
{
    const struct tr_host_step *s = host_of(b);

    return s->skips ? s->ops->lerp(b, y, x, 1, count) : 0;
}

static int wait(struct tr_backend *b, struct tr_outcome *ret_outcome)
{
    const struct tr_host_step *s = host_of(b);

    *ret_outcome = (struct tr_outcome){.tally = s->tally, .norm = s->norm, .skipped = s->skips};
    if (s->ranks && s->ranks->parts) {
        ret_outcome->losses = s->ranks->parts;
        ret_outcome->loss_count = s->ranks->part_count;
    }
    return 0;
}

const struct tr_step_ops tr_host_step_ops = {
    .stage = stage,
    .empty_batch = empty_batch,
    .empty_norm = empty_norm,
    .set_ranks = set_ranks,
    .sum = sum,
    .sum_in_order = sum_in_order,
    .take = take,
    .sum_tally = sum_tally,
    .decide = decide,
    .update = update,
    .restore = restore,
    .wait = wait,
};
