/* Reference optimisers, and the sums over whole arenas: backend.h has the formulas. Elements are computed in
 * double and rounded once when they are stored. */
#include <math.h>

#include "kernels/hyper.h"
#include "trainer/backends/ref/ops.h"

double tr_ref_sum_squares(const float *x, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * (double)x[i];
    return sum;
}

void tr_ref_lerp(float *y, const float *x, double k, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] = k < 1 ? (float)((double)y[i] + k * ((double)x[i] - (double)y[i])) : x[i];
}

void tr_ref_add(float *y, const float *x, size_t count)
{
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}

/* SGD, and LARS with its ratio. */
static void momentum_span(const struct tr_update *u, const struct tr_span *span, double ratio, double decay)
{
    const struct imk_hyper *h = u->hyper;
    for (size_t i = span->first; i < span->first + span->count; i++) {
        double g = ratio * (u->grad_scale * (double)u->g[i] + decay * (double)u->w[i]);
        double m = h->momentum * (double)u->m[i] + g;

        u->m[i] = (float)m;
        u->w[i] = (float)((double)u->w[i] - h->lr * (h->nesterov ? g + h->momentum * m : m));
    }
}

static double lars_ratio(const struct tr_update *u, const struct tr_span *span, double decay)
{
    const struct imk_hyper *h = u->hyper;
    double w = sqrt(tr_ref_sum_squares(u->w + span->first, span->count));
    double g = u->grad_scale * sqrt(tr_ref_sum_squares(u->g + span->first, span->count));

    return decay > 0 && w > 0 && g > 0 ? h->trust * w / (g + decay * w + h->eps) : 1;
}

static void moments(const struct tr_update *u, size_t i)
{
    const struct imk_hyper *h = u->hyper;
    double g = u->grad_scale * (double)u->g[i];

    u->m[i] = (float)((double)u->m[i] + (1 - h->momentum) * (g - (double)u->m[i]));
    u->v[i] = (float)(h->beta2 * (double)u->v[i] + (1 - h->beta2) * g * g);
}

/* m-hat / (sqrt(v-hat) + eps) */
static double direction(const struct tr_update *u, size_t i)
{
    const struct imk_hyper *h = u->hyper;
    double correction1 = 1 - pow(h->momentum, (double)(h->updates + 1));
    double correction2 = 1 - pow(h->beta2, (double)(h->updates + 1));

    return (double)u->m[i] / correction1 / (sqrt((double)u->v[i]) / sqrt(correction2) + h->eps);
}

static void adamw_span(const struct tr_update *u, const struct tr_span *span, double decay)
{
    const struct imk_hyper *h = u->hyper;
    for (size_t i = span->first; i < span->first + span->count; i++) {
        moments(u, i);
        u->w[i] = (float)((double)u->w[i] * (1 - h->lr * decay) - h->lr * direction(u, i));
    }
}

static void lamb_span(const struct tr_update *u, const struct tr_span *span, double decay)
{
    const struct imk_hyper *h = u->hyper;
    double w = 0, all = 0, ratio;

    for (size_t i = span->first; i < span->first + span->count; i++) {
        double d;

        moments(u, i);
        d = direction(u, i) + decay * (double)u->w[i];
        w += (double)u->w[i] * (double)u->w[i];
        all += d * d;
    }
    ratio = decay > 0 && w > 0 && all > 0 ? sqrt(w) / sqrt(all) : 1;
    for (size_t i = span->first; i < span->first + span->count; i++)
        u->w[i] = (float)((double)u->w[i] - h->lr * ratio * (direction(u, i) + decay * (double)u->w[i]));
}

void tr_ref_update(const struct tr_update *u)
{
    const struct imk_hyper *h = u->hyper;
    for (size_t i = 0; i < u->span_count; i++) {
        const struct tr_span *span = &u->spans[i];
        double decay = span->decays ? h->weight_decay : 0;

        switch (u->kind) {
        case TR_OPTIMIZER_SGD:
            momentum_span(u, span, 1, decay);
            break;
        case TR_OPTIMIZER_LARS:
            momentum_span(u, span, lars_ratio(u, span, decay), decay);
            break;
        case TR_OPTIMIZER_ADAMW:
            adamw_span(u, span, decay);
            break;
        case TR_OPTIMIZER_LAMB:
            lamb_span(u, span, decay);
            break;
        }
    }
}
