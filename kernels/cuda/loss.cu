/* A block takes a sample: rank of the label, loss, gradient. For softmax it passes over the logits for the
 * largest, for the sum of exponentials and for the gradient; its row stays in the L1 cache in between. What a
 * sample adds to the tally goes to scratch, and a second kernel of one block adds up in an order that depends
 * on n only. Exponentials are fp32, sums and the loss double. */
#include "kernels/cuda/loss.h"

#include <math.h>

#include "kernels/cuda/device.cuh"

/* What a sample adds to the tally. */
struct sample {
    double loss;
    uint32_t valid, top; /* top: 1 among the best 5, 2 the best, 3 both */
};

/* What a sample is held against: one label, or two with their shares. */
struct target {
    int label, other;
    double share; /* of the first */
};

IMK_DEVICE bool is_mixed(const struct imk_cuda_loss &a)
{
    return a.mix && a.mix->kind != IMK_CUDA_MIX_NONE;
}

IMK_DEVICE struct target target_of(const struct imk_cuda_loss &a, int n)
{
    if (!is_mixed(a))
        return {a.labels[n], a.labels[n], 1.0};
    return {a.labels[n], a.labels[a.n - 1 - n], a.mix->lambda};
}

IMK_DEVICE bool takes_part(const struct imk_cuda_loss &a, int n)
{
    return !a.valid || (a.valid[n] && (!is_mixed(a) || a.valid[a.n - 1 - n]));
}

/* What a class has of the target, in doubles as the reference: a threshold must part them alike. */
struct shares {
    double none, label, other, both; /* both: label and other are one class */
};

IMK_DEVICE double share_of(const struct imk_cuda_loss &a, double smoothing, double hard)
{
    const double q = smoothing / a.classes + (1.0 - smoothing) * hard;

    return a.kind == IMK_CUDA_BCE && a.threshold > 0.0 ? (q > a.threshold ? 1.0 : 0.0) : q;
}

IMK_DEVICE struct shares shares_of(const struct imk_cuda_loss &a, const struct target &t)
{
    const double smoothing = a.terms->smoothing;

    return {share_of(a, smoothing, 0.0), share_of(a, smoothing, t.share),
            share_of(a, smoothing, 1.0 - t.share), share_of(a, smoothing, t.share + (1.0 - t.share))};
}

IMK_DEVICE bool holds(const struct imk_cuda_loss &a, int label, int k)
{
    if (!a.sets)
        return k == label;
    return ((a.sets[(size_t)label * (size_t)a.set_words + (size_t)(k / 32)] >> (k % 32)) & 1u) != 0u;
}

IMK_DEVICE double share_at(const struct imk_cuda_loss &a, const struct shares &q, const struct target &t,
                           int k)
{
    if (holds(a, t.label, k))
        return holds(a, t.other, k) ? q.both : q.label;
    return holds(a, t.other, k) ? q.other : q.none;
}

IMK_DEVICE bool is_class(int label, int classes)
{
    return label >= 0 && label < classes;
}

/* Of a class, 0 of what is none. */
IMK_DEVICE double weight_of(const struct imk_cuda_loss &a, int k)
{
    return !a.weights ? 1.0 : is_class(k, a.classes) ? (double)a.weights[k] : 0.0;
}

/* Of a target without its smoothing. */
IMK_DEVICE double weight_of(const struct imk_cuda_loss &a, const struct target &t)
{
    return t.share * weight_of(a, t.label) + (1.0 - t.share) * weight_of(a, t.other);
}

/* What the gradient is divided by. All threads call it. */
IMK_DEVICE double divisor_of(const struct imk_cuda_loss &a)
{
    unsigned valid = 0;
    double sum = 0.0;

    if (a.terms->divisor > 0.0)
        return a.terms->divisor;
    if (a.weights && a.kind == IMK_CUDA_CE) {
        for (int n = (int)threadIdx.x; n < a.n; n += (int)blockDim.x)
            sum += takes_part(a, n) ? weight_of(a, target_of(a, n)) : 0.0;
        return block_sum(sum);
    }
    for (int n = (int)threadIdx.x; n < a.n; n += (int)blockDim.x)
        valid += takes_part(a, n) ? 1u : 0u;
    return (double)block_sum(valid);
}

IMK_DEVICE float nan_of()
{
    return __uint_as_float(0x7fc00000u);
}

/* A logit; NaN for a label that is no class, so that the loss shows it. */
template <class X> IMK_DEVICE float logit(const X *x, int classes, int label)
{
    return is_class(label, classes) ? to_float(x[label]) : nan_of();
}

/* Whether logit v of class k is better than `own` of the label; of equal ones the lower class is. */
IMK_DEVICE bool beats(float v, int k, float own, int label)
{
    return k != label && (!(v <= own) || (v == own && k < label));
}

IMK_DEVICE void tell(const struct imk_cuda_loss &a, int n, double loss, unsigned better)
{
    if (threadIdx.x == 0)
        ((struct sample *)a.scratch)[n] = {loss, 1, (better < 1 ? 2u : 0u) + (better < 5 ? 1u : 0u)};
}

/* all: the sum of the logits, each by the weight of its class; total: sum_k w_k q_k. */
template <class X>
IMK_DEVICE double loss_of(const struct imk_cuda_loss &a, const X *x, const struct target &t, double log_sum,
                          double all, double total)
{
    const double smoothing = a.terms->smoothing;
    double hard = 0.0;

    if (t.share > 0.0)
        hard += t.share * weight_of(a, t.label) * (double)logit(x, a.classes, t.label);
    if (t.share < 1.0)
        hard += (1.0 - t.share) * weight_of(a, t.other) * (double)logit(x, a.classes, t.other);
    if (smoothing > 0.0)
        hard = (1.0 - smoothing) * hard + smoothing / a.classes * all;
    return total * log_sum - hard;
}

/* sum_k w_k q_k; weights: their sum. */
IMK_DEVICE double total_of(const struct imk_cuda_loss &a, const struct target &t, double weights)
{
    const double smoothing = a.terms->smoothing;

    return a.weights ? (1.0 - smoothing) * weight_of(a, t) + smoothing / a.classes * weights : 1.0;
}

/* A masked sample: nothing but zeros. */
template <class D> IMK_DEVICE void leave_out(const struct imk_cuda_loss &a, int n)
{
    D *dx = past((D *)a.dx, (size_t)n * (size_t)a.dx_pitch);

    for (int k = (int)threadIdx.x; dx && k < a.dx_pitch; k += (int)blockDim.x)
        from_float(0.0f, &dx[k]);
    if (threadIdx.x == 0)
        ((struct sample *)a.scratch)[n] = {0.0, 0, 0};
}

template <class X, class D> static __global__ void imk_softmax(struct imk_cuda_loss a)
{
    const int n = (int)blockIdx.x, first = (int)threadIdx.x, step = (int)blockDim.x;
    const X *x = (const X *)a.x + (size_t)n * (size_t)a.x_pitch;
    float top = -INFINITY;
    double sum = 0.0, all = 0.0, weights = 0.0;
    unsigned better = 0;

    if (!takes_part(a, n)) {
        leave_out<D>(a, n);
        return;
    }
    const struct target t = target_of(a, n);
    const int held = t.share >= 0.5 ? t.label : t.other;
    const float own = logit(x, a.classes, held);

    for (int k = first; k < a.classes; k += step)
        top = fmaxf(top, to_float(x[k]));
    top = block_max(top);
    for (int k = first; k < a.classes; k += step) {
        const float v = to_float(x[k]);

        sum += (double)expf(v - top);
        all += weight_of(a, k) * (double)v;
        weights += weight_of(a, k);
        better += beats(v, k, own, held) ? 1u : 0u;
    }
    sum = block_sum(sum);
    all = block_sum(all);
    better = block_sum(better);
    weights = a.weights ? block_sum(weights) : 0.0;

    const double total = total_of(a, t, weights);

    tell(a, n, loss_of(a, x, t, log(sum) + (double)top, all, total), better);
    if (!a.dx)
        return;

    const float factor = (float)((a.scale ? *a.scale : 1.0) / divisor_of(a));
    const float over_sum = (float)(total / sum);
    const struct shares q = shares_of(a, t);
    D *dx = (D *)a.dx + (size_t)n * (size_t)a.dx_pitch;

    for (int k = first; k < a.dx_pitch; k += step) {
        float d = 0.0f;

        if (k < a.classes)
            d = expf(to_float(x[k]) - top) * over_sum - (float)(weight_of(a, k) * share_at(a, q, t, k));
        from_float(d * factor, &dx[k]);
    }
}

/* With m = max(x, 0), -q log s - (1 - q) log(1 - s) is m - q x + log(1 + e^-|x|), which overflows nowhere. */
template <class X, class D> static __global__ void imk_bce(struct imk_cuda_loss a)
{
    const int n = (int)blockIdx.x, first = (int)threadIdx.x, step = (int)blockDim.x;
    const X *x = (const X *)a.x + (size_t)n * (size_t)a.x_pitch;
    D *dx = past((D *)a.dx, (size_t)n * (size_t)a.dx_pitch);
    const double weight = a.sums_classes ? 1.0 : 1.0 / a.classes;
    double sum = 0.0;
    unsigned better = 0;

    if (!takes_part(a, n)) {
        leave_out<D>(a, n);
        return;
    }
    const int labels = a.sets ? a.set_count : a.classes;
    struct target t = target_of(a, n);
    const bool is_bad =
        (t.share > 0.0 && !is_class(t.label, labels)) || (t.share < 1.0 && !is_class(t.other, labels));

    if (a.sets && is_bad)
        t = {0, 0, 1.0}; /* the loss says it; no bits are read behind the sets */

    const struct shares q = shares_of(a, t);
    const int held = t.share >= 0.5 ? t.label : t.other;
    const float own = a.sets ? 0.0f : logit(x, a.classes, held);
    const float factor = (float)(weight * (a.scale ? *a.scale : 1.0) / divisor_of(a));

    for (int k = first; k < a.classes; k += step) {
        const float v = to_float(x[k]), e = expf(-fabsf(v));
        const double mine = share_at(a, q, t, k), w = a.sets ? weight_of(a, k) : 1.0, more = (w - 1.0) * mine;

        sum += (double)fmaxf(v, 0.0f) - mine * (double)v + (double)log1pf(e);
        if (w != 1.0)
            sum += more * ((double)fmaxf(-v, 0.0f) + (double)log1pf(e));
        better += a.sets ? 5u : beats(v, k, own, held) ? 1u : 0u;
        if (dx)
            from_float(((float)(1.0 + more) * (v >= 0.0f ? 1.0f : e) / (1.0f + e) - (float)(w * mine)) *
                           factor,
                       &dx[k]);
    }
    for (int k = a.classes + first; dx && k < a.dx_pitch; k += step)
        from_float(0.0f, &dx[k]);
    sum = block_sum(sum);
    better = block_sum(better);
    if (is_bad)
        sum = (double)nan_of();
    tell(a, n, sum * weight, better);
}

static __global__ void __launch_bounds__(THREADS_MAX) imk_tally(struct imk_cuda_loss a)
{
    const struct sample *samples = (const struct sample *)a.scratch;
    double sum = 0.0;
    unsigned valid = 0, top1 = 0, top5 = 0;

    for (int n = (int)threadIdx.x; n < a.n; n += (int)blockDim.x) {
        const struct sample s = samples[n];

        sum += s.loss;
        valid += s.valid;
        top1 += s.top >> 1;
        top5 += s.top & 1;
    }
    sum = block_sum(sum);
    valid = block_sum(valid);
    top1 = block_sum(top1);
    top5 = block_sum(top5);
    if (threadIdx.x == 0)
        *a.tally = {sum, (double)valid, (double)top1, (double)top5};
}

extern "C" size_t imk_cuda_loss_scratch(int n)
{
    return (size_t)n * sizeof(struct sample);
}

extern "C" int imk_cuda_loss(const struct imk_cuda_loss *a, struct CUstream_st *stream)
{
    const unsigned threads = 128;
    int err = 0;

    if ((a->kind != IMK_CUDA_CE && a->kind != IMK_CUDA_BCE) || a->n < 0 || a->classes < 1 ||
        a->x_pitch < a->classes || (a->dx && a->dx_pitch < a->classes) || !a->terms || !a->tally ||
        (a->sets && (a->kind != IMK_CUDA_BCE || a->set_count < 1 || a->set_words != (a->classes + 31) / 32)))
        return -EINVAL;
    if (a->n > 0)
        err = by_type(a->x_type, [&](auto x) {
            return by_type(a->dx ? a->dx_type : IMK_F32, [&](auto d) {
                return launch(a->kind == IMK_CUDA_BCE ? imk_bce<decltype(x), decltype(d)>
                                                      : imk_softmax<decltype(x), decltype(d)>,
                              dim3((unsigned)a->n), threads, stream, *a);
            });
        });
    return err == 0 ? launch(imk_tally, dim3(1), THREADS_MAX, stream, *a) : err;
}
