/* Windows over images: what max-pooling, blurring and the stem share. */
#ifndef KERNELS_CUDA_WINDOW_CUH
#define KERNELS_CUDA_WINDOW_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/pool.h"

/* 8 channels of a pixel of an image. */
struct window_place {
    int h, w, channel;
    int left;      /* channels from there on */
    size_t offset; /* elements from the beginning of the image */
};

IMK_BOTH size_t image_size(const struct imk_cuda_window &o)
{
    return (size_t)o.h * (size_t)o.w * (size_t)o.pitch;
}

IMK_BOTH size_t output_size(const struct imk_cuda_window &o)
{
    return (size_t)o.oh * (size_t)o.ow * (size_t)o.pitch;
}

/* The place of this thread in images of h x w; false: none. */
IMK_DEVICE bool place_of(const struct imk_cuda_window &o, int h, int w, struct window_place *ret)
{
    const unsigned groups = ((unsigned)o.pitch + GROUP - 1) / GROUP,
                   item = blockIdx.x * blockDim.x + threadIdx.x;
    const unsigned pixel = item / groups, channel = item % groups * GROUP;

    ret->h = (int)(pixel / (unsigned)w);
    ret->w = (int)(pixel % (unsigned)w);
    ret->channel = (int)channel;
    ret->left = o.pitch - (int)channel;
    ret->offset = (size_t)pixel * (size_t)o.pitch + channel;
    return pixel < (unsigned)h * (unsigned)w;
}

/* The outputs first .. last whose windows hold the pixel `at` of a side. */
struct reach {
    int first, last;
};

IMK_DEVICE struct reach reach_of(int at, int outputs, int kernel, int stride, int pad)
{
    const int from = at + pad - kernel + 1, to = (at + pad) / stride;

    return {from > 0 ? (from + stride - 1) / stride : 0, to < outputs ? to : outputs - 1};
}

/* What a pixel of image i gets of the gradient of a max-pool's output: from each window that took its maximum
 * there, in row order. */
template <class T, bool WIDE>
IMK_DEVICE void gather(const struct imk_cuda_window &o, const T *dy, const T *dy2, const uint8_t *place,
                       int i, const struct window_place &at, float *sum)
{
    const struct reach rows = reach_of(at.h, o.oh, o.kernel, o.stride, o.pad);
    const struct reach columns = reach_of(at.w, o.ow, o.kernel, o.stride, o.pad);

    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        sum[j] = 0.0f;
    for (int oh = rows.first; oh <= rows.last; oh++) {
        for (int ow = columns.first; ow <= columns.last; ow++) {
            const size_t from = (size_t)i * output_size(o) +
                                ((size_t)oh * (size_t)o.ow + (size_t)ow) * (size_t)o.pitch +
                                (size_t)at.channel;
            const int mine = (at.h + o.pad - oh * o.stride) * o.kernel + at.w + o.pad - ow * o.stride;
            uint8_t where[GROUP];
            float v[GROUP];

            load_bytes8<WIDE>(where, place + from, at.left);
            load_sum8<WIDE>(v, dy + from, past(dy2, from), at.left);
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++)
                sum[j] += where[j] == mine ? v[j] : 0.0f;
        }
    }
}

/* ---- on the host ---- */

/* Whether kernels take it: images whose elements 32 bits number, windows that all hold a pixel. */
static inline bool is_window(const struct imk_cuda_window *o)
{
    if (o->n < 0 || o->h < 1 || o->w < 1 || o->oh < 1 || o->ow < 1 || o->pitch < 1 || !is_type(o->type))
        return false;
    if (o->kernel < 1 || o->stride < 1 || o->pad < 0 || o->pad >= o->kernel)
        return false;
    if ((int64_t)(o->oh - 1) * o->stride - o->pad >= o->h ||
        (int64_t)(o->ow - 1) * o->stride - o->pad >= o->w)
        return false;
    return (int64_t)o->h * o->w <= (GRID_X_MAX - THREADS) / (o->pitch + GROUP) &&
           (int64_t)o->oh * o->ow <= (GRID_X_MAX - THREADS) / (o->pitch + GROUP);
}

/* One thread for 8 channels of each pixel of images of h x w. */
template <class A>
static int launch_places(void (*kernel)(A), const struct imk_cuda_window &o, int h, int w,
                         CUstream_st *stream, A a)
{
    const int64_t items = (int64_t)h * w * ceil_div(o.pitch, GROUP);

    if (o.n == 0)
        return 0;
    return launch(kernel,
                  dim3((unsigned)ceil_div(items, THREADS), (unsigned)(o.n < GRID_Y_MAX ? o.n : GRID_Y_MAX)),
                  THREADS, stream, a);
}

#endif
