/* Element by element: addition with ReLU, stochastic depth, casts, the bias of a classifier. Outputs may be
 * any of the inputs (in place) unless types differ. */
#ifndef KERNELS_CUDA_POINTWISE_H
#define KERNELS_CUDA_POINTWISE_H

#include <stdbool.h>

#include "kernels/cuda/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x + x2, then ReLU. x2 NULL: y = x, for a ReLU alone. 3 s bytes an element, 1 bit for the mask. */
struct imk_cuda_add {
    size_t count;
    enum imk_dtype type;
    const void *x, *x2;
    void *y;
    bool relu;
    uint8_t *mask; /* with relu: imk_cuda_mask_bytes(1, count); NULL: not wanted */
};
int imk_cuda_add(const struct imk_cuda_add *a, struct CUstream_st *stream);

/* dx = dy + dy2, zero where the mask says that ReLU was: backward of the above, and the sum of the gradients
 * of a fork. */
struct imk_cuda_add_backward {
    size_t count;
    enum imk_dtype type;
    const void *dy, *dy2; /* dy2: NULL or a second contribution */
    const uint8_t *mask;  /* NULL: no ReLU */
    void *dx;
};
int imk_cuda_add_backward(const struct imk_cuda_add_backward *a, struct CUstream_st *stream);

/* y = scale[i] (x + x2) for sample i: stochastic depth, forward (x2 NULL) and backward. 2 s bytes. */
struct imk_cuda_droppath {
    int n;
    size_t per_sample; /* elements */
    enum imk_dtype type;
    const void *x, *x2;
    const float *scale; /* [n] */
    void *y;
};
int imk_cuda_droppath(const struct imk_cuda_droppath *a, struct CUstream_st *stream);

struct imk_cuda_cast {
    size_t count;
    enum imk_dtype x_type, y_type;
    const void *x;
    void *y; /* not x, unless the types are equal */
};
int imk_cuda_cast(const struct imk_cuda_cast *a, struct CUstream_st *stream);

/* y[row][k] += b[k], k < c. */
struct imk_cuda_bias {
    int64_t rows;
    int c, pitch;
    enum imk_dtype type;
    const float *b;
    void *y;
};
int imk_cuda_bias(const struct imk_cuda_bias *a, struct CUstream_st *stream);

/* sums[k] = sum over the rows of x[row][k] (+ x2[row][k]): the gradient of the bias. One block for 32
 * columns: meant for as many rows as a batch has samples. */
struct imk_cuda_column_sums {
    int64_t rows;
    int c, pitch;
    enum imk_dtype type;
    const void *x, *x2; /* x2: NULL or a second contribution */
    float *sums;        /* [c], overwritten */
};
int imk_cuda_column_sums(const struct imk_cuda_column_sums *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
