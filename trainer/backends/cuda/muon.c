/* Muon's steps of a network's matrices: kernels/cuda/muon.h has the order. Products are cuBLASLt's, in
 * bf16 where activations are bf16 and in fp32 elsewhere, by an algorithm that is the same on all ranks,
 * whose weights must stay equal to the bit. All matrices take their turn in the same memory. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "kernels/cuda/arena.h"
#include "kernels/cuda/muon.h"
#include "kernels/muon.h"
#include "trainer/backends/cuda/impl.h"

/* The products of the matrices of one shape. */
struct tr_cuda_muon {
    int rows, columns; /* rows <= columns */
    struct tr_blas_gemm *gram, *square, *next;
    struct tr_cuda_muon *others;
};

/* Parts of the scratch memory. */
struct parts {
    double *squares;
    float *direction;
    char *x, *next, *gram, *q;
};

static int shorter(const struct tr_span *s)
{
    return s->rows < s->columns ? s->rows : s->columns;
}

static int longer(const struct tr_span *s)
{
    return s->rows < s->columns ? s->columns : s->rows;
}

static enum imk_dtype type_of(const struct tr_backend *b)
{
    return b->config.precision == IMK_BF16 ? IMK_BF16 : IMK_F32;
}

static size_t room(size_t elements, size_t size)
{
    return (elements * size + 255) / 256 * 256;
}

/* The end of each part, in bytes, for matrices up to `count` elements and `side`, the longest shorter
 * side. */
static void ends_of(enum imk_dtype type, size_t count, size_t side, size_t ends[6])
{
    const size_t size = imk_dtype_bytes(type);

    ends[0] = room(1, sizeof(double));
    ends[1] = ends[0] + room(count, sizeof(float));
    ends[2] = ends[1] + room(count, size);
    ends[3] = ends[2] + room(count, size);
    ends[4] = ends[3] + room(side * side, size);
    ends[5] = ends[4] + room(side * side, size);
}

static struct parts parts_of(const struct tr_backend *b)
{
    char *memory = b->muon_scratch.memory;
    size_t ends[6];

    ends_of(type_of(b), b->muon_count, b->muon_side, ends);
    return (struct parts){.squares = (double *)(void *)memory,
                          .direction = (float *)(void *)(memory + ends[0]),
                          .x = memory + ends[1],
                          .next = memory + ends[2],
                          .gram = memory + ends[3],
                          .q = memory + ends[4]};
}

static void free_products(struct tr_backend *b, struct tr_cuda_muon *p)
{
    tr_blas_gemm_free(b->blas, p->gram);
    tr_blas_gemm_free(b->blas, p->square);
    tr_blas_gemm_free(b->blas, p->next);
    free(p);
}

static struct tr_cuda_muon *find_products(const struct tr_backend *b, const struct tr_span *s)
{
    struct tr_cuda_muon *p = b->muon;

    while (p && !(p->rows == shorter(s) && p->columns == longer(s)))
        p = p->others;
    return p;
}

static int make_products(struct tr_backend *b, const struct tr_span *s)
{
    const int m = shorter(s), n = longer(s);
    const enum imk_dtype type = type_of(b);
    const struct tr_blas_gemm_shape gram = {
        .m = m, .n = m, .k = n, .b_transposed = true, .type = type, .c_type = type, .untimed = true};
    const struct tr_blas_gemm_shape square = {
        .m = m, .n = m, .k = m, .type = type, .c_type = type, .untimed = true};
    const struct tr_blas_gemm_shape next = {
        .m = m, .n = n, .k = m, .type = type, .c_type = type, .untimed = true};
    struct tr_cuda_muon *p = calloc(1, sizeof *p);
    int err = p ? tr_blas_gemm_new(b->blas, &gram, &p->gram, NULL) : -ENOMEM;

    if (err == 0)
        err = tr_blas_gemm_new(b->blas, &square, &p->square, NULL);
    if (err == 0)
        err = tr_blas_gemm_new(b->blas, &next, &p->next, NULL);
    if (err < 0) {
        if (p)
            free_products(b, p);
        return err;
    }
    p->rows = m;
    p->columns = n;
    p->others = b->muon;
    b->muon = p;
    return 0;
}

int tr_cuda_muon_prepare(struct tr_backend *b, const struct tr_span *spans, size_t count)
{
    size_t most = 0, side = 0, ends[6];
    int err = 0;

    for (size_t i = 0; i < count && err == 0; i++) {
        const struct tr_span *s = &spans[i];
        const size_t elements = (size_t)s->rows * (size_t)s->columns;

        if (s->rows == 0)
            continue;
        most = elements > most ? elements : most;
        side = (size_t)shorter(s) > side ? (size_t)shorter(s) : side;
        if (!find_products(b, s))
            err = make_products(b, s);
    }
    b->muon_count = most;
    b->muon_side = side;
    ends_of(type_of(b), most, side, ends);
    return err < 0 ? err
                   : tr_cuda_buffer_grow(b, &b->muon_scratch, ends[5], false, "Muon's scratch memory", NULL);
}

static int muon_begin(struct tr_backend *b, const struct tr_cuda_muon_args *a, const struct tr_span *s,
                      const struct parts *at)
{
    const size_t count = (size_t)s->rows * (size_t)s->columns;
    int err = imk_cuda_muon_begin(&(struct imk_cuda_muon_begin){.m = a->u->m + s->first,
                                                                .g = a->u->g + s->first,
                                                                .direction = at->direction,
                                                                .count = count,
                                                                .hyper = a->hyper,
                                                                .verdict = a->verdict},
                                  tr_cuda_stream(b));

    if (err == 0)
        err = imk_cuda_sum_squares(
            &(struct imk_cuda_sum_squares){
                .x = at->direction, .count = count, .scratch = b->sum_scratch, .squares = at->squares},
            tr_cuda_stream(b));
    return err < 0 ? err
                   : imk_cuda_muon_scale(&(struct imk_cuda_muon_scale){.type = type_of(b),
                                                                       .direction = at->direction,
                                                                       .x = at->x,
                                                                       .rows = (uint32_t)s->rows,
                                                                       .columns = (uint32_t)s->columns,
                                                                       .squares = at->squares},
                                         tr_cuda_stream(b));
}

static int iterate(struct tr_backend *b, const struct tr_cuda_muon *p, struct parts *at)
{
    char *x = at->x;
    int err = tr_blas_gemm_run(b->blas, p->gram, x, x, NULL, at->gram);

    if (err == 0)
        err = tr_blas_gemm_run(b->blas, p->square, at->gram, at->gram, NULL, at->q);
    if (err == 0)
        err = imk_cuda_muon_polynomial(
            &(struct imk_cuda_muon_polynomial){
                .type = type_of(b), .gram = at->gram, .q = at->q, .side = (uint32_t)p->rows},
            tr_cuda_stream(b));
    if (err == 0)
        err = tr_blas_gemm_run(b->blas, p->next, at->q, x, NULL, at->next);
    at->x = at->next;
    at->next = x;
    return err;
}

int tr_cuda_muon_step(struct tr_backend *b, const struct tr_cuda_muon_args *a, const struct tr_span *s)
{
    const struct tr_cuda_muon *p = find_products(b, s);
    struct parts at = parts_of(b);
    int err;

    im_assert(p);
    err = muon_begin(b, a, s, &at);
    for (int i = 0; i < IMK_MUON_STEPS && err == 0; i++)
        err = iterate(b, p, &at);
    if (a->u->muon_fixed_norm && err == 0)
        err =
            imk_cuda_sum_squares(&(struct imk_cuda_sum_squares){.x = a->u->w + s->first,
                                                                .count = (size_t)s->rows * (size_t)s->columns,
                                                                .scratch = b->sum_scratch,
                                                                .squares = at.squares},
                                 tr_cuda_stream(b));
    return err < 0 ? err
                   : imk_cuda_muon_end(
                         &(struct imk_cuda_muon_end){.type = type_of(b),
                                                     .x = at.x,
                                                     .w = a->u->w + s->first,
                                                     .ema = a->ema ? a->ema + s->first : NULL,
                                                     .rows = (uint32_t)s->rows,
                                                     .columns = (uint32_t)s->columns,
                                                     .decays = s->decays,
                                                     .squares = a->u->muon_fixed_norm ? at.squares : NULL,
                                                     .rate = s->rate,
                                                     .hyper = a->hyper,
                                                     .verdict = a->verdict},
                         tr_cuda_stream(b));
}

void tr_cuda_muon_free(struct tr_backend *b)
{
    struct tr_cuda_muon *p;

    while ((p = b->muon)) {
        b->muon = p->others;
        free_products(b, p);
    }
    tr_cuda_buffer_free(b, &b->muon_scratch, false);
}
