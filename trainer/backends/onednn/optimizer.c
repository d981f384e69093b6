/* The optimisers of backend.h in one pass over each span, vectorised and on OpenMP threads (see loops.c).
 * LARS and LAMB, whose steps depend on the norms of a span, need a second pass.
 *
 * Norms are the same bits for any number of threads: they are summed in blocks of a fixed size, within a
 * block in a fixed number of lanes, and the blocks in order. */
#include <math.h>

#include "kernels/hyper.h"
#include "trainer/backends/onednn/loops.h"

enum {
    BLOCK = 1 << 14, /* floats: 64 KiB of each operand */
    GROUP = 256,     /* blocks whose sums are held at once */
    LANES = 8,
};

/* What the elements need, rounded once. */
struct factors {
    float grad, lr, momentum, decay, ratio;
    float keep;                /* AdamW: what decay leaves of a weight */
    float take1, beta2, take2; /* of the moments */
    float step1, root2, eps;   /* lr or 1 over the first correction; 1 over the root of the second */
};

static size_t block_count(size_t count)
{
    return (count + BLOCK - 1) / BLOCK;
}

static size_t block_end(size_t block, size_t count)
{
    return (block + 1) * BLOCK < count ? (block + 1) * BLOCK : count;
}

static double sum_lanes(const double lanes[LANES])
{
    double sum = 0;

    for (int i = 0; i < LANES; i++)
        sum += lanes[i];
    return sum;
}

static double squares(const float *x, size_t from, size_t to)
{
    double lanes[LANES] = {0};
    size_t i = from;

    for (; i + LANES <= to; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            lanes[k] += (double)x[i + k] * (double)x[i + k];
    for (size_t k = 0; i + k < to; k++)
        lanes[k] += (double)x[i + k] * (double)x[i + k];
    return sum_lanes(lanes);
}

double tr_cpu_sum_squares(const float *x, size_t count)
{
    double sum = 0;

    for (size_t group = 0; group < block_count(count); group += GROUP) {
        size_t blocks = block_count(count) - group < GROUP ? block_count(count) - group : GROUP;
        double parts[GROUP];

#pragma omp parallel for schedule(static) if (blocks > 1)
        for (size_t k = 0; k < blocks; k++)
            parts[k] = squares(x, (group + k) * BLOCK, block_end(group + k, count));
        for (size_t k = 0; k < blocks; k++)
            sum += parts[k];
    }
    return sum;
}

static void lerp_block(float *y, const float *x, float k, size_t from, size_t to)
{
    if (k < 1) {
        for (size_t i = from; i < to; i++)
            y[i] += k * (x[i] - y[i]);
    } else {
        for (size_t i = from; i < to; i++)
            y[i] = x[i];
    }
}

void tr_cpu_lerp(float *y, const float *x, double k, size_t count)
{
#pragma omp parallel for schedule(static) if (count > BLOCK)
    for (size_t block = 0; block < block_count(count); block++)
        lerp_block(y, x, (float)k, block * BLOCK, block_end(block, count));
}

static void momentum_block(const struct tr_update *u, const struct factors *f, size_t from, size_t to)
{
    const bool nesterov = u->hyper->nesterov;
    const float *g = u->g;
    float *w = u->w, *m = u->m;

    for (size_t i = from; i < to; i++) {
        float d = f->ratio * (f->grad * g[i] + f->decay * w[i]);
        float v = f->momentum * m[i] + d;

        m[i] = v;
        w[i] -= f->lr * (nesterov ? d + f->momentum * v : v);
    }
}

static void adamw_block(const struct tr_update *u, const struct factors *f, size_t from, size_t to)
{
    const float *g = u->g;
    float *w = u->w, *m = u->m, *v = u->v;

    for (size_t i = from; i < to; i++) {
        float d = f->grad * g[i];

        m[i] += f->take1 * (d - m[i]);
        v[i] = f->beta2 * v[i] + f->take2 * d * d;
        w[i] = f->keep * w[i] - f->step1 * (m[i] / (sqrtf(v[i]) * f->root2 + f->eps));
    }
}

/* LAMB's direction: the same expression in both passes, for the same bits. */
static inline float lamb_direction(const struct factors *f, float w, float m, float v)
{
    return f->step1 * m / (sqrtf(v) * f->root2 + f->eps) + f->decay * w;
}

/* Renews the moments; returns the sums of the squares of the weights and of the directions. */
static void lamb_measure(const struct tr_update *u, const struct factors *f, size_t from, size_t to,
                         double ret_sums[2])
{
    double w_lanes[LANES] = {0}, u_lanes[LANES] = {0};

    for (size_t i = from; i < to; i += LANES) {
        for (size_t k = 0; k < LANES && i + k < to; k++) {
            size_t j = i + k;
            float g = f->grad * u->g[j], d;

            u->m[j] += f->take1 * (g - u->m[j]);
            u->v[j] = f->beta2 * u->v[j] + f->take2 * g * g;
            d = lamb_direction(f, u->w[j], u->m[j], u->v[j]);
            w_lanes[k] += (double)u->w[j] * (double)u->w[j];
            u_lanes[k] += (double)d * (double)d;
        }
    }
    ret_sums[0] = sum_lanes(w_lanes);
    ret_sums[1] = sum_lanes(u_lanes);
}

static void lamb_apply(const struct tr_update *u, const struct factors *f, size_t from, size_t to)
{
    const float *m = u->m, *v = u->v;
    float *w = u->w;

    for (size_t i = from; i < to; i++)
        w[i] -= f->lr * f->ratio * lamb_direction(f, w[i], m[i], v[i]);
}

static float lamb_ratio(const struct tr_update *u, const struct factors *f, const struct tr_span *span)
{
    double w = 0, d = 0;

    for (size_t group = 0; group < block_count(span->count); group += GROUP) {
        size_t blocks = block_count(span->count) - group;
        double parts[GROUP][2];

        blocks = blocks < GROUP ? blocks : GROUP;
#pragma omp parallel for schedule(static) if (blocks > 1)
        for (size_t k = 0; k < blocks; k++)
            lamb_measure(u, f, span->first + (group + k) * BLOCK,
                         span->first + block_end(group + k, span->count), parts[k]);
        for (size_t k = 0; k < blocks; k++) {
            w += parts[k][0];
            d += parts[k][1];
        }
    }
    return f->decay > 0 && w > 0 && d > 0 ? (float)(sqrt(w) / sqrt(d)) : 1;
}

static float lars_ratio(const struct tr_update *u, const struct tr_span *span)
{
    const struct imk_hyper *h = u->hyper;
    double w, g;

    if (!span->decays || !(h->weight_decay > 0))
        return 1;
    w = sqrt(tr_cpu_sum_squares(u->w + span->first, span->count));
    g = u->grad_scale * sqrt(tr_cpu_sum_squares(u->g + span->first, span->count));
    return w > 0 && g > 0 ? (float)(h->trust * w / (g + h->weight_decay * w + h->eps)) : 1;
}

static struct factors factors_of(const struct tr_update *u, const struct tr_span *span)
{
    const struct imk_hyper *h = u->hyper;
    double t = (double)(h->updates - span->since + 1);
    double correction1 = 1 - pow(h->momentum, t);
    double correction2 = 1 - pow(h->beta2, t);
    double decay = span->decays ? h->weight_decay : 0, lr = h->lr * span->rate;

    return (struct factors){
        .grad = (float)u->grad_scale,
        .lr = (float)lr,
        .momentum = (float)h->momentum,
        .decay = (float)decay,
        .ratio = 1,
        .keep = (float)(1 - lr * decay),
        .take1 = (float)(1 - h->momentum),
        .beta2 = (float)h->beta2,
        .take2 = (float)(1 - h->beta2),
        .step1 = (float)((u->kind == IM_OPTIMIZER_ADAMW ? lr : 1) / correction1),
        .root2 = (float)(1 / sqrt(correction2)),
        .eps = (float)h->eps,
    };
}

void tr_cpu_update(const struct tr_update *u)
{
    static void (*const rows[])(const struct tr_update *, const struct factors *, size_t, size_t) = {
        [IM_OPTIMIZER_SGD] = momentum_block,
        [IM_OPTIMIZER_ADAMW] = adamw_block,
        [IM_OPTIMIZER_LARS] = momentum_block,
        [IM_OPTIMIZER_LAMB] = lamb_apply,
    };

    for (size_t i = 0; i < u->span_count; i++) {
        const struct tr_span *span = &u->spans[i];
        struct factors f = factors_of(u, span);

        if (u->kind == IM_OPTIMIZER_LARS)
            f.ratio = lars_ratio(u, span);
        if (u->kind == IM_OPTIMIZER_LAMB)
            f.ratio = lamb_ratio(u, &f, span);
#pragma omp parallel for schedule(static) if (span->count > BLOCK)
        for (size_t k = 0; k < block_count(span->count); k++)
            rows[u->kind](u, &f, span->first + k * BLOCK, span->first + block_end(k, span->count));
    }
}
