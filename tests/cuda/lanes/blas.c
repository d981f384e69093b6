/* cublas.h on the host, by the reference. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"
#include "tests/cuda/lanes/number.h"
#include "trainer/backends/cuda/cublas.h"
#include "trainer/backends/ref/ops.h"

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
    if (shape->add)
        return im_fail(text, -ENOTSUP, "no product of the backend adds to what is there");
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

/* As [rows][columns], of what is stored so or transposed. */
static float *load_matrix(enum imk_dtype type, const void *values, size_t rows, size_t columns,
                          bool transposed)
{
    float *stored = number_load(type, values, rows * columns), *plain;

    if (!transposed)
        return stored;
    plain = malloc((rows * columns + 1) * sizeof(float));
    im_assert(plain);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++)
            plain[i * columns + j] = stored[j * rows + i];
    free(stored);
    return plain;
}

/* The reference's fully connected layer: a' is its input [m][k], b' transposed its weights [n][k]. */
static void run_gemm(const void *args)
{
    const struct gemm_run *r = args;
    const struct tr_blas_gemm_shape *s = &r->s;
    const size_t m = (size_t)s->m, n = (size_t)s->n, k = (size_t)s->k;
    const struct tr_op op = {.kind = TR_OP_FC, .x = {s->m, s->k, 1, 1}, .y = {s->m, s->n, 1, 1}};
    float *a = load_matrix(s->type, r->a, m, k, s->a_transposed);
    float *b = load_matrix(s->type, r->b, n, k, !s->b_transposed);
    float *none = calloc(n, sizeof(float)), *c = malloc(m * n * sizeof(float));

    im_assert(none && c);
    tr_ref_fc_forward(&op, &(struct tr_exec){.x = a, .w = b, .b = s->bias ? r->bias : none, .y = c});
    number_store(s->c_type, r->c, c, m * n);
    free(a);
    free(b);
    free(none);
    free(c);
}

int tr_blas_gemm_run(struct tr_blas *blas, struct tr_blas_gemm *gemm, const void *a, const void *b,
                     const float *bias, void *c)
{
    const struct gemm_run r = {.s = gemm->s, .a = a, .b = b, .bias = bias, .c = c};

    im_assert((((size_t)a | (size_t)b | (size_t)c) & 15) == 0);
    return host_gpu_enqueue(tr_gpu_stream(blas->gpu, TR_GPU_COMPUTE), run_gemm, &r, sizeof r);
}
