/* Reference fully connected layer and loss. */
#include "trainer/backends/ref/ops.h"

#include <math.h>

void tr_ref_fc_forward(const struct tr_op *op, const struct tr_exec *e)
{
    size_t in = (size_t)op->x.c, out = (size_t)op->y.c;
    const float *x = e->x;
    float *y = e->y;

    for (size_t n = 0; n < (size_t)op->x.n; n++) {
        for (size_t k = 0; k < out; k++) {
            double sum = (double)e->b[k];

            for (size_t c = 0; c < in; c++)
                sum += (double)x[n * in + c] * (double)e->w[k * in + c];
            y[n * out + k] = (float)sum;
        }
    }
}

static void fc_backward_params(const struct tr_op *op, const struct tr_exec *e)
{
    size_t in = (size_t)op->x.c, out = (size_t)op->y.c, batch = (size_t)op->x.n;
    const float *x = e->x;

    for (size_t k = 0; k < out; k++) {
        double bias = 0;

        for (size_t n = 0; n < batch; n++)
            bias += tr_dy(e, n * out + k);
        e->db[k] = (float)bias;
        for (size_t c = 0; c < in; c++) {
            double sum = 0;

            for (size_t n = 0; n < batch; n++)
                sum += tr_dy(e, n * out + k) * (double)x[n * in + c];
            e->dw[k * in + c] = (float)sum;
        }
    }
}

void tr_ref_fc_backward(const struct tr_op *op, const struct tr_exec *e)
{
    size_t in = (size_t)op->x.c, out = (size_t)op->y.c;
    float *dx = e->dx;

    if (!op->frozen)
        fc_backward_params(op, e);
    for (size_t n = 0; n < (size_t)op->x.n && op->needs_dx; n++) {
        for (size_t c = 0; c < in; c++) {
            double sum = 0;

            for (size_t k = 0; k < out; k++)
                sum += tr_dy(e, n * out + k) * (double)e->w[k * in + c];
            dx[n * in + c] = (float)sum;
        }
    }
}

/* The number of classes ranked above the label; of equal logits the lower class comes first. A NaN logit
 * ranks above all, so that a broken network scores nothing. */
static int rank_of(const float *logits, int classes, int label)
{
    int better = 0;

    for (int k = 0; k < classes; k++)
        better += k != label && (!(logits[k] <= logits[label]) || (logits[k] == logits[label] && k < label));
    return better;
}

/* The target of a sample: one label, or two with their shares. */
struct target {
    int label, other;
    double share; /* of the first */
};

static struct target target_of(const struct tr_op *op, const struct tr_exec *e, int n)
{
    bool mixed = e->mix && e->mix->kind != TR_MIX_NONE;

    return mixed ? (struct target){e->labels[n], e->labels[op->x.n - 1 - n], e->mix->lambda}
                 : (struct target){e->labels[n], e->labels[n], 1};
}

static bool holds(const struct tr_loss *loss, int label, int k)
{
    if (!loss->sets)
        return k == label;
    return loss->sets[(size_t)label * (size_t)loss->set_words + (size_t)k / 32] >> (k % 32) & 1;
}

/* q_k; shares of the same label add up. */
static double share_of(const struct tr_loss *loss, const struct target *t, int k, int classes,
                       double smoothing)
{
    double hard = (holds(loss, t->label, k) ? t->share : 0) + (holds(loss, t->other, k) ? 1 - t->share : 0);

    return smoothing / classes + (1 - smoothing) * hard;
}

static bool takes_part(const struct tr_op *op, const struct tr_exec *e, int n)
{
    bool mixed = e->mix && e->mix->kind != TR_MIX_NONE;

    return !e->valid || (e->valid[n] && (!mixed || e->valid[op->x.n - 1 - n]));
}

static uint32_t count_valid(const struct tr_op *op, const struct tr_exec *e)
{
    uint32_t valid = 0;

    for (int n = 0; n < op->x.n; n++)
        valid += takes_part(op, e, n);
    return valid;
}

static double weight_of(const float *weights, int k)
{
    return weights ? (double)weights[k] : 1;
}

/* What the gradient is divided by unless it is given. */
static double own_divisor(const struct tr_op *op, const struct tr_exec *e, uint32_t valid)
{
    double sum = 0;

    if (!op->loss.weights || op->loss.sets)
        return valid;
    for (int n = 0; n < op->x.n; n++) {
        const struct target t = target_of(op, e, n);

        if (takes_part(op, e, n))
            sum += t.share * weight_of(op->loss.weights, t.label) +
                   (1 - t.share) * weight_of(op->loss.weights, t.other);
    }
    return sum;
}

/* One sample: -sum_k w_k q_k log p_k, and (p sum_k w_k q_k - w q) * scale into dx unless NULL. */
static double cross_entropy(const float *x, int classes, struct target t, double smoothing,
                            const struct tr_loss *how, double scale, float *dx)
{
    const float *weights = how->weights;
    double top = -INFINITY, sum = 0, loss = 0, total = 0;

    for (int k = 0; k < classes; k++)
        top = fmax(top, (double)x[k]);
    for (int k = 0; k < classes; k++) {
        sum += exp((double)x[k] - top);
        total += weights ? weight_of(weights, k) * share_of(how, &t, k, classes, smoothing) : 0;
    }
    total = weights ? total : 1;
    for (int k = 0; k < classes; k++) {
        double q = weight_of(weights, k) * share_of(how, &t, k, classes, smoothing);
        double log_p = (double)x[k] - top - log(sum);

        if (q > 0)
            loss -= q * log_p;
        if (dx)
            dx[k] = (float)((exp(log_p) * total - q) * scale);
    }
    return loss;
}

/* One sample, per class: with m = max(x, 0), -q log s - (1 - q) log(1 - s) is m - q x + log(1 + e^-|x|),
 * which never overflows. The weight w of
 * a class makes it (1 - q) x + (1 + (w - 1) q) log(1 + e^-x). */
static double binary_cross_entropy(const float *x, int classes, struct target t, double smoothing,
                                   const struct tr_loss *how, const float *weights, double scale, float *dx)
{
    const double weight = how->sums_classes && dx ? 1 : 1.0 / classes; /* validation: the mean */
    double loss = 0;

    for (int k = 0; k < classes; k++) {
        double q = share_of(how, &t, k, classes, smoothing), v = (double)x[k], e = exp(-fabs(v));
        double w = how->sets ? weight_of(weights, k) : 1, more;

        if (how->threshold > 0)
            q = q > how->threshold;
        more = (w - 1) * q;
        loss += fmax(v, 0) - q * v + log1p(e) + more * (fmax(-v, 0) + log1p(e));
        if (dx)
            dx[k] = (float)(((1 + more) * (v >= 0 ? 1 / (1 + e) : e / (1 + e)) - w * q) * weight * scale);
    }
    return loss * weight;
}

void tr_ref_loss(const struct tr_op *op, const struct tr_exec *e)
{
    struct tr_tally tally = {.valid = count_valid(op, e)};
    double divisor = e->divisor > 0 ? e->divisor : own_divisor(op, e, tally.valid);
    const bool is_binary = op->loss.sets || (op->training && op->loss.kind == TR_LOSS_BCE);
    int classes = op->x.c;

    for (int n = 0; n < op->x.n; n++) {
        const float *x = (const float *)e->x + (size_t)n * (size_t)classes;
        float *dx = op->training ? (float *)e->dx + (size_t)n * (size_t)classes : NULL;
        struct target t;
        int rank = classes;

        if (!takes_part(op, e, n)) {
            for (int k = 0; dx && k < classes; k++)
                dx[k] = 0;
            continue;
        }
        t = target_of(op, e, n);
        if (!op->loss.sets)
            rank = rank_of(x, classes, t.share >= 0.5 ? t.label : t.other);
        tally.loss_sum +=
            is_binary ? binary_cross_entropy(x, classes, t, (double)e->smoothing, &op->loss,
                                             op->training ? op->loss.weights : NULL, 1.0 / divisor, dx)
                      : cross_entropy(x, classes, t, (double)e->smoothing, &op->loss, 1.0 / divisor, dx);
        tally.top1 += !op->loss.sets && rank < 1;
        tally.top5 += !op->loss.sets && rank < 5;
    }
    *e->tally = tally;
}
