/* Sums and averages over arenas. The sum of squares is taken by a number of blocks that depends on the count
 * only, each over numbers that lie a grid apart, and by one block over theirs. */
#include "kernels/cuda/arena.h"

#include <math.h>

#include "kernels/cuda/device.cuh"

enum { SQUARES_PER_THREAD = 16 }; /* at least, where there are enough */

IMK_DEVICE double square(float x)
{
    return (double)x * (double)x;
}

template <bool WIDE> static __global__ void imk_squares_of_blocks(struct imk_cuda_sum_squares a)
{
    const size_t step = (size_t)gridDim.x * blockDim.x * GROUP;
    double sum = 0.0;

    IMK_UNROLL4
    for (size_t at = thread_number() * GROUP; at < a.count; at += step) {
        float v[GROUP];

        if (WIDE && a.count - at >= GROUP)
            load8<WIDE>(v, a.x + at, GROUP);
        else
            load8<false>(v, a.x + at, a.count - at < GROUP ? (int)(a.count - at) : (int)GROUP);
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            sum += square(v[j]);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0)
        a.scratch[blockIdx.x] = sum;
}

struct squares_args {
    struct imk_cuda_sum_squares a;
    unsigned blocks;
};

static __global__ void __launch_bounds__(THREADS_MAX) imk_squares_of_all(struct squares_args k)
{
    double sum = threadIdx.x < k.blocks ? k.a.scratch[threadIdx.x] : 0.0;

    sum = block_sum(sum);
    if (threadIdx.x == 0)
        *k.a.squares = sum;
}

extern "C" int imk_cuda_sum_squares(const struct imk_cuda_sum_squares *a, struct CUstream_st *stream)
{
    const uint64_t per_block = THREADS * SQUARES_PER_THREAD, wanted = a->count / per_block + 1;
    const unsigned blocks = wanted < IMK_CUDA_SUM_BLOCKS ? (unsigned)wanted : IMK_CUDA_SUM_BLOCKS;
    const struct squares_args k = {*a, blocks};
    int err = by_flag(aligned(a->x), [&](auto w) {
        return launch(imk_squares_of_blocks<w.value>, dim3(blocks), THREADS, stream, *a);
    });

    return err == 0 ? launch(imk_squares_of_all, dim3(1), IMK_CUDA_SUM_BLOCKS, stream, k) : err;
}

/* What lerp and add do with 8 numbers. */
template <bool WIDE> IMK_DEVICE void lerp8(float *y, const float *x, double k, int left)
{
    float v[GROUP], w[GROUP];

    load8<WIDE>(v, y, left);
    load8<WIDE>(w, x, left);
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        v[j] = k < 1.0 ? (float)((double)v[j] + k * ((double)w[j] - (double)v[j])) : w[j];
    store8<WIDE>(v, y, left);
}

template <bool WIDE> IMK_DEVICE void add8(float *y, const float *x, int left)
{
    float v[GROUP];

    load_sum8<WIDE>(v, y, x, left);
    store8<WIDE>(v, y, left);
}

template <bool WIDE> static __global__ void imk_lerp_all(struct imk_cuda_lerp a)
{
    const size_t at = thread_number() * GROUP;
    const double k = a.take ? *a.take : a.k;

    if (at >= a.count || (a.verdict && a.verdict->skip))
        return;
    if (WIDE && a.count - at >= GROUP)
        lerp8<WIDE>(a.y + at, a.x + at, k, GROUP);
    else
        lerp8<false>(a.y + at, a.x + at, k, a.count - at < GROUP ? (int)(a.count - at) : (int)GROUP);
}

template <bool WIDE> static __global__ void imk_add_all(struct imk_cuda_arena_add a)
{
    const size_t at = thread_number() * GROUP;

    if (at >= a.count)
        return;
    if (WIDE && a.count - at >= GROUP)
        add8<WIDE>(a.y + at, a.x + at, GROUP);
    else
        add8<false>(a.y + at, a.x + at, a.count - at < GROUP ? (int)(a.count - at) : (int)GROUP);
}

static __global__ void imk_restore_all(struct imk_cuda_restore a)
{
    const size_t i = thread_number();

    if (i < a.count && a.verdict->skip)
        a.y[i] = a.x[i];
}

extern "C" int imk_cuda_lerp(const struct imk_cuda_lerp *a, struct CUstream_st *stream)
{
    return by_flag(aligned(a->y, a->x), [&](auto w) {
        return launch_over(imk_lerp_all<w.value>, a->count, THREADS * GROUP, stream, *a);
    });
}

extern "C" int imk_cuda_arena_add(const struct imk_cuda_arena_add *a, struct CUstream_st *stream)
{
    return by_flag(aligned(a->y, a->x), [&](auto w) {
        return launch_over(imk_add_all<w.value>, a->count, THREADS * GROUP, stream, *a);
    });
}

extern "C" int imk_cuda_restore(const struct imk_cuda_restore *a, struct CUstream_st *stream)
{
    return launch_over(imk_restore_all, a->count, THREADS, stream, *a);
}
