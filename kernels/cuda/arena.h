/* Over whole arenas of fp32: sums and averages. */
#ifndef KERNELS_CUDA_ARENA_H
#define KERNELS_CUDA_ARENA_H

#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

/* *squares = the sum of all squares, in double, in a fixed order: finite exactly when all of x is. Two
 * launches; 4 bytes an element. */
struct imk_cuda_sum_squares {
    const float *x;
    size_t count;
    double *scratch; /* IMK_CUDA_SUM_SCRATCH bytes */
    double *squares; /* overwritten */
};
#define IMK_CUDA_SUM_BLOCKS 1024
#define IMK_CUDA_SUM_SCRATCH (IMK_CUDA_SUM_BLOCKS * sizeof(double))
int imk_cuda_sum_squares(const struct imk_cuda_sum_squares *a, struct CUstream_st *stream);

/* y += k (x - y); k of 1 or more copies, whatever was in y. 12 bytes an element. Does nothing when the
 * verdict says to skip. */
struct imk_cuda_lerp {
    float *y;
    const float *x;
    size_t count;
    double k;                               /* where take is NULL */
    const double *take;                     /* k in device memory, such as imk_hyper.ema_weight */
    const struct imk_cuda_verdict *verdict; /* NULL: always */
};
int imk_cuda_lerp(const struct imk_cuda_lerp *a, struct CUstream_st *stream);

/* y += x. 12 bytes an element. */
struct imk_cuda_arena_add {
    float *y;
    const float *x;
    size_t count;
};
int imk_cuda_arena_add(const struct imk_cuda_arena_add *a, struct CUstream_st *stream);

/* y = x if the step is skipped: running statistics as they were before batches that are not to count. */
struct imk_cuda_restore {
    float *y;
    const float *x;
    size_t count;
    const struct imk_cuda_verdict *verdict;
};
int imk_cuda_restore(const struct imk_cuda_restore *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
