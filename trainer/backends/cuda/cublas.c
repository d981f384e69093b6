/* Matrix products with cuBLASLt. The only file that includes cublasLt.h.
 *
 * cuBLASLt is column-major: a row-major matrix is the transpose of a column-major one with the same bytes. So
 * c = a' b' is computed as c^T = b'^T a'^T: the operands swap, and a transposed operand stays transposed. A
 * bias along our columns runs along cuBLASLt's rows, which is what its bias epilogue adds.
 *
 * The heuristic proposes up to PROPOSALS algorithms; they are timed on scratch memory and the fastest is
 * kept. With `deterministic` the first is used and nothing is timed. Split-K partial sums are kept in fp32
 * and reduced in a fixed order: the reduction schemes that accumulate in the output type, or in place, are
 * excluded. */
#include "trainer/backends/cuda/cublas.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include <cublasLt.h>

#include "ipc/base/err.h"

#define WORKSPACE ((size_t)32 << 20)
#define PROPOSALS 16
#define SHOTS 5

struct tr_blas {
    struct tr_gpu *gpu;
    cublasLtHandle_t handle;
    void *workspace;
    bool deterministic, tf32;
};

struct tr_blas_gemm {
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t left, right, out; /* in cuBLASLt's order: left is b, right is a */
    cublasLtMatmulAlgo_t algorithm;
    struct tr_blas_gemm_shape shape;
};

static int blas_fail(struct im_text *text, const char *what, cublasStatus_t status)
{
    int err = status == CUBLAS_STATUS_NOT_SUPPORTED  ? -ENOTSUP
              : status == CUBLAS_STATUS_ALLOC_FAILED ? -ENOMEM
                                                     : -EIO;

    return im_fail(text, err, "cuBLASLt: %s: %s", what, cublasLtGetStatusString(status));
}

int tr_blas_open(const struct tr_blas_config *config, struct tr_blas **ret_blas, struct im_text *text)
{
    struct tr_blas *blas = calloc(1, sizeof *blas);
    cublasStatus_t status;
    int err;

    if (!blas)
        return im_fail(text, -ENOMEM, "no memory for cuBLASLt's handle");
    blas->gpu = config->gpu;
    blas->deterministic = config->deterministic;
    blas->tf32 = config->tf32;
    status = cublasLtCreate(&blas->handle);
    if (status != CUBLAS_STATUS_SUCCESS) {
        free(blas);
        return blas_fail(text, "cannot create a handle", status);
    }
    err = tr_gpu_memory_new(blas->gpu, WORKSPACE, "cuBLASLt's workspace", &blas->workspace, text);
    if (err < 0) {
        tr_blas_close(blas);
        return err;
    }
    *ret_blas = blas;
    return 0;
}

void tr_blas_close(struct tr_blas *blas)
{
    if (!blas)
        return;
    tr_gpu_memory_free(blas->gpu, blas->workspace);
    cublasLtDestroy(blas->handle);
    free(blas);
}

static cudaDataType_t data_type(enum imk_dtype type)
{
    static const cudaDataType_t types[IMK_DTYPES] = {
        [IMK_F32] = CUDA_R_32F, [IMK_BF16] = CUDA_R_16BF, [IMK_F16] = CUDA_R_16F};

    return types[type];
}

/* Sets one attribute of the operation; keeps the first failure. */
static void set_attribute(cublasStatus_t *status, cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name,
                          const void *value, size_t bytes)
{
    if (*status == CUBLAS_STATUS_SUCCESS)
        *status = cublasLtMatmulDescSetAttribute(d, name, value, bytes);
}

static void make_layout(cublasStatus_t *status, enum imk_dtype type, int rows, int columns,
                        cublasLtMatrixLayout_t *ret_layout)
{
    if (*status == CUBLAS_STATUS_SUCCESS)
        *status =
            cublasLtMatrixLayoutCreate(ret_layout, data_type(type), (uint64_t)rows, (uint64_t)columns, rows);
}

/* A row-major matrix of rows x columns is a column-major one of columns x rows in cuBLASLt. */
static cublasStatus_t blas_describe(const struct tr_blas *blas, struct tr_blas_gemm *g)
{
    const struct tr_blas_gemm_shape *s = &g->shape;
    cublasComputeType_t compute =
        s->type == IMK_F32 && blas->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    cublasOperation_t left = s->b_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasOperation_t right = s->a_transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType_t bias = CUDA_R_32F;
    cublasStatus_t status = cublasLtMatmulDescCreate(&g->operation, compute, CUDA_R_32F);

    set_attribute(&status, g->operation, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left);
    set_attribute(&status, g->operation, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right);
    if (s->bias) {
        set_attribute(&status, g->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
        set_attribute(&status, g->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias, sizeof bias);
    }
    make_layout(&status, s->type, s->b_transposed ? s->k : s->n, s->b_transposed ? s->n : s->k, &g->left);
    make_layout(&status, s->type, s->a_transposed ? s->m : s->k, s->a_transposed ? s->k : s->m, &g->right);
    make_layout(&status, s->c_type, s->n, s->m, &g->out);
    return status;
}

static void prefer(cublasStatus_t *status, cublasLtMatmulPreference_t p,
                   cublasLtMatmulPreferenceAttributes_t name, const void *value, size_t bytes)
{
    if (*status == CUBLAS_STATUS_SUCCESS)
        *status = cublasLtMatmulPreferenceSetAttribute(p, name, value, bytes);
}

static cublasStatus_t propose(const struct tr_blas *blas, const struct tr_blas_gemm *g,
                              cublasLtMatmulHeuristicResult_t *results, int *ret_count)
{
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, alignment = 16;
    uint64_t workspace = WORKSPACE;
    cublasLtMatmulPreference_t preference;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);

    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment, sizeof alignment);
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignment, sizeof alignment);
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment, sizeof alignment);
    prefer(&status, preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment, sizeof alignment);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(blas->handle, g->operation, g->left, g->right, g->out, g->out,
                                                preference, PROPOSALS, results, ret_count);
    cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

static cublasStatus_t multiply(struct tr_blas *blas, struct tr_blas_gemm *g, const void *a, const void *b,
                               const float *bias, void *c)
{
    float one = 1, beta = g->shape.add ? 1 : 0;
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;

    if (g->shape.bias)
        set_attribute(&status, g->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    return cublasLtMatmul(blas->handle, g->operation, &one, b, g->left, a, g->right, &beta, c, g->out, c,
                          g->out, &g->algorithm, blas->workspace, WORKSPACE,
                          tr_gpu_stream(blas->gpu, TR_GPU_COMPUTE));
}

/* Memory and events for timing. */
struct bench {
    void *a, *b, *c, *bias;
    struct tr_gpu_event *from, *to;
};

static void bench_fini(struct tr_gpu *gpu, struct bench *t)
{
    tr_gpu_memory_free(gpu, t->a);
    tr_gpu_memory_free(gpu, t->b);
    tr_gpu_memory_free(gpu, t->c);
    tr_gpu_memory_free(gpu, t->bias);
    tr_gpu_event_free(gpu, t->from);
    tr_gpu_event_free(gpu, t->to);
}

static int bench_init(struct tr_gpu *gpu, const struct tr_blas_gemm_shape *s, struct bench *t,
                      struct im_text *text)
{
    size_t m = (size_t)s->m, n = (size_t)s->n, k = (size_t)s->k, size = imk_dtype_bytes(s->type);
    int err = tr_gpu_memory_new(gpu, m * k * size, "timing a matrix product", &t->a, text);

    if (err == 0)
        err = tr_gpu_memory_new(gpu, k * n * size, "timing a matrix product", &t->b, text);
    if (err == 0)
        err = tr_gpu_memory_new(gpu, m * n * imk_dtype_bytes(s->c_type), "timing a matrix product", &t->c,
                                text);
    if (err == 0)
        err = tr_gpu_memory_new(gpu, n * sizeof(float), "timing a matrix product", &t->bias, text);
    if (err == 0)
        err = tr_gpu_event_new(gpu, TR_GPU_TIMED, &t->from);
    if (err == 0)
        err = tr_gpu_event_new(gpu, TR_GPU_TIMED, &t->to);
    return err;
}

/* Time of SHOTS products after one warm-up run. -ENOTSUP: the algorithm does not run. */
static int blas_time(struct tr_blas *blas, struct tr_blas_gemm *g, const struct bench *t, uint64_t *ret_ns)
{
    struct tr_gpu *gpu = blas->gpu;
    int err = 0;

    for (int i = 0; i <= SHOTS && err == 0; i++) {
        if (i == 1)
            err = tr_gpu_event_record(gpu, t->from, TR_GPU_COMPUTE);
        if (err == 0 && multiply(blas, g, t->a, t->b, t->bias, t->c) != CUBLAS_STATUS_SUCCESS)
            err = -ENOTSUP;
    }
    if (err == 0)
        err = tr_gpu_event_record(gpu, t->to, TR_GPU_COMPUTE);
    if (err == 0)
        err = tr_gpu_event_sync(gpu, t->to);
    return err < 0 ? err : tr_gpu_elapsed(gpu, t->from, t->to, ret_ns);
}

static int blas_choose(struct tr_blas *blas, struct tr_blas_gemm *g,
                       const cublasLtMatmulHeuristicResult_t *results, int count, struct im_text *text)
{
    uint64_t best_ns = UINT64_MAX, ns;
    struct bench bench = {0};
    int best = -1, err;

    err = bench_init(blas->gpu, &g->shape, &bench, text);
    for (int i = 0; i < count && err == 0; i++) {
        g->algorithm = results[i].algo;
        err = blas_time(blas, g, &bench, &ns);
        if (err == 0 && ns < best_ns) {
            best_ns = ns;
            best = i;
        }
        if (err == -ENOTSUP)
            err = 0; /* only this algorithm failed */
    }
    bench_fini(blas->gpu, &bench);
    if (err == -EIO)
        tr_gpu_last_error(blas->gpu, text);
    if (err < 0)
        return err;
    if (best < 0)
        return im_fail(text, -ENOTSUP, "cuBLASLt: none of the %d proposed algorithms runs", count);
    g->algorithm = results[best].algo;
    return 0;
}

int tr_blas_gemm_new(struct tr_blas *blas, const struct tr_blas_gemm_shape *shape,
                     struct tr_blas_gemm **ret_gemm, struct im_text *text)
{
    cublasLtMatmulHeuristicResult_t results[PROPOSALS];
    struct tr_blas_gemm *g = calloc(1, sizeof *g);
    cublasStatus_t status;
    int count = 0, err = 0;

    im_assert(!(shape->bias && shape->add));
    if (!g)
        return im_fail(text, -ENOMEM, "no memory for a matrix product");
    g->shape = *shape;
    status = blas_describe(blas, g);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = propose(blas, g, results, &count);
    if (status == CUBLAS_STATUS_SUCCESS && count == 0)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (status != CUBLAS_STATUS_SUCCESS) {
        err = im_fail(text, -ENOTSUP,
                      "cuBLASLt has no algorithm for the product %d x %d x %d of %s to %s%s: %s", shape->m,
                      shape->n, shape->k, tr_gpu_dtype_name(shape->type), tr_gpu_dtype_name(shape->c_type),
                      shape->bias ? " with bias" : "", cublasLtGetStatusString(status));
    } else if (blas->deterministic || shape->untimed) {
        g->algorithm = results[0].algo;
    } else {
        err = blas_choose(blas, g, results, count, text);
    }
    if (err < 0) {
        tr_blas_gemm_free(blas, g);
        return err;
    }
    *ret_gemm = g;
    return 0;
}

void tr_blas_gemm_free(struct tr_blas *blas, struct tr_blas_gemm *g)
{
    (void)blas;
    if (!g)
        return;
    if (g->operation)
        cublasLtMatmulDescDestroy(g->operation);
    if (g->left)
        cublasLtMatrixLayoutDestroy(g->left);
    if (g->right)
        cublasLtMatrixLayoutDestroy(g->right);
    if (g->out)
        cublasLtMatrixLayoutDestroy(g->out);
    free(g);
}

int tr_blas_gemm_run(struct tr_blas *blas, struct tr_blas_gemm *g, const void *a, const void *b,
                     const float *bias, void *c)
{
    cublasStatus_t status = multiply(blas, g, a, b, bias, c);

    if (status == CUBLAS_STATUS_SUCCESS)
        return 0;
    return tr_gpu_fail(blas->gpu, status == CUBLAS_STATUS_NOT_SUPPORTED ? -ENOTSUP : -EIO,
                       "the matrix product %d x %d x %d failed: cuBLASLt: %s", g->shape.m, g->shape.n,
                       g->shape.k, cublasLtGetStatusString(status));
}
