/* Batch norm with an addition and a ReLU in the same pass, by the loops of vector_loops.h.
 *
 * Channels form groups, what a vector's lanes hold: 8 channels where the layout has them beside each other, one in
 * plain NCHW. Sums are double: a lane's over an image, images' in their order within a slice, slices' in theirs.
 * Slices depend on the batch only, so that any number of threads gives the same bits. Where there are groups enough
 * each thread takes some through statistics and result at once, while they are in its cache; otherwise threads divide
 * slices too, and wait for each other in between.
 *
 * The saved state: mean and 1 / sqrt(var + eps) of each channel in double, the number of values (that of all ranks if
 * synced), and where an addition stands before the ReLU the bits of its mask, which without one follow from x. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "trainer/backends/onednn/loops.h"
#include "trainer/backends/onednn/vector_loops.h"

enum { SLICES_MAX = 64, BALANCED = 8 }; /* units for each thread that divide well enough */

/* How the op's values lie, and how they are divided. */
struct form {
    const struct tr_vector_loops *loops;
    size_t n, channels, area;
    size_t inner;           /* channels that lie beside each other, as plan.h has it */
    size_t groups, each;    /* channels of a group */
    size_t unit, units;     /* groups that share cache lines, and how many such there are */
    size_t slices, vectors; /* vectors of a strip */
    bool narrow, by_units;
};

static struct form form_of(const struct tr_backend *b, const struct tr_op_plan *p)
{
    const struct tr_op *op = &p->op;
    struct form f = {.loops = tr_vector_loops(),
                     .n = (size_t)op->x.n,
                     .channels = (size_t)op->x.c,
                     .area = (size_t)op->x.h * (size_t)op->x.w,
                     .inner = p->inner,
                     .narrow = op->precision == IMK_BF16};
    const size_t threads = (size_t)b->threads;

    f.each = f.inner == 1 ? 1 : TR_LANES;
    f.groups = (f.channels + f.each - 1) / f.each;
    f.unit = f.inner > TR_LANES ? 2 : 1;
    f.units = (f.groups + f.unit - 1) / f.unit;
    f.vectors = f.inner == 1 ? (f.area + TR_LANES - 1) / TR_LANES : f.area;
    f.slices = f.n < SLICES_MAX ? f.n : SLICES_MAX;
    f.by_units = !op->synced && (f.units % threads == 0 || f.units >= BALANCED * threads);
    return f;
}

struct tr_strip tr_strip_at(size_t channels, size_t area, size_t inner, size_t image, size_t group)
{
    const size_t first = group * (inner == 1 ? 1 : TR_LANES), block = first / inner,
                 blocks = (channels + inner - 1) / inner;
    struct tr_strip s = {.at = (image * blocks + block) * area * inner + first % inner,
                         .step = inner == 1 ? TR_LANES : inner,
                         .whole = inner == 1 ? area / TR_LANES : area};

    if (inner == 1) {
        s.lanes = area % TR_LANES;
        s.ragged = s.lanes > 0;
    } else if (inner == channels && channels - first < TR_LANES) {
        s.lanes = channels - first; /* channels last: the next pixel begins there */
        s.ragged = s.whole;
        s.whole = 0;
    }
    return s;
}

static struct tr_strip strip_of(const struct form *f, size_t image, size_t group)
{
    struct tr_strip s = tr_strip_at(f->channels, f->area, f->inner, image, group);

    s.bits = (image * f->groups + group) * f->vectors;
    s.narrow = f->narrow;
    return s;
}

static size_t slice_begins(const struct form *f, size_t slice)
{
    return f->n * slice / f->slices;
}

/* ---- memory ---- */

static size_t bits_at(const struct tr_op_plan *p)
{
    return tr_lines((2 * (size_t)p->op.x.c + 1) * sizeof(double));
}

/* In the stage: the lanes of every group; the sums of every slice and group; what ranks exchange. */
static size_t sums_at(const struct form *f)
{
    return tr_lines(f->groups * sizeof(struct tr_norm_lanes));
}

static size_t exchange_at(const struct form *f)
{
    return sums_at(f) + tr_lines(f->slices * f->groups * sizeof(struct tr_norm_sums));
}

int tr_bn_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    enum tr_tag tag;
    int err = tr_value_form(b, p->op.x, info->x_layout, p->op.precision, &tag, &p->inner);
    struct form f;

    if (err < 0)
        return err;
    f = form_of(b, p);
    info->y_may_be_x = !p->op.training;
    info->dx_may_be_dy = true;
    info->keeps_x = p->op.training;
    if (p->op.training)
        info->save_bytes = bits_at(p) + (p->op.adds && p->op.relu ? f.n * f.groups * f.vectors : 0);
    return tr_stage_reserve(b, exchange_at(&f) + 2 * f.channels * sizeof(float));
}

/* ---- one execution ---- */

struct pass {
    struct form f;
    const struct tr_op *op;
    const struct tr_exec *e;
    double count;                /* values of a channel; of all ranks if synced */
    double *mean, *inv;          /* saved, [channels]; NULL: by the running statistics */
    struct tr_norm_lanes *lanes; /* [groups] */
    struct tr_norm_sums *sums;   /* [slices][groups] */
    float *exchange[2];          /* [channels] */
    struct tr_norm_forward forward;
    struct tr_norm_backward sum, dx;
};

static struct pass pass_of(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct form f = form_of(b, p);
    const bool training = p->op.training, bits = training && p->op.adds && p->op.relu;
    double *save = training ? e->save : NULL;
    float *exchange = (float *)(void *)(b->stage + exchange_at(&f));

    return (struct pass){.f = f,
                         .op = &p->op,
                         .e = e,
                         .count = (double)f.n * (double)f.area,
                         .mean = save,
                         .inv = training ? save + f.channels : NULL,
                         .lanes = (struct tr_norm_lanes *)(void *)b->stage,
                         .sums = (struct tr_norm_sums *)(void *)(b->stage + sums_at(&f)),
                         .exchange = {exchange, exchange + f.channels},
                         .forward = {.x = e->x,
                                     .x2 = p->op.adds ? e->x2 : NULL,
                                     .y = e->y,
                                     .bits = bits ? (uint8_t *)e->save + bits_at(p) : NULL,
                                     .relu = p->op.relu}};
}

/* The mean and 1 / sqrt(var + eps) of a channel. */
static void numbers_of(const struct pass *t, size_t channel, double *ret_mean, double *ret_inv)
{
    *ret_mean = t->mean ? t->mean[channel] : (double)t->e->run_mean[channel];
    *ret_inv = t->inv ? t->inv[channel] : 1 / sqrt((double)t->e->run_var[channel] + (double)TR_BN_EPS);
}

/* Channel of a group's lane; t->f.channels or more: none. */
static size_t channel_of(const struct form *f, size_t group, size_t lane)
{
    return f->each == 1 ? group : group * f->each + lane;
}

static void set_lanes(const struct pass *t, size_t group)
{
    struct tr_norm_lanes *p = &t->lanes[group];

    *p = (struct tr_norm_lanes){.mean = {0}};
    for (size_t lane = 0; lane < TR_LANES; lane++) {
        const size_t channel = channel_of(&t->f, group, lane);
        double mean, inv, factor;

        if (channel >= t->f.channels)
            continue;
        numbers_of(t, channel, &mean, &inv);
        factor = (double)t->e->w[channel] * inv;
        p->mean[lane] = (float)mean;
        p->factor[lane] = (float)factor;
        p->shift[lane] = (float)((double)t->e->b[channel] + ((double)p->mean[lane] - mean) * factor);
    }
}

/* dgamma and dbeta of all ranks. */
static void set_gradient_lane(const struct pass *t, size_t group, size_t lane, double dgamma, double dbeta)
{
    struct tr_norm_lanes *p = &t->lanes[group];
    const size_t channel = channel_of(&t->f, group, lane);
    const double a = (double)t->e->w[channel] * t->inv[channel];
    const double b = -a * t->inv[channel] * dgamma / t->count;

    p->a[lane] = (float)a;
    p->b[lane] = (float)b;
    p->c[lane] = (float)(b * ((double)p->mean[lane] - t->mean[channel]) - a * dbeta / t->count);
}

/* ---- parts: a slice of a unit's channels ---- */

typedef void part(const struct pass *t, size_t image, size_t group, struct tr_norm_sums *sums);

static void moments_part(const struct pass *t, size_t image, size_t group, struct tr_norm_sums *sums)
{
    const struct tr_strip s = strip_of(&t->f, image, group);

    t->f.loops->moments(&s, t->e->x, sums);
}

static void apply_part(const struct pass *t, size_t image, size_t group, struct tr_norm_sums *sums)
{
    const struct tr_strip s = strip_of(&t->f, image, group);

    (void)sums;
    t->f.loops->apply(&s, &t->lanes[group], &t->forward);
}

static void sums_part(const struct pass *t, size_t image, size_t group, struct tr_norm_sums *sums)
{
    const struct tr_strip s = strip_of(&t->f, image, group);

    t->f.loops->sums(&s, &t->lanes[group], &t->sum, sums);
}

static void dx_part(const struct pass *t, size_t image, size_t group, struct tr_norm_sums *sums)
{
    const struct tr_strip s = strip_of(&t->f, image, group);

    (void)sums;
    t->f.loops->dx(&s, &t->lanes[group], &t->dx);
}

static size_t last_group(const struct form *f, size_t unit)
{
    return (unit + 1) * f->unit < f->groups ? (unit + 1) * f->unit : f->groups;
}

static void run_slice(const struct pass *t, part *run, size_t unit, size_t slice)
{
    const struct form *f = &t->f;
    struct tr_norm_sums *sums = t->sums + slice * f->groups;

    for (size_t group = unit * f->unit; group < last_group(f, unit); group++)
        sums[group] = (struct tr_norm_sums){{0}, {0}};
    for (size_t image = slice_begins(f, slice); image < slice_begins(f, slice + 1); image++)
        for (size_t group = unit * f->unit; group < last_group(f, unit); group++)
            run(t, image, group, &sums[group]);
}

static void run_slices(const struct pass *t, part *run)
{
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < t->f.units * t->f.slices; i++)
        run_slice(t, run, i / t->f.slices, i % t->f.slices);
}

/* ---- what follows from sums ---- */

typedef void finish(const struct pass *t, size_t group);

/* The sums of a channel: of all lanes if it has them all. */
static void sums_of(const struct pass *t, size_t group, size_t lane, double *ret_first, double *ret_second)
{
    const bool all = t->f.each == 1;
    double first = 0, second = 0;

    for (size_t slice = 0; slice < t->f.slices; slice++) {
        const struct tr_norm_sums *s = &t->sums[slice * t->f.groups + group];

        for (size_t i = all ? 0 : lane; i < (all ? (size_t)TR_LANES : lane + 1); i++) {
            first += s->first[i];
            second += s->second[i];
        }
    }
    *ret_first = first;
    *ret_second = second;
}

static double advanced(float running, double fresh)
{
    return (1 - (double)TR_BN_MOMENTUM) * (double)running + (double)TR_BN_MOMENTUM * fresh;
}

/* Of all ranks. */
static void keep_moments(const struct pass *t, size_t channel, double mean, double var)
{
    const double m = t->count;

    t->mean[channel] = mean;
    t->inv[channel] = 1 / sqrt(var + (double)TR_BN_EPS);
    t->e->run_mean[channel] = (float)advanced(t->e->run_mean[channel], mean);
    t->e->run_var[channel] = (float)advanced(t->e->run_var[channel], m > 1 ? var * m / (m - 1) : var);
}

static void finish_moments(const struct pass *t, size_t group)
{
    for (size_t lane = 0; lane < t->f.each; lane++) {
        const size_t channel = channel_of(&t->f, group, lane);
        double mean, var;

        if (channel >= t->f.channels)
            break;
        sums_of(t, group, lane, &mean, &var);
        mean /= t->count;
        var = var / t->count - mean * mean;
        var = var < 0 ? 0 : var; /* NaN stays */
        if (t->op->synced) {
            t->exchange[0][channel] = (float)mean;
            t->exchange[1][channel] = (float)var;
        } else {
            keep_moments(t, channel, mean, var);
        }
    }
    if (!t->op->synced)
        set_lanes(t, group);
}

static void finish_sums(const struct pass *t, size_t group)
{
    for (size_t lane = 0; lane < t->f.each; lane++) {
        const size_t channel = channel_of(&t->f, group, lane);
        double dbeta, dgamma;

        if (channel >= t->f.channels)
            break;
        sums_of(t, group, lane, &dbeta, &dgamma);
        dgamma += dbeta * ((double)t->lanes[group].mean[lane] - t->mean[channel]);
        dgamma *= t->inv[channel];
        t->e->dw[channel] = (float)dgamma;
        t->e->db[channel] = (float)dbeta;
        for (size_t i = lane; i < (t->f.each == 1 ? (size_t)TR_LANES : lane + 1); i++)
            set_gradient_lane(t, group, i, dgamma, dbeta);
    }
}

/* ---- both directions ---- */

/* Sums over all values, then what follows from them, then all values again, from the last read to the first. */
static void run_units(const struct pass *t, part *sum, finish *then, part *result)
{
    const struct form *f = &t->f;

#pragma omp parallel for schedule(static)
    for (size_t unit = 0; unit < f->units; unit++) {
        for (size_t slice = 0; slice < f->slices; slice++)
            run_slice(t, sum, unit, slice);
        for (size_t group = unit * f->unit; group < last_group(f, unit); group++)
            then(t, group);
        for (size_t slice = f->slices; slice-- > 0;)
            run_slice(t, result, unit, slice);
    }
}

static void finish_all(const struct pass *t, finish *then)
{
    for (size_t group = 0; group < t->f.groups; group++)
        then(t, group);
}

static int exchange_moments(struct pass *t)
{
    const struct tr_bn_sync *sync = t->e->sync;
    int err = sync->moments(sync->context, (int)t->f.channels, &t->count, t->exchange[0], t->exchange[1]);

    t->mean[2 * t->f.channels] = t->count;
    for (size_t channel = 0; channel < t->f.channels && err == 0; channel++)
        keep_moments(t, channel, (double)t->exchange[0][channel], (double)t->exchange[1][channel]);
    return err;
}

int tr_bn_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct pass t = pass_of(b, p, e);
    int err = 0;

    if (p->op.training && t.f.by_units) {
        run_units(&t, moments_part, finish_moments, apply_part);
        return 0;
    }
    if (p->op.training) {
        run_slices(&t, moments_part);
        finish_all(&t, finish_moments);
    }
    if (p->op.synced)
        err = exchange_moments(&t);
    if (err < 0)
        return err;
    finish_all(&t, set_lanes);
    run_slices(&t, apply_part);
    return 0;
}

static int exchange_sums(struct pass *t)
{
    const struct tr_bn_sync *sync = t->e->sync;
    int err;

    memcpy(t->exchange[0], t->e->dw, t->f.channels * sizeof(float));
    memcpy(t->exchange[1], t->e->db, t->f.channels * sizeof(float));
    err = sync->sums(sync->context, (int)t->f.channels, t->exchange[0], t->exchange[1]);
    for (size_t group = 0; group < t->f.groups && err == 0; group++)
        for (size_t lane = 0; lane < TR_LANES; lane++) {
            const size_t channel = channel_of(&t->f, group, lane);

            if (channel < t->f.channels)
                set_gradient_lane(t, group, lane, (double)t->exchange[0][channel],
                                  (double)t->exchange[1][channel]);
        }
    return err;
}

int tr_bn_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct pass t = pass_of(b, p, e);
    int err = 0;

    t.sum = t.dx = (struct tr_norm_backward){
        .x = e->x, .dy = {e->dy[0], e->dy[1]}, .bits = t.forward.bits, .relu = p->op.relu, .dx = e->dx};
    /* Where g is stored as it is, the second pass reads it instead of what it was made of. */
    t.sum.g = p->op.adds ? e->dx2 : e->dy[1] && !t.f.narrow ? e->dy[0] : NULL;
    if (t.sum.g && !t.f.narrow)
        t.dx = (struct tr_norm_backward){.x = e->x, .dy = {t.sum.g, NULL}, .dx = e->dx};
    finish_all(&t, set_lanes);
    if (t.f.by_units) {
        run_units(&t, sums_part, finish_sums, dx_part);
        return 0;
    }
    run_slices(&t, sums_part);
    if (p->op.synced)
        t.count = t.mean[2 * t.f.channels];
    finish_all(&t, finish_sums);
    if (p->op.synced)
        err = exchange_sums(&t);
    if (err == 0)
        run_slices(&t, dx_part);
    return err;
}
