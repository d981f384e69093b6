/* A thread makes a pixel: three bytes in (six when mixed), one vector of pitch numbers out. Pixels of one
 * image are numbered by 32 bits along x, images along y. Normalising is one fused multiply-add with factors
 * that the host rounds once. */
#include "kernels/cuda/input.h"

#include "kernels/cuda/device.cuh"

struct input_args {
    struct imk_cuda_input a;
    float factor[3], offset[3];
};

/* The pixel at (h, w) of image i, mixed, as a number between 0 and 255. */
IMK_DEVICE void mixed_pixel(const struct imk_cuda_input &a, int i, int h, int w, float *v)
{
    const size_t image = (size_t)a.h * (size_t)a.w * 3, at = ((size_t)h * (size_t)a.w + (size_t)w) * 3;
    const uint8_t *own = a.pixels + (size_t)i * image + at;
    const uint8_t *other = a.pixels + (size_t)(a.n - 1 - i) * image + at;
    const uint32_t kind = a.mix ? a.mix->kind : (uint32_t)IMK_CUDA_MIX_NONE;

    if (kind == IMK_CUDA_MIX_CUT && h >= a.mix->y0 && h < a.mix->y1 && w >= a.mix->x0 && w < a.mix->x1)
        own = other;
    for (int c = 0; c < 3; c++)
        v[c] = (float)own[c];
    if (kind == IMK_CUDA_MIX_UP) {
        const float lambda = (float)a.mix->lambda, rest = (float)(1.0 - a.mix->lambda);

        for (int c = 0; c < 3; c++)
            v[c] = lambda * v[c] + rest * (float)other[c];
    }
}

/* PITCH 4, 8 or 16: one store of whole vectors; 0: any pitch, number by number. */
template <class T, int PITCH> static __global__ void imk_input(struct input_args k)
{
    const struct imk_cuda_input &a = k.a;
    const unsigned pixel = blockIdx.x * blockDim.x + threadIdx.x;
    const int pitch = PITCH ? PITCH : a.pitch;

    if (pixel >= (unsigned)a.h * (unsigned)a.w)
        return;
    for (int i = (int)blockIdx.y; i < a.n; i += (int)gridDim.y) {
        float v[PITCH ? PITCH : 4] = {0};
        T *y = (T *)a.y + ((size_t)i * (size_t)a.h * (size_t)a.w + pixel) * (size_t)pitch;

        mixed_pixel(a, i, (int)(pixel / (unsigned)a.w), (int)(pixel % (unsigned)a.w), v);
        for (int c = 0; c < 3; c++)
            v[c] = fmaf(v[c], k.factor[c], k.offset[c]);
        if constexpr (PITCH == 0) {
            for (int c = 0; c < pitch; c++)
                from_float(c < 3 ? v[c] : 0.0f, &y[c]);
        } else if constexpr (PITCH == 4) {
            store4(v, y);
        } else {
            IMK_UNROLL
            for (int c = 0; c < PITCH; c += GROUP)
                store_wide(v + c, y + c);
        }
    }
}

template <class T> static int with_pitch(const struct input_args &k, dim3 blocks, CUstream_st *stream)
{
    if (aligned(k.a.y) && k.a.pitch == 4)
        return launch(imk_input<T, 4>, blocks, THREADS, stream, k);
    if (aligned(k.a.y) && k.a.pitch == 8)
        return launch(imk_input<T, 8>, blocks, THREADS, stream, k);
    if (aligned(k.a.y) && k.a.pitch == 16)
        return launch(imk_input<T, 16>, blocks, THREADS, stream, k);
    return launch(imk_input<T, 0>, blocks, THREADS, stream, k);
}

extern "C" int imk_cuda_input(const struct imk_cuda_input *a, struct CUstream_st *stream)
{
    const int64_t pixels = (int64_t)a->h * a->w;
    struct input_args k = {*a, {0}, {0}};
    dim3 blocks;

    if (a->n < 0 || a->h < 1 || a->w < 1 || a->pitch < 3 || a->pitch > 16 || pixels > GRID_X_MAX - THREADS)
        return -EINVAL;
    if (a->n == 0)
        return 0;
    for (int c = 0; c < 3; c++) {
        k.factor[c] = (float)(1.0 / (255.0 * (double)a->std[c]));
        k.offset[c] = (float)(-(double)a->mean[c] / (double)a->std[c]);
    }
    blocks = dim3((unsigned)ceil_div(pixels, THREADS), (unsigned)(a->n < GRID_Y_MAX ? a->n : GRID_Y_MAX));
    return by_type(a->type, [&](auto zero) { return with_pitch<decltype(zero)>(k, blocks, stream); });
}
