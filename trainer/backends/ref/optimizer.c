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
    const double lr = h->lr * span->rate;

    for (size_t i = span->first; i < span->first + span->count; i++) {
        double g = ratio * (u->grad_scale * (double)u->g[i] + decay * (double)u->w[i]);
        double m = h->momentum * (double)u->m[i] + g;

        u->m[i] = (float)m;
        u->w[i] = (float)((double)u->w[i] - lr * (h->nesterov ? g + h->momentum * m : m));
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
static double direction(const struct tr_update *u, const struct tr_span *span, size_t i)
{
    const struct imk_hyper *h = u->hyper;
    const double t = (double)(h->updates - span->since + 1);
    double correction1 = 1 - pow(h->momentum, t);
    double correction2 = 1 - pow(h->beta2, t);

    return (double)u->m[i] / correction1 / (sqrt((double)u->v[i]) / sqrt(correction2) + h->eps);
}

static void adamw_span(const struct tr_update *u, const struct tr_span *span, double decay)
{
    const double lr = u->hyper->lr * span->rate;

    for (size_t i = span->first; i < span->first + span->count; i++) {
        moments(u, i);
        u->w[i] = (float)((double)u->w[i] * (1 - lr * decay) - lr * direction(u, span, i));
    }
}

static void lamb_span(const struct tr_update *u, const struct tr_span *span, double decay)
{
    const double lr = u->hyper->lr * span->rate;
    double w = 0, all = 0, ratio;

    for (size_t i = span->first; i < span->first + span->count; i++) {
        double d;

        moments(u, i);
        d = direction(u, span, i) + decay * (double)u->w[i];
        w += (double)u->w[i] * (double)u->w[i];
        all += d * d;
    }
    ratio = decay > 0 && w > 0 && all > 0 ? sqrt(w) / sqrt(all) : 1;
    for (size_t i = span->first; i < span->first + span->count; i++)
        u->w[i] = (float)((double)u->w[i] - lr * ratio * (direction(u, span, i) + decay * (double)u->w[i]));
}

void tr_ref_update(const struct tr_update *u)
{
    const struct imk_hyper *h = u->hyper;
    for (size_t i = 0; i < u->span_count; i++) {
        const struct tr_span *span = &u->spans[i];
        double decay = span->decays ? h->weight_decay : 0;

        switch (u->kind) {
        case IM_OPTIMIZER_SGD:
            momentum_span(u, span, 1, decay);
            break;
        case IM_OPTIMIZER_LARS:
            momentum_span(u, span, lars_ratio(u, span, decay), decay);
            break;
        case IM_OPTIMIZER_ADAMW:
            adamw_span(u, span, decay);
            break;
        case IM_OPTIMIZER_LAMB:
            lamb_span(u, span, decay);
            break;
        }
    }
}
