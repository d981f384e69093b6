/* Batch norm over the rows (n * h * w pixels) of each channel: the formulas of trainer/backends/ref/norm.c. For
 * evaluation, and for training where cuDNN's engines take neither the shape nor the type.
 *
 * Training forward: stats, then apply. Backward: sums, then dx. With the values of several ranks, `sums` of
 * both are added up over the ranks in between by the caller, and finish makes the statistics of stats'. Those
 * are doubles: a variance from sums of squares keeps 9 digits where the mean is 3000 deviations.
 *
 * Statistics are taken in two stages: each thread sums (x - k) and (x - k)^2 with the first of its own values
 * as k, which keeps the variance when the mean is large; partial means and squares are joined by Chan's
 * formula, in double, in a fixed order. */
#ifndef KERNELS_CUDA_NORM_H
#define KERNELS_CUDA_NORM_H

#include <stdbool.h>

#include "kernels/cuda/pool.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A value seen as rows of channels. */
struct imk_cuda_rows {
    int64_t rows; /* n * h * w */
    int c, pitch;
    enum imk_dtype type;
};

/* Bytes of scratch for stats and sums (the stem's too), aligned to 16. */
size_t imk_cuda_bn_scratch(const struct imk_cuda_rows *shape);

/* mean and population variance of each channel; s bytes an element. */
struct imk_cuda_bn_stats {
    struct imk_cuda_rows shape;
    const void *x;
    float *mean;               /* NULL: not wanted */
    float *var;                /* NULL: not wanted */
    float *inv;                /* 1 / sqrt(var + eps); NULL: not wanted */
    float *run_mean, *run_var; /* run <- (1 - momentum) run + momentum batch, variance with rows - 1;
                                  both NULL: left alone */
    double *sums; /* [2 c + 1]: of the values, then of their squares, then their count; NULL: not wanted */
    float eps, momentum;
    void *scratch;
};
int imk_cuda_bn_stats(const struct imk_cuda_bn_stats *a, struct CUstream_st *stream);

/* The end of stats, for values whose sums were added up over several ranks. */
struct imk_cuda_bn_finish {
    int c;
    const double *sums; /* [2 c + 1], as stats writes them */
    float *mean, *inv;
    double *count;             /* of the values, for dx */
    float *run_mean, *run_var; /* both NULL: left alone */
    float eps, momentum;
};
int imk_cuda_bn_finish(const struct imk_cuda_bn_finish *a, struct CUstream_st *stream);

/* Per-channel numbers that a value is normalised with: gamma (x - mean) * inv + beta. */
struct imk_cuda_affine {
    const float *mean;
    const float *inv; /* NULL: 1 / sqrt(var + eps) is taken, for evaluation with running statistics */
    const float *var;
    const float *gamma, *beta;
    float eps;
};

/* y = gamma (x - mean) inv + beta (+ z), then ReLU. 2 s (3 s with z) bytes an element, 1 bit for the mask. y
 * may be x or z. */
struct imk_cuda_bn_apply {
    struct imk_cuda_rows shape;
    struct imk_cuda_affine affine;
    const void *x;
    const void *z; /* NULL: nothing is added */
    void *y;
    bool relu;
    uint8_t *mask; /* with relu: imk_cuda_mask_bytes(rows, pitch); NULL: not wanted */
};
int imk_cuda_bn_apply(const struct imk_cuda_bn_apply *a, struct CUstream_st *stream);

/* dgamma = sum dy xhat, dbeta = sum dy, dy behind the ReLU. 2 s bytes an element (3 s with dy2). */
struct imk_cuda_bn_sums {
    struct imk_cuda_rows shape;
    const void *x, *dy, *dy2; /* dy2: NULL or a second contribution */
    const uint8_t *mask;      /* NULL: no ReLU */
    const float *mean, *inv;
    float *dgamma, *dbeta; /* overwritten */
    float *sums; /* [2 c]: dgamma, then dbeta, once more, to be added up over ranks; NULL: not wanted */
    void *scratch;
};
int imk_cuda_bn_sums(const struct imk_cuda_bn_sums *a, struct CUstream_st *stream);

/* dx = gamma inv (dy - dbeta / m - xhat dgamma / m), and dz = dy behind the ReLU: the gradient of what was
 * added. 3 s bytes an element, s more for each of dy2 and dz. dx may be dy, dy2 or x; dz too, but not dx. */
struct imk_cuda_bn_dx {
    struct imk_cuda_rows shape;
    const void *x, *dy, *dy2;
    const uint8_t *mask;
    const float *mean, *inv, *gamma;
    const float *dgamma, *dbeta; /* of all ranks' values */
    const double *count;         /* m: all ranks' values; NULL: rows */
    void *dx;
    void *dz; /* NULL: not wanted */
    /* Not NULL: the statistics are constants, dx = gamma / sqrt(var + eps) dy; x, mean, inv, dgamma and dbeta are
     * not read. */
    const float *var;
    float eps;
};
int imk_cuda_bn_dx(const struct imk_cuda_bn_dx *a, struct CUstream_st *stream);

/* The stem's batch norm, ReLU and max-pool as one: the normalised value is never stored. Forward is that of
 * bn_apply and maxpool, bit for bit (each value is rounded to the type before it is compared); place is
 * IMK_CUDA_NO_PLACE where the largest value is not above 0, so that no gradient passes. n * h * w is below
 * 2^31. With s bytes an element of x and a pool of stride 2: 1.25 s + 0.25 bytes forward. */
#define IMK_CUDA_NO_PLACE 255

struct imk_cuda_stem {
    struct imk_cuda_window window; /* of the max-pool */
    int c;
    struct imk_cuda_affine affine;
    const void *x;
    void *y;
    uint8_t *place; /* NULL in evaluation */
};
int imk_cuda_stem(const struct imk_cuda_stem *a, struct CUstream_st *stream);

/* As bn_sums and bn_dx, with the gradient of the normalised value gathered from that of the pooled one, fp32,
 * never stored. Each 1.5 s + 0.25 bytes and s more for dx. */
struct imk_cuda_stem_sums {
    struct imk_cuda_window window;
    int c;
    const void *x, *dy, *dy2;
    const uint8_t *place;
    const float *mean, *inv;
    float *dgamma, *dbeta; /* overwritten */
    float *sums;           /* as bn_sums */
    void *scratch;         /* imk_cuda_bn_scratch of x */
};
int imk_cuda_stem_sums(const struct imk_cuda_stem_sums *a, struct CUstream_st *stream);

struct imk_cuda_stem_dx {
    struct imk_cuda_window window;
    int c;
    const void *x, *dy, *dy2;
    const uint8_t *place;
    const float *mean, *inv, *gamma;
    const float *dgamma, *dbeta; /* of all ranks' values */
    const double *count;         /* NULL: n * h * w */
    void *dx;                    /* may be x */
    const float *var;            /* as bn_dx */
    float eps;
};
int imk_cuda_stem_dx(const struct imk_cuda_stem_dx *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
