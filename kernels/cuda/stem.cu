/* The stem going forward: batch norm, ReLU and max-pool in one pass. A thread makes 8 channels of one pixel
 * of y. Values are rounded to the type before they are compared, so that the first of equals is the one that
 * the two ops apart would take. */
#include <math.h>

#include "kernels/cuda/columns.cuh"

template <class T, bool WIDE> static __global__ void imk_stem(struct imk_cuda_stem a)
{
    const struct imk_cuda_window &o = a.window;
    struct affine8 p;
    struct window_place at;

    if (!place_of(o, o.oh, o.ow, &at))
        return;
    load_affine(&p, a.affine, at.channel, a.c);
    for (int i = (int)blockIdx.y; i < o.n; i += (int)gridDim.y) {
        const T *image = (const T *)a.x + (size_t)i * image_size(o) + at.channel;
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
                load8<WIDE>(v, image + ((size_t)h * (size_t)o.w + (size_t)w) * (size_t)o.pitch, at.left);
                IMK_UNROLL
                for (int j = 0; j < GROUP; j++) {
                    v[j] = fmaf(v[j] - p.mean[j], p.factor[j], p.beta[j]);
                    v[j] = rounded<T>(v[j] < 0.0f ? 0.0f : v[j]);
                    if (first || v[j] > best[j] || isnan(v[j])) {
                        best[j] = v[j];
                        where[j] = (uint8_t)(r * o.kernel + s);
                    }
                }
                first = false;
            }
        }
        store8<WIDE>(best, (T *)a.y + out, at.left);
        if (!a.place)
            continue;
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            where[j] = best[j] <= 0.0f ? (uint8_t)IMK_CUDA_NO_PLACE : where[j];
        store_bytes8<WIDE>(where, a.place + out, at.left);
    }
}

extern "C" int imk_cuda_stem(const struct imk_cuda_stem *a, struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    const bool wide = o->pitch % GROUP == 0 && aligned(a->x, a->y, a->place);

    if (!is_window(o) || o->kernel >= IMK_CUDA_POOL_MAX || a->c < 1 || a->c > o->pitch ||
        !a->affine.inv == !a->affine.var)
        return -EINVAL;
    return by_type(o->type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_places(imk_stem<decltype(t), w.value>, *o, o->oh, o->ow, stream, *a);
        });
    });
}
