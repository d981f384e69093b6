/* Muon's steps of a network's matrices: backend.h has the formula, kernels/muon.h the iteration. fp32.
 *
 * Products are oneDNN's, in stripes of a fixed number of rows, each by one thread: so that the bits do
 * not depend on the number of threads. The polynomial q = a I + b A + c A^2 is made first, then X becomes
 * q X. */
#include <errno.h>
#include <math.h>

#include "kernels/hyper.h"
#include "kernels/muon.h"
#include "trainer/backends/onednn/dnnl.h"
#include "trainer/backends/onednn/loops.h"

enum { STRIPE = 16 }; /* rows of a product that a thread computes at once */

struct matrix {
    int rows, columns; /* rows <= columns */
    float *x, *next;   /* [rows][columns] */
    float *gram, *q;   /* [rows][rows] */
};

static int stripe_count(int rows)
{
    return (rows + STRIPE - 1) / STRIPE;
}

/* Rows from `from` on of c[m][n] = a[m][k] b, b as [k][n] or, transposed, as [n][k]. */
static int multiply_stripe(const float *a, const float *b, char b_as, int m, int n, int k, int from, float *c)
{
    const int rows = m - from < STRIPE ? m - from : STRIPE;

    return tr_dn_gemm(&(struct tr_gemm){.a = 'N',
                                        .b = b_as,
                                        .m = rows,
                                        .n = n,
                                        .k = k,
                                        .A = a + (size_t)from * (size_t)k,
                                        .B = b,
                                        .lda = k,
                                        .ldb = b_as == 'T' ? k : n,
                                        .C = c + (size_t)from * (size_t)n});
}

static int multiply(const float *a, const float *b, char b_as, int m, int n, int k, float *c)
{
    int failed = 0;

#pragma omp parallel for schedule(static) reduction(min : failed)
    for (int i = 0; i < stripe_count(m); i++) {
        const int err = multiply_stripe(a, b, b_as, m, n, k, i * STRIPE, c);

        failed = err < failed ? err : failed;
    }
    return failed;
}

/* q = a I + b A + c q, q being A^2. */
static void make_polynomial(struct matrix *a)
{
    const size_t m = (size_t)a->rows;

    for (size_t i = 0; i < m * m; i++)
        a->q[i] = (float)IMK_MUON_B * a->gram[i] + (float)IMK_MUON_C * a->q[i];
    for (size_t i = 0; i < m; i++)
        a->q[i * m + i] += (float)IMK_MUON_A;
}

static int iterate(struct matrix *a)
{
    const int m = a->rows, n = a->columns;
    float *x = a->x;
    int err = multiply(x, x, 'T', m, m, n, a->gram);

    if (err == 0)
        err = multiply(a->gram, a->gram, 'N', m, m, m, a->q);
    if (err < 0)
        return err;
    make_polynomial(a);
    err = multiply(a->q, x, 'N', m, n, m, a->next);
    a->x = a->next;
    a->next = x;
    return err;
}

/* [columns][rows] from [rows][columns]. */
static void transpose(float *to, const float *from, size_t rows, size_t columns)
{
#pragma omp parallel for schedule(static) if (rows * columns > 1 << 14)
    for (size_t j = 0; j < columns; j++)
        for (size_t i = 0; i < rows; i++)
            to[j * rows + i] = from[i * columns + j];
}

/* Renews the momentum; x becomes what is made orthogonal, divided by its norm. */
static void muon_begin(const struct tr_update *u, const struct tr_span *span, struct matrix *a)
{
    const size_t count = (size_t)span->rows * (size_t)span->columns;
    const float scale = (float)u->grad_scale, mu = (float)u->hyper->muon_momentum;
    const float take = (float)(1 - u->hyper->muon_momentum);
    const float *g = u->g + span->first;
    float *m = u->m + span->first, *x = a->x, *swap, over;

#pragma omp parallel for schedule(static) if (count > 1 << 14)
    for (size_t i = 0; i < count; i++) {
        const float d = scale * g[i];

        m[i] += take * (d - m[i]);
        x[i] = d + mu * (m[i] - d);
    }
    over = (float)(1 / fmax(sqrt(tr_cpu_sum_squares(x, count)), IMK_MUON_EPS));
#pragma omp parallel for schedule(static) if (count > 1 << 14)
    for (size_t i = 0; i < count; i++)
        x[i] *= over;
    if (span->rows > span->columns) {
        transpose(a->next, x, (size_t)span->rows, (size_t)span->columns);
        swap = a->next;
        a->next = x;
        a->x = swap;
    }
}

/* What the weights are multiplied by before the step. */
static double kept(const struct tr_update *u, const struct tr_span *span, double lr)
{
    const size_t count = (size_t)span->rows * (size_t)span->columns;
    double squares;

    if (!u->muon_fixed_norm)
        return 1 - lr * (span->decays ? u->hyper->weight_decay : 0);
    squares = tr_cpu_sum_squares(u->w + span->first, count);
    return squares > 0 ? sqrt(span->rows / squares) : 1;
}

static void finish(const struct tr_update *u, const struct tr_span *span, struct matrix *a)
{
    const size_t count = (size_t)span->rows * (size_t)span->columns;
    const double lr = u->hyper->lr * span->rate;
    const float keep = (float)kept(u, span, lr);
    const float step = (float)(lr * sqrt(fmax(1, (double)span->rows / span->columns)));
    const float *x = a->x;
    float *w = u->w + span->first;

    if (span->rows > span->columns) {
        transpose(a->next, x, (size_t)span->columns, (size_t)span->rows);
        x = a->next;
    }
#pragma omp parallel for schedule(static) if (count > 1 << 14)
    for (size_t i = 0; i < count; i++)
        w[i] = keep * w[i] - step * x[i];
}

static int step_matrix(const struct tr_update *u, const struct tr_span *span, float *memory)
{
    const size_t count = (size_t)span->rows * (size_t)span->columns;
    const bool tall = span->rows > span->columns;
    struct matrix a = {.rows = tall ? span->columns : span->rows,
                       .columns = tall ? span->rows : span->columns,
                       .x = memory,
                       .next = memory + count,
                       .gram = memory + 2 * count};
    int err = 0;

    a.q = a.gram + (size_t)a.rows * (size_t)a.rows;
    muon_begin(u, span, &a);
    for (int i = 0; i < IMK_MUON_STEPS && err == 0; i++)
        err = iterate(&a);
    if (err == 0)
        finish(u, span, &a);
    return err;
}

/* Floats that a matrix needs: twice itself, and twice the product of its shorter side. */
static size_t floats_of(const struct tr_span *span)
{
    const size_t rows = (size_t)span->rows, columns = (size_t)span->columns;
    const size_t least = rows < columns ? rows : columns;

    return 2 * (rows * columns + least * least);
}

int tr_cpu_muon(const struct tr_update *u, int threads)
{
    size_t most = 0;
    float *memory;
    int err = 0;

    for (size_t i = 0; i < u->span_count; i++)
        most = floats_of(&u->spans[i]) > most ? floats_of(&u->spans[i]) : most;
    if (most == 0)
        return 0;
    memory = tr_cpu_alloc(most * sizeof *memory);
    if (!memory)
        return -ENOMEM;
#ifndef _OPENMP
    tr_cpu_set_threads(1); /* there are no stripes in parallel: one thread of oneDNN's for the same bits */
#endif
    for (size_t i = 0; i < u->span_count && err == 0; i++)
        if (u->spans[i].rows > 0)
            err = step_matrix(u, &u->spans[i], memory);
#ifndef _OPENMP
    tr_cpu_set_threads(threads);
#else
    (void)threads;
#endif
    tr_cpu_free(memory);
    return err;
}
