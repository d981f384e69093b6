/* The binomial filter of 3 x 3. A thread makes 8 channels of one pixel: of y going forward, of dx going
 * backward, where it gathers from the outputs that the pixel went into. At a mirrored border an output takes
 * one pixel twice, so weights are found by asking each tap where it reads. */
#include "kernels/cuda/window.cuh"

/* The pixel that a tap at `at` reads; -1: padding of zeros. */
IMK_DEVICE int source(int at, int size, bool reflect)
{
    if (at >= 0 && at < size)
        return at;
    if (!reflect)
        return -1;
    return at < 0 ? -at : 2 * size - 2 - at;
}

IMK_DEVICE float tap(int r)
{
    return r == 1 ? 0.5f : 0.25f;
}

/* The weight that output `out` of a side takes pixel `at` with. */
IMK_DEVICE float weight_of(int out, int at, int size, int stride, bool reflect)
{
    float sum = 0.0f;

    IMK_UNROLL
    for (int r = 0; r < 3; r++)
        sum += source(out * stride - 1 + r, size, reflect) == at ? tap(r) : 0.0f;
    return sum;
}

template <class T, bool WIDE> static __global__ void imk_blur(struct imk_cuda_blur a)
{
    const struct imk_cuda_window &o = a.window;
    struct window_place at;

    if (!place_of(o, o.oh, o.ow, &at))
        return;
    for (int i = (int)blockIdx.y; i < o.n; i += (int)gridDim.y) {
        const T *image = (const T *)a.x + (size_t)i * image_size(o) + at.channel;
        float sum[GROUP] = {0};

        IMK_UNROLL
        for (int r = 0; r < 3; r++) {
            IMK_UNROLL
            for (int s = 0; s < 3; s++) {
                const int h = source(at.h * o.stride - 1 + r, o.h, a.reflect);
                const int w = source(at.w * o.stride - 1 + s, o.w, a.reflect);
                float v[GROUP];

                if (h < 0 || w < 0)
                    continue;
                load8<WIDE>(v, image + ((size_t)h * (size_t)o.w + (size_t)w) * (size_t)o.pitch, at.left);
                IMK_UNROLL
                for (int j = 0; j < GROUP; j++)
                    sum[j] += tap(r) * tap(s) * v[j];
            }
        }
        store8<WIDE>(sum, (T *)a.y + (size_t)i * output_size(o) + at.offset, at.left);
    }
}

template <class T, bool WIDE> static __global__ void imk_blur_backward(struct imk_cuda_blur_backward a)
{
    const struct imk_cuda_window &o = a.window;
    struct window_place at;

    if (!place_of(o, o.h, o.w, &at))
        return;

    /* Mirrored taps read at most one pixel inwards of the border: the same outputs. */
    const struct reach rows = reach_of(at.h, o.oh, 3, o.stride, 1),
                       columns = reach_of(at.w, o.ow, 3, o.stride, 1);

    for (int i = (int)blockIdx.y; i < o.n; i += (int)gridDim.y) {
        float sum[GROUP] = {0};

        for (int oh = rows.first; oh <= rows.last; oh++) {
            for (int ow = columns.first; ow <= columns.last; ow++) {
                const float weight = weight_of(oh, at.h, o.h, o.stride, a.reflect) *
                                     weight_of(ow, at.w, o.w, o.stride, a.reflect);
                const size_t from = (size_t)i * output_size(o) +
                                    ((size_t)oh * (size_t)o.ow + (size_t)ow) * (size_t)o.pitch +
                                    (size_t)at.channel;
                float v[GROUP];

                load_sum8<WIDE>(v, (const T *)a.dy + from, past((const T *)a.dy2, from), at.left);
                IMK_UNROLL
                for (int j = 0; j < GROUP; j++)
                    sum[j] += weight * v[j];
            }
        }
        store8<WIDE>(sum, (T *)a.dx + (size_t)i * image_size(o) + at.offset, at.left);
    }
}

static bool is_blur(const struct imk_cuda_window *o, bool reflect)
{
    return is_window(o) && o->kernel == 3 && o->pad == 1 && o->oh == (o->h - 1) / o->stride + 1 &&
           o->ow == (o->w - 1) / o->stride + 1 && (!reflect || (o->h > 1 && o->w > 1));
}

extern "C" int imk_cuda_blur(const struct imk_cuda_blur *a, struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    const bool wide = o->pitch % GROUP == 0 && aligned(a->x, a->y);

    if (!is_blur(o, a->reflect))
        return -EINVAL;
    return by_type(o->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_places(imk_blur<decltype(t), w.value>, *o, o->oh, o->ow, stream, *a);
        });
    });
}

extern "C" int imk_cuda_blur_backward(const struct imk_cuda_blur_backward *a, struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    const bool wide = o->pitch % GROUP == 0 && aligned(a->dy, a->dy2, a->dx);

    if (!is_blur(o, a->reflect))
        return -EINVAL;
    return by_type(o->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_places(imk_blur_backward<decltype(t), w.value>, *o, o->h, o->w, stream, *a);
        });
    });
}
