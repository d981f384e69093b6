/* Max-pooling, blurring and global average pooling. Backward passes gather: each element of dx adds up what
 * it gets in a fixed order. dy2, where it is not NULL, is a second contribution to the gradient of y. */
#ifndef KERNELS_CUDA_POOL_H
#define KERNELS_CUDA_POOL_H

#include <stdbool.h>

#include "kernels/cuda/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The windows of a layer: x is [n][h][w][pitch], y is [n][oh][ow][pitch], padding channels pooled as any. */
struct imk_cuda_window {
    int n, h, w, oh, ow, pitch;
    int kernel, stride, pad; /* square; each window holds a pixel */
    enum imk_dtype type;
};

#define IMK_CUDA_POOL_MAX 15 /* kernel of a max-pool: places are bytes */

/* The first largest value of each window in row order; a NaN wins only as a window's first value, as in
 * trainer/backends/ref/pool.c. place: its index r * kernel + s within the window. x bytes once (windows overlap in the
 * caches) + y bytes, + 1 byte for an element of y. */
struct imk_cuda_maxpool {
    struct imk_cuda_window window;
    const void *x;
    void *y;
    uint8_t *place; /* [n][oh][ow][pitch]; NULL in evaluation */
};
int imk_cuda_maxpool(const struct imk_cuda_maxpool *a, struct CUstream_st *stream);

/* 1 + s (2 s with dy2) bytes for an element of y, s for one of dx. */
struct imk_cuda_maxpool_backward {
    struct imk_cuda_window window;
    const void *dy, *dy2;
    const uint8_t *place;
    void *dx;
};
int imk_cuda_maxpool_backward(const struct imk_cuda_maxpool_backward *a, struct CUstream_st *stream);

/* Each channel with the filter [1 2 1] x [1 2 1] / 16: TR_OP_BLUR. window: kernel 3, pad 1, stride 1 or 2.
 * reflect: the padding mirrors the image at its border pixels (h, w >= 2), otherwise it is zero. */
struct imk_cuda_blur {
    struct imk_cuda_window window;
    bool reflect;
    const void *x;
    void *y;
};
int imk_cuda_blur(const struct imk_cuda_blur *a, struct CUstream_st *stream);

struct imk_cuda_blur_backward {
    struct imk_cuda_window window;
    bool reflect;
    const void *dy, *dy2;
    void *dx;
};
int imk_cuda_blur_backward(const struct imk_cuda_blur_backward *a, struct CUstream_st *stream);

/* Means over h and w. x is [n][h * w][pitch], y is [n][y_pitch], padding of y zero. */
struct imk_cuda_gap {
    const void *x;
    void *y;
    int n, area, c, pitch, y_pitch; /* area: h * w */
    enum imk_dtype type;
};
int imk_cuda_gap(const struct imk_cuda_gap *a, struct CUstream_st *stream);

/* dx = (dy + dy2) / area everywhere, zero in the padding. dy is [n][y_pitch]. */
struct imk_cuda_gap_backward {
    const void *dy, *dy2;
    void *dx;
    int n, area, c, pitch, y_pitch;
    enum imk_dtype type;
};
int imk_cuda_gap_backward(const struct imk_cuda_gap_backward *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
