/* Muon's step of one matrix: backend.h has the formula, kernels/muon.h the iteration. All in double. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "kernels/hyper.h"
#include "kernels/muon.h"
#include "trainer/backends/ref/ops.h"

/* a[rows][columns], and what an iteration needs beside it. */
struct matrix {
    size_t rows, columns; /* rows <= columns */
    double *x, *next;     /* [rows][columns] */
    double *gram, *q;     /* [rows][rows] */
};

static void iterate(struct matrix *a)
{
    const size_t m = a->rows, n = a->columns;
    double *x = a->x;

    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++) {
            double sum = 0;

            for (size_t k = 0; k < n; k++)
                sum += x[i * n + k] * x[j * n + k];
            a->gram[i * m + j] = sum;
        }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++) {
            double sum = 0;

            for (size_t k = 0; k < m; k++)
                sum += a->gram[i * m + k] * a->gram[k * m + j];
            a->q[i * m + j] = IMK_MUON_B * a->gram[i * m + j] + IMK_MUON_C * sum;
        }
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = IMK_MUON_A * x[i * n + j];

            for (size_t k = 0; k < m; k++)
                sum += a->q[i * m + k] * x[k * n + j];
            a->next[i * n + j] = sum;
        }
    a->x = a->next;
    a->next = x;
}

/* The place in x of element i of the tensor. */
static size_t place(const struct tr_span *span, size_t i)
{
    const size_t rows = (size_t)span->rows, columns = (size_t)span->columns;

    return rows > columns ? i % columns * rows + i / columns : i;
}

/* What the weights are multiplied by before the step. */
static double kept(const struct tr_update *u, const struct tr_span *span, double lr)
{
    double squares = 0;

    if (!u->muon_fixed_norm)
        return 1 - lr * (span->decays ? u->hyper->weight_decay : 0);
    for (size_t i = 0; i < (size_t)span->rows * (size_t)span->columns; i++)
        squares += (double)u->w[span->first + i] * (double)u->w[span->first + i];
    return squares > 0 ? sqrt(span->rows / squares) : 1;
}

static void step(const struct tr_update *u, const struct tr_span *span, struct matrix *a)
{
    const struct imk_hyper *h = u->hyper;
    const size_t count = a->rows * a->columns;
    const double lr = h->lr * span->rate, keep = kept(u, span, lr);
    const double adjusted = lr * sqrt(fmax(1, (double)span->rows / span->columns));
    double squares = 0;

    for (size_t i = 0; i < count; i++) {
        const double g = u->grad_scale * (double)u->g[span->first + i];
        const double m =
            (double)u->m[span->first + i] + (1 - h->muon_momentum) * (g - (double)u->m[span->first + i]);
        const double x = g + h->muon_momentum * (m - g);

        u->m[span->first + i] = (float)m;
        a->x[place(span, i)] = x;
        squares += x * x;
    }
    for (size_t i = 0; i < count; i++)
        a->x[i] /= fmax(sqrt(squares), IMK_MUON_EPS);
    for (int i = 0; i < IMK_MUON_STEPS; i++)
        iterate(a);
    for (size_t i = 0; i < count; i++)
        u->w[span->first + i] =
            (float)((double)u->w[span->first + i] * keep - adjusted * a->x[place(span, i)]);
}

int tr_ref_muon(const struct tr_update *u, const struct tr_span *span)
{
    const size_t rows = (size_t)span->rows, columns = (size_t)span->columns;
    const size_t least = rows < columns ? rows : columns, count = rows * columns;
    double *memory = malloc((2 * count + 2 * least * least) * sizeof *memory);
    struct matrix a = {.rows = least, .columns = count / least, .x = memory};

    if (!memory)
        return -ENOMEM;
    a.next = memory + count;
    a.gram = memory + 2 * count;
    a.q = a.gram + least * least;
    step(u, span, &a);
    free(memory);
    return 0;
}
