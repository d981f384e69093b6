/* A block takes a sample: largest logit, sum of exponentials, rank of the label, gradient. Its row of logits
 * stays in the L1 cache between the passes. What a sample adds to the tally goes to scratch, and a second
 * kernel of one block adds up in an order that depends on n only. Exponentials are fp32, sums and the loss
 * double. */
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

/* What the gradient is divided by. All threads call it. */
IMK_DEVICE double divisor_of(const struct imk_cuda_loss &a)
{
    unsigned valid = 0;

    if (a.terms->divisor > 0.0)
        return a.terms->divisor;
    for (int n = (int)threadIdx.x; n < a.n; n += (int)blockDim.x)
        valid += takes_part(a, n) ? 1u : 0u;
    return (double)block_sum(valid);
}

/* A logit; NaN for a label that is no class, so that the loss shows it. */
template <class X> IMK_DEVICE float logit(const X *x, int classes, int label)
{
    return label >= 0 && label < classes ? to_float(x[label]) : __uint_as_float(0x7fc00000u);
}

template <class X>
IMK_DEVICE double loss_of(const X *x, int classes, struct target t, double smoothing, double log_sum,
                          double all)
{
    double hard = 0.0;

    if (t.share > 0.0)
        hard += t.share * (double)logit(x, classes, t.label);
    if (t.share < 1.0)
        hard += (1.0 - t.share) * (double)logit(x, classes, t.other);
    if (smoothing > 0.0)
        hard = (1.0 - smoothing) * hard + smoothing / classes * all;
    return log_sum - hard;
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

template <class X, class D> static __global__ void imk_loss(struct imk_cuda_loss a)
{
    const int n = (int)blockIdx.x, first = (int)threadIdx.x, step = (int)blockDim.x;
    const X *x = (const X *)a.x + (size_t)n * (size_t)a.x_pitch;
    const double smoothing = a.terms->smoothing;
    float top = -INFINITY;
    double sum = 0.0, all = 0.0;
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
        all += (double)v;
        better += k != held && (!(v <= own) || (v == own && k < held)) ? 1u : 0u;
    }
    sum = block_sum(sum);
    all = block_sum(all);
    better = block_sum(better);
    if (first == 0)
        ((struct sample *)a.scratch)[n] = {loss_of(x, a.classes, t, smoothing, log(sum) + (double)top, all),
                                           1, (better < 1 ? 2u : 0u) + (better < 5 ? 1u : 0u)};
    if (!a.dx)
        return;

    const float factor = (float)((a.scale ? *a.scale : 1.0) / divisor_of(a));
    const float over_sum = (float)(1.0 / sum), flat = (float)(smoothing / a.classes);
    const float mine = (float)((1.0 - smoothing) * t.share),
                others = (float)((1.0 - smoothing) * (1.0 - t.share));
    D *dx = (D *)a.dx + (size_t)n * (size_t)a.dx_pitch;

    for (int k = first; k < a.dx_pitch; k += step) {
        float d = 0.0f;

        if (k < a.classes)
            d = expf(to_float(x[k]) - top) * over_sum - flat - (k == t.label ? mine : 0.0f) -
                (k == t.other ? others : 0.0f);
        from_float(d * factor, &dx[k]);
    }
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

    if (a->n < 0 || a->classes < 1 || a->x_pitch < a->classes || (a->dx && a->dx_pitch < a->classes) ||
        !a->terms || !a->tally)
        return -EINVAL;
    if (a->n > 0)
        err = by_type(a->x_type, [&](auto x) {
            return by_type(a->dx ? a->dx_type : IMK_CUDA_FP32, [&](auto d) {
                return launch(imk_loss<decltype(x), decltype(d)>, dim3((unsigned)a->n), threads, stream, *a);
            });
        });
    return err == 0 ? launch(imk_tally, dim3(1), THREADS_MAX, stream, *a) : err;
}
