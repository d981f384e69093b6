/* Matrix products with cuBLASLt on one GPU. cublas.c is the only file that includes cublasLt.h.
 *
 * All matrices are row-major and packed, in device memory, aligned to 16 bytes:
 *
 *     c[m][n] = a' b' + bias (+ what c holds, if add)
 *
 * with a' [m][k] stored as a[m][k], or as a[k][m] if a_transposed, and b' [k][n] stored as b[k][n], or as
 * b[n][k] if b_transposed; bias[n] fp32, added to each row. Sums are fp32. So a fully connected layer is
 *
 *     forward   y[n][k]  = x[n][c] w[k][c]^T + b[k]    m = n, n = k, k = c, b_transposed, bias
 *     backward  dx[n][c] = dy[n][k] w[k][c]            m = n, n = c, k = k
 *               dw[k][c] = dy[n][k]^T x[n][c]          m = k, n = c, k = n, a_transposed
 *               db[k]    = ones[1][n] dy[n][k]         m = 1, n = k, k = n (or our own kernel)
 *
 * Any sizes; rows that are not a multiple of 16 bytes use slower kernels. Runs are enqueued on TR_GPU_COMPUTE
 * and may be captured. Errors: 0 or a negative errno; runs leave their sentence for tr_gpu_last_error(). One
 * thread at a time. */
#ifndef TRAINER_BACKENDS_CUDA_CUBLAS_H
#define TRAINER_BACKENDS_CUDA_CUBLAS_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/backends/cuda/device.h"

struct im_text;
struct tr_blas;
struct tr_blas_gemm;

struct tr_blas_config {
    struct tr_gpu *gpu; /* outlives it */
    bool deterministic; /* no timing: always the same algorithm, so the same bits */
    bool tf32;          /* fp32 products may round a and b to tf32 */
};

/* Allocates the workspace of 32 MiB. */
int tr_blas_open(const struct tr_blas_config *config, struct tr_blas **ret_blas, struct im_text *text);
void tr_blas_close(struct tr_blas *blas); /* after all plans are freed; NULL is fine */

struct tr_blas_gemm_shape {
    int m, n, k;
    bool a_transposed, b_transposed;
    enum imk_dtype type;   /* of a and b */
    enum imk_dtype c_type; /* fp32, or that of a and b */
    bool bias, add;        /* not both */
    bool untimed;          /* the first proposed algorithm: the same bits on all GPUs of a kind */
};

/* Selects the fastest algorithm that cuBLASLt proposes, timed on scratch memory; not during capture. */
int tr_blas_gemm_new(struct tr_blas *blas, const struct tr_blas_gemm_shape *shape,
                     struct tr_blas_gemm **ret_gemm, struct im_text *text);
void tr_blas_gemm_free(struct tr_blas *blas, struct tr_blas_gemm *gemm); /* NULL is fine */
int tr_blas_gemm_run(struct tr_blas *blas, struct tr_blas_gemm *gemm, const void *a, const void *b,
                     const float *bias, void *c);

#endif
