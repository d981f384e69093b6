/* The decision of a step: whether to take it, and the factor of the gradients. The rules are those of
 * trainer/backends/host_step.c, in the same order and in double, so that both agree. One thread: the cost is
 * the launch. */
#include "kernels/cuda/step.h"

#include <math.h>

#include "kernels/cuda/device.cuh"

IMK_DEVICE double clipping(enum imk_cuda_clip clip, double limit, double norm)
{
    if (clip == IMK_CUDA_CLIP_LAMB)
        return 1.0 / fmax(1.0, norm / (limit > 0.0 ? limit : 1.0));
    return limit > 0.0 ? fmin(1.0, limit / (norm + 1e-6)) : 1.0;
}

static __global__ void imk_decide(struct imk_cuda_decide a)
{
    const struct imk_hyper *h = a.hyper;
    const double factor = h->unscale / h->loss_scale;
    const double norm = a.squares ? sqrt(*a.squares) * factor : 0.0;
    const double t = (double)(h->updates + 1);
    const bool skip = !isfinite(norm) || (a.tally && !isfinite(a.tally->loss_sum));
    struct imk_cuda_verdict v;

    v.norm = norm;
    v.grad_scale = factor * (a.squares ? clipping(a.clip, h->clip_norm, norm) : 1.0);
    v.correction1 = 1.0 / (1.0 - pow(h->momentum, t));
    v.root2 = 1.0 / sqrt(1.0 - pow(h->beta2, t));
    v.skip = skip ? 1 : 0;
    *a.verdict = v;
}

extern "C" int imk_cuda_decide(const struct imk_cuda_decide *a, struct CUstream_st *stream)
{
    if (!a->hyper || !a->verdict)
        return -EINVAL;
    return launch(imk_decide, dim3(1), 1, stream, *a);
}

static __global__ void imk_choose(struct imk_cuda_choose a)
{
    if (a.before->skip == 0)
        return;
    *a.hyper = *a.hyper_if_skipped;
    a.terms->divisor = *a.divisor_if_skipped;
}

extern "C" int imk_cuda_choose(const struct imk_cuda_choose *a, struct CUstream_st *stream)
{
    if (!a->before || !a->hyper || !a->hyper_if_skipped || !a->terms || !a->divisor_if_skipped)
        return -EINVAL;
    return launch(imk_choose, dim3(1), 1, stream, *a);
}
