/* Max-pooling and global average pooling. A thread makes 8 channels of one pixel: of y going forward, of dx
 * going backward. Pixels and groups of an image are numbered by 32 bits along x, images along y. Neighbouring
 * windows read the same values from the caches, so that memory sees each once. */
#include "kernels/cuda/pool.h"

#include <math.h>

#include "kernels/cuda/window.cuh"

template <class T, bool WIDE> static __global__ void imk_maxpool(struct imk_cuda_maxpool a)
{
    const struct imk_cuda_window &o = a.window;
    struct window_place at;

    if (!place_of(o, o.oh, o.ow, &at))
        return;
    for (int i = (int)blockIdx.y; i < o.n; i += (int)gridDim.y) {
        const T *image = (const T *)a.x + (size_t)i * image_size(o);
        const size_t out = (size_t)i * output_size(o) + at.offset;
        float best[GROUP] = {0};
        uint8_t where[GROUP] = {0};
        bool first = true;

        for (int r = 0; r < o.kernel; r++) {
            for (int s = 0; s < o.kernel; s++) {
                const int h = at.h * o.stride - o.pad + r, w = at.w * o.stride - o.pad + s;
                float v[GROUP];

                if (h < 0 || h >= o.h || w < 0 || w >= o.w)
                    continue;
                load8<WIDE>(v, image + ((size_t)h * (size_t)o.w + (size_t)w) * (size_t)o.pitch + at.channel,
                            at.left);
                IMK_UNROLL
                for (int j = 0; j < GROUP; j++) {
                    if (first || v[j] > best[j] || isnan(v[j])) {
                        best[j] = v[j];
                        where[j] = (uint8_t)(r * o.kernel + s);
                    }
                }
                first = false;
            }
        }
        store8<WIDE>(best, (T *)a.y + out, at.left);
        if (a.place)
            store_bytes8<WIDE>(where, a.place + out, at.left);
    }
}

template <class T, bool WIDE> static __global__ void imk_maxpool_backward(struct imk_cuda_maxpool_backward a)
{
    const struct imk_cuda_window &o = a.window;
    struct window_place at;

    if (!place_of(o, o.h, o.w, &at))
        return;
    for (int i = (int)blockIdx.y; i < o.n; i += (int)gridDim.y) {
        float sum[GROUP];

        gather<T, WIDE>(o, (const T *)a.dy, (const T *)a.dy2, a.place, i, at, sum);
        store8<WIDE>(sum, (T *)a.dx + (size_t)i * image_size(o) + at.offset, at.left);
    }
}

extern "C" int imk_cuda_maxpool(const struct imk_cuda_maxpool *a, struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    const bool wide = o->pitch % GROUP == 0 && aligned(a->x, a->y, a->place);

    if (!is_window(o) || o->kernel > IMK_CUDA_POOL_MAX)
        return -EINVAL;
    return by_type(o->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_places(imk_maxpool<decltype(t), w.value>, *o, o->oh, o->ow, stream, *a);
        });
    });
}

extern "C" int imk_cuda_maxpool_backward(const struct imk_cuda_maxpool_backward *a,
                                         struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    const bool wide = o->pitch % GROUP == 0 && aligned(a->dy, a->dy2, a->place, a->dx);

    if (!is_window(o) || o->kernel > IMK_CUDA_POOL_MAX)
        return -EINVAL;
    return by_type(o->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_places(imk_maxpool_backward<decltype(t), w.value>, *o, o->h, o->w, stream, *a);
        });
    });
}

/* ---- global average pooling: a thread takes 8 channels of an image ---- */

template <class T, bool WIDE> static __global__ void imk_gap(struct imk_cuda_gap a)
{
    const unsigned groups = (unsigned)ceil_div(a.y_pitch, GROUP);
    const uint64_t item = thread_number();
    const int channel = (int)(item % groups) * GROUP;
    const size_t i = item / groups;
    float sum[GROUP] = {0};

    if (item >= (uint64_t)a.n * groups)
        return;
    if (channel < a.pitch) {
        const T *x = (const T *)a.x + i * (size_t)a.area * (size_t)a.pitch + channel;

        IMK_UNROLL4
        for (int p = 0; p < a.area; p++) {
            float v[GROUP];

            load8<WIDE>(v, x + (size_t)p * (size_t)a.pitch, a.pitch - channel);
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++)
                sum[j] += v[j];
        }
    }
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        sum[j] = channel + j < a.c ? sum[j] / (float)a.area : 0.0f;
    store8<WIDE>(sum, (T *)a.y + i * (size_t)a.y_pitch + channel, a.y_pitch - channel);
}

template <class T, bool WIDE> static __global__ void imk_gap_backward(struct imk_cuda_gap_backward a)
{
    const unsigned groups = (unsigned)ceil_div(a.pitch, GROUP), item = blockIdx.x * blockDim.x + threadIdx.x;
    const int channel = (int)(item % groups) * GROUP;

    if (item >= (unsigned)a.area * groups)
        return;
    for (int i = (int)blockIdx.y; i < a.n; i += (int)gridDim.y) {
        const size_t from = (size_t)i * (size_t)a.y_pitch + (size_t)channel;
        float v[GROUP] = {0};

        if (channel < a.y_pitch)
            load_sum8<WIDE>(v, (const T *)a.dy + from, past((const T *)a.dy2, from), a.y_pitch - channel);
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            v[j] = channel + j < a.c ? v[j] / (float)a.area : 0.0f;
        store8<WIDE>(v, (T *)a.dx + ((size_t)i * (size_t)a.area + item / groups) * (size_t)a.pitch + channel,
                     a.pitch - channel);
    }
}

static bool is_gap(int n, int area, int c, int pitch, int y_pitch)
{
    return n >= 0 && area >= 1 && c >= 1 && pitch >= c && y_pitch >= c &&
           (int64_t)area * pitch <= GRID_X_MAX - THREADS;
}

extern "C" int imk_cuda_gap(const struct imk_cuda_gap *a, struct CUstream_st *stream)
{
    const bool wide = a->pitch % GROUP == 0 && a->y_pitch % GROUP == 0 && aligned(a->x, a->y);

    if (!is_gap(a->n, a->area, a->c, a->pitch, a->y_pitch))
        return -EINVAL;
    return by_type(a->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_over(imk_gap<decltype(t), w.value>,
                               (uint64_t)a->n * (uint64_t)ceil_div(a->y_pitch, GROUP), THREADS, stream, *a);
        });
    });
}

extern "C" int imk_cuda_gap_backward(const struct imk_cuda_gap_backward *a, struct CUstream_st *stream)
{
    const bool wide = a->pitch % GROUP == 0 && a->y_pitch % GROUP == 0 && aligned(a->dy, a->dy2, a->dx);
    const int64_t items = a->area * ceil_div(a->pitch, GROUP);
    const dim3 blocks((unsigned)ceil_div(items, THREADS), (unsigned)(a->n < GRID_Y_MAX ? a->n : GRID_Y_MAX));

    if (!is_gap(a->n, a->area, a->c, a->pitch, a->y_pitch))
        return -EINVAL;
    if (a->n == 0)
        return 0;
    return by_type(a->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch(imk_gap_backward<decltype(t), w.value>, blocks, THREADS, stream, *a);
        });
    });
}
