/* A thread takes one element: the matrix products between these kernels take far longer. */
#include "kernels/cuda/muon.h"

#include <math.h>

#include "kernels/cuda/device.cuh"
#include "kernels/muon.h"

static __global__ void imk_muon_direction(struct imk_cuda_muon_begin a)
{
    const size_t i = thread_number();
    const float mu = (float)a.hyper->muon_momentum, take = (float)(1.0 - a.hyper->muon_momentum);

    if (i >= a.count || a.verdict->skip)
        return;
    const float g = (float)a.verdict->grad_scale * a.g[i], m = a.m[i] + take * (g - a.m[i]);

    a.m[i] = m;
    a.direction[i] = g + mu * (m - g);
}

/* The place in x of element i of the tensor: x has fewer rows than columns. */
IMK_DEVICE size_t place(uint32_t rows, uint32_t columns, size_t i)
{
    return rows > columns ? i % columns * rows + i / columns : i;
}

template <class T> static __global__ void imk_muon_place(struct imk_cuda_muon_scale a)
{
    const size_t i = thread_number();

    if (i >= (size_t)a.rows * a.columns)
        return;
    const double norm = sqrt(*a.squares);

    from_float((float)(a.direction[i] / (norm > IMK_MUON_EPS ? norm : IMK_MUON_EPS)),
               (T *)a.x + place(a.rows, a.columns, i));
}

template <class T> static __global__ void imk_muon_coefficients(struct imk_cuda_muon_polynomial a)
{
    const size_t i = thread_number();
    T *q = (T *)a.q + i;

    if (i >= (size_t)a.side * a.side)
        return;
    const float own = i / a.side == i % a.side ? (float)IMK_MUON_A : 0.0f;

    from_float(own + (float)IMK_MUON_B * to_float(((const T *)a.gram)[i]) + (float)IMK_MUON_C * to_float(*q),
               q);
}

template <class T> static __global__ void imk_muon_apply(struct imk_cuda_muon_end a)
{
    const size_t i = thread_number();

    if (i >= (size_t)a.rows * a.columns || a.verdict->skip)
        return;
    const double lr = a.hyper->lr * a.rate, decay = a.decays ? a.hyper->weight_decay : 0.0;
    const double ratio = (double)a.rows / a.columns, tall = ratio > 1.0 ? sqrt(ratio) : 1.0;
    const float take = (float)a.hyper->ema_weight,
                x = to_float(((const T *)a.x)[place(a.rows, a.columns, i)]);
    const double kept = !a.squares ? 1.0 - lr * decay : *a.squares > 0.0 ? sqrt(a.rows / *a.squares) : 1.0;
    const float w = (float)kept * a.w[i] - (float)(lr * tall) * x;

    a.w[i] = w;
    if (a.ema)
        a.ema[i] = take < 1.0f ? a.ema[i] + take * (w - a.ema[i]) : w;
}

extern "C" int imk_cuda_muon_begin(const struct imk_cuda_muon_begin *a, struct CUstream_st *stream)
{
    return launch_over(imk_muon_direction, a->count, THREADS, stream, *a);
}

extern "C" int imk_cuda_muon_scale(const struct imk_cuda_muon_scale *a, struct CUstream_st *stream)
{
    return by_type(a->type, [&](auto t) {
        return launch_over(imk_muon_place<decltype(t)>, (uint64_t)a->rows * a->columns, THREADS, stream, *a);
    });
}

extern "C" int imk_cuda_muon_polynomial(const struct imk_cuda_muon_polynomial *a, struct CUstream_st *stream)
{
    return by_type(a->type, [&](auto t) {
        return launch_over(imk_muon_coefficients<decltype(t)>, (uint64_t)a->side * a->side, THREADS, stream,
                           *a);
    });
}

extern "C" int imk_cuda_muon_end(const struct imk_cuda_muon_end *a, struct CUstream_st *stream)
{
    return by_type(a->type, [&](auto t) {
        return launch_over(imk_muon_apply<decltype(t)>, (uint64_t)a->rows * a->columns, THREADS, stream, *a);
    });
}
