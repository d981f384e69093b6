/* cublas.h on the host. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"
#include "tests/cuda/lanes/number.h"
#include "trainer/backends/cuda/cublas.h"

struct tr_blas {
    struct tr_gpu *gpu;
    int plans;
};

struct tr_blas_gemm {
    struct tr_blas_gemm_shape s;
};

int tr_blas_open(const struct tr_blas_config *config, struct tr_blas **ret_blas, struct im_text *text)
{
    *ret_blas = calloc(1, sizeof **ret_blas);
    if (!*ret_blas)
        return im_fail(text, -ENOMEM, "no memory");
    (*ret_blas)->gpu = config->gpu;
    return 0;
}

void tr_blas_close(struct tr_blas *blas)
{
    im_assert(!blas || blas->plans == 0);
    free(blas);
}

int tr_blas_gemm_new(struct tr_blas *blas, const struct tr_blas_gemm_shape *shape,
                     struct tr_blas_gemm **ret_gemm, struct im_text *text)
{
    *ret_gemm = calloc(1, sizeof **ret_gemm);
    if (!*ret_gemm)
        return im_fail(text, -ENOMEM, "no memory");
    (*ret_gemm)->s = *shape;
    blas->plans++;
    return 0;
}

void tr_blas_gemm_free(struct tr_blas *blas, struct tr_blas_gemm *gemm)
{
    if (gemm)
        blas->plans--;
    free(gemm);
}

struct gemm_run {
    struct tr_blas_gemm_shape s;
    const void *a, *b;
    const float *bias;
    void *c;
};

static void run_gemm(const void *args)
{
    const struct gemm_run *r = args;
    const struct tr_blas_gemm_shape *s = &r->s;
    const size_t m = (size_t)s->m, n = (size_t)s->n, k = (size_t)s->k;
    float *a = number_load(s->type, r->a, m * k), *b = number_load(s->type, r->b, k * n);
    float *c = number_load(s->c_type, r->c, m * n);

    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = s->add ? (double)c[i * n + j] : s->bias ? (double)r->bias[j] : 0;

            for (size_t t = 0; t < k; t++)
                sum += (double)a[s->a_transposed ? t * m + i : i * k + t] *
                       (double)b[s->b_transposed ? j * k + t : t * n + j];
            c[i * n + j] = (float)sum;
        }
    }
    number_store(s->c_type, r->c, c, m * n);
    free(a);
    free(b);
    free(c);
}

int tr_blas_gemm_run(struct tr_blas *blas, struct tr_blas_gemm *gemm, const void *a, const void *b,
                     const float *bias, void *c)
{
    const struct gemm_run r = {.s = gemm->s, .a = a, .b = b, .bias = bias, .c = c};

    im_assert((((size_t)a | (size_t)b | (size_t)c) & 15) == 0);
    return host_gpu_enqueue(tr_gpu_stream(blas->gpu, TR_GPU_COMPUTE), run_gemm, &r, sizeof r);
}
