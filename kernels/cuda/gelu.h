/* GELU: TR_OP_GELU of trainer/backends/backend.h. */
#ifndef KERNELS_CUDA_GELU_H
#define KERNELS_CUDA_GELU_H

#include "kernels/cuda/norm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = g(x + bias), g(v) = v (1 + erf(v / sqrt(2))) / 2. y may be x. 2 s bytes an element. */
struct imk_cuda_gelu {
    struct imk_cuda_rows shape;
    const void *x;
    const float *bias; /* [c]; NULL: none */
    void *y;
};
int imk_cuda_gelu(const struct imk_cuda_gelu *a, struct CUstream_st *stream);

/* Bytes of scratch for a gradient of the bias, aligned to 16. */
size_t imk_cuda_gelu_scratch(const struct imk_cuda_rows *shape);

/* dx = (dy + dy2) g'(x + bias), and dbias, the sums of dx over the rows, before it is rounded: fp32 within a thread,
 * double beyond. dx may be dy, dy2 or x. 3 s bytes an element, s more for dy2. */
struct imk_cuda_gelu_backward {
    struct imk_cuda_rows shape;
    const void *x, *dy, *dy2; /* dy2: NULL or a second contribution */
    const float *bias;        /* NULL: none */
    void *dx;
    float *dbias; /* [c], overwritten; NULL: not wanted */
    void *scratch;
};
int imk_cuda_gelu_backward(const struct imk_cuda_gelu_backward *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
