/* Element by element: a thread takes 8 numbers, whose ReLU bits are one byte. */
#include "kernels/cuda/pointwise.h"

#include "kernels/cuda/device.cuh"

/* load_sum8 and store8 in a flat array, which goes wide but for its last few numbers. */
template <bool WIDE, class T> IMK_DEVICE void load_flat8(float *v, const T *a, const T *b, int left)
{
    if (WIDE && left == GROUP)
        load_sum8<WIDE>(v, a, b, left);
    else
        load_sum8<false>(v, a, b, left);
}

template <bool WIDE, class T> IMK_DEVICE void store_flat8(const float *v, T *p, int left)
{
    if (WIDE && left == GROUP)
        store8<WIDE>(v, p, left);
    else
        store8<false>(v, p, left);
}

template <class T, bool WIDE> static __global__ void imk_add(struct imk_cuda_add a)
{
    const size_t at = thread_number() * GROUP;
    float v[GROUP];

    if (at >= a.count)
        return;
    const int left = left_of(a.count, at);

    load_flat8<WIDE>(v, (const T *)a.x + at, past((const T *)a.x2, at), left);
    if (a.relu) {
        const uint8_t bits = relu8(v);

        if (a.mask)
            a.mask[at / GROUP] = bits;
    }
    store_flat8<WIDE>(v, (T *)a.y + at, left);
}

template <class T, bool WIDE> static __global__ void imk_add_backward(struct imk_cuda_add_backward a)
{
    const size_t at = thread_number() * GROUP;
    float v[GROUP];

    if (at >= a.count)
        return;
    const int left = left_of(a.count, at);

    load_flat8<WIDE>(v, (const T *)a.dy + at, past((const T *)a.dy2, at), left);
    if (a.mask)
        mask8(v, a.mask[at / GROUP]);
    store_flat8<WIDE>(v, (T *)a.dx + at, left);
}

template <class X, class Y, bool WIDE> static __global__ void imk_cast(struct imk_cuda_cast a)
{
    const size_t at = thread_number() * GROUP;

    if (at < a.count)
        cast8<WIDE>((const X *)a.x + at, (Y *)a.y + at, left_of(a.count, at));
}

/* Blocks along x belong to one sample each. */
struct droppath_args {
    struct imk_cuda_droppath a;
    unsigned blocks_per_sample;
};

template <class T, bool WIDE> static __global__ void imk_droppath(struct droppath_args k)
{
    const struct imk_cuda_droppath &a = k.a;
    const unsigned sample = blockIdx.x / k.blocks_per_sample, block = blockIdx.x % k.blocks_per_sample;
    const size_t within = ((size_t)block * THREADS + threadIdx.x) * GROUP,
                 at = sample * a.per_sample + within;
    float v[GROUP], scale;

    if (within >= a.per_sample)
        return;
    scale = a.scale[sample];
    load_sum8<WIDE>(v, (const T *)a.x + at, past((const T *)a.x2, at), left_of(a.per_sample, within));
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        v[j] *= scale;
    store8<WIDE>(v, (T *)a.y + at, left_of(a.per_sample, within));
}

template <class T> static __global__ void imk_bias(struct imk_cuda_bias a)
{
    const uint64_t item = thread_number(), row = item / (unsigned)a.c, column = item % (unsigned)a.c;
    T *y = (T *)a.y + row * (uint64_t)a.pitch + column;

    if (row < (uint64_t)a.rows)
        from_float(to_float(*y) + a.b[column], y);
}

/* 32 columns a block, 8 rows at a time; fp32 within a thread's share of some hundreds of
 * rows, then double. */
template <class T> static __global__ void imk_column_sums(struct imk_cuda_column_sums a)
{
    IMK_SHARED(double, parts, THREADS);
    const int x = (int)threadIdx.x % WARP, y = (int)threadIdx.x / WARP;
    const int column = (int)blockIdx.x * WARP + x;
    double sum = 0.0;

    if (column < a.c) {
        IMK_UNROLL4
        for (int64_t row = y; row < a.rows; row += THREADS / WARP) {
            const int64_t at = row * a.pitch + column;

            sum += (double)to_float(((const T *)a.x)[at]);
            if (a.x2)
                sum += (double)to_float(((const T *)a.x2)[at]);
        }
    }
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (y > 0 || column >= a.c)
        return;
    for (int i = 1; i < THREADS / WARP; i++)
        sum += parts[i * WARP + x];
    a.sums[column] = (float)sum;
}

extern "C" int imk_cuda_add(const struct imk_cuda_add *a, struct CUstream_st *stream)
{
    const bool wide = aligned(a->x, a->x2, a->y);

    return by_type(a->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_over(imk_add<decltype(t), w.value>, a->count, THREADS * GROUP, stream, *a);
        });
    });
}

extern "C" int imk_cuda_add_backward(const struct imk_cuda_add_backward *a, struct CUstream_st *stream)
{
    const bool wide = aligned(a->dy, a->dy2, a->dx);

    return by_type(a->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_over(imk_add_backward<decltype(t), w.value>, a->count, THREADS * GROUP, stream, *a);
        });
    });
}

extern "C" int imk_cuda_droppath(const struct imk_cuda_droppath *a, struct CUstream_st *stream)
{
    const bool wide = a->per_sample % GROUP == 0 && aligned(a->x, a->x2, a->y);
    const uint64_t blocks = a->per_sample / (THREADS * GROUP) + (a->per_sample % (THREADS * GROUP) != 0);
    const struct droppath_args k = {*a, (unsigned)blocks};

    if (a->n < 0 || blocks > GRID_X_MAX || blocks * (uint64_t)a->n > GRID_X_MAX)
        return -EINVAL;
    if (a->n == 0 || blocks == 0)
        return 0;
    return by_type(a->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch(imk_droppath<decltype(t), w.value>, dim3((unsigned)blocks * (unsigned)a->n),
                          THREADS, stream, k);
        });
    });
}

extern "C" int imk_cuda_cast(const struct imk_cuda_cast *a, struct CUstream_st *stream)
{
    const bool wide = aligned(a->x, a->y);

    return by_type(a->x_type, [&](auto x) {
        return by_type(a->y_type, [&](auto y) {
            return by_flag(wide, [&](auto w) {
                return launch_over(imk_cast<decltype(x), decltype(y), w.value>, a->count, THREADS * GROUP,
                                   stream, *a);
            });
        });
    });
}

extern "C" int imk_cuda_bias(const struct imk_cuda_bias *a, struct CUstream_st *stream)
{
    if (a->rows < 0 || a->c < 1 || a->pitch < a->c)
        return -EINVAL;
    return by_type(a->type, [&](auto t) {
        return launch_over(imk_bias<decltype(t)>, (uint64_t)a->rows * (uint64_t)a->c, THREADS, stream, *a);
    });
}

extern "C" int imk_cuda_column_sums(const struct imk_cuda_column_sums *a, struct CUstream_st *stream)
{
    if (a->rows < 0 || a->c < 1 || a->pitch < a->c)
        return -EINVAL;
    return by_type(a->type, [&](auto t) {
        return launch(imk_column_sums<decltype(t)>, dim3((unsigned)ceil_div(a->c, WARP)), THREADS, stream,
                      *a);
    });
}
