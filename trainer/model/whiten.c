#include "trainer/model/whiten.h"

#include <math.h>
#include <string.h>

#include "ipc/base/err.h"

#define WHITEN_EPS 5e-4 /* added to the mean squares: what hardly varies is not blown up */

enum { SWEEPS_MAX = 50 }; /* of Jacobi's rotations; 12 numbers take 7 */

/* The patch whose first pixel is (row, column). */
static void read_patch(const struct tr_patch_images *images, const uint8_t *image, int side, int row,
                       int column, double *x)
{
    for (int c = 0; c < 3; c++)
        for (int r = 0; r < side; r++)
            for (int s = 0; s < side; s++) {
                const uint8_t pixel =
                    image[((size_t)(row + r) * (size_t)images->size + (size_t)(column + s)) * 3 + (size_t)c];

                *x++ = (pixel / 255.0 - (double)images->mean[c]) / (double)images->std[c];
            }
}

static void add_patch(struct tr_patches *p, const double *x)
{
    for (int i = 0; i < p->numbers; i++)
        for (int j = 0; j <= i; j++)
            p->products[i * p->numbers + j] += x[i] * x[j];
    p->count++;
}

void tr_patches_add(struct tr_patches *p, const struct tr_patch_images *images)
{
    const size_t bytes = (size_t)images->size * (size_t)images->size * 3;
    double x[TR_PATCH_NUMBERS];

    im_assert(p->side >= 1 && p->side <= TR_PATCH_MAX && p->numbers == 3 * p->side * p->side);
    for (int n = 0; n < images->n; n++) {
        if (images->valid && !images->valid[n])
            continue;
        for (int row = 0; row + p->side <= images->size; row++)
            for (int column = 0; column + p->side <= images->size; column++) {
                read_patch(images, images->pixels + (size_t)n * bytes, p->side, row, column, x);
                add_patch(p, x);
            }
    }
    for (int i = 0; i < p->numbers; i++)
        for (int j = 0; j < i; j++)
            p->products[j * p->numbers + i] = p->products[i * p->numbers + j];
}

/* A symmetric matrix, which becomes diagonal, and its eigenvectors, in columns. */
struct symmetric {
    int n;
    double a[TR_PATCH_NUMBERS * TR_PATCH_NUMBERS], v[TR_PATCH_NUMBERS * TR_PATCH_NUMBERS];
};

/* Columns p and q of m become c m[p] - s m[q] and s m[p] + c m[q]. */
static void turn_columns(double *m, int n, int p, int q, double c, double s)
{
    for (int i = 0; i < n; i++) {
        const double at_p = m[i * n + p], at_q = m[i * n + q];

        m[i * n + p] = c * at_p - s * at_q;
        m[i * n + q] = s * at_p + c * at_q;
    }
}

static void turn_rows(double *m, int n, int p, int q, double c, double s)
{
    for (int i = 0; i < n; i++) {
        const double at_p = m[p * n + i], at_q = m[q * n + i];

        m[p * n + i] = c * at_p - s * at_q;
        m[q * n + i] = s * at_p + c * at_q;
    }
}

/* Makes a[p][q] 0 (Golub and Van Loan 2013, "Matrix computations", section 8.5.2). */
static void rotate(struct symmetric *m, int p, int q)
{
    const double apq = m->a[p * m->n + q];
    const double tau = (m->a[q * m->n + q] - m->a[p * m->n + p]) / (2 * apq);
    const double t = (tau >= 0 ? 1 : -1) / (fabs(tau) + sqrt(1 + tau * tau));
    const double c = 1 / sqrt(1 + t * t), s = t * c;

    turn_columns(m->a, m->n, p, q, c, s);
    turn_rows(m->a, m->n, p, q, c, s);
    turn_columns(m->v, m->n, p, q, c, s);
    m->a[p * m->n + q] = m->a[q * m->n + p] = 0;
}

/* Jacobi's method: sweeps over all pairs, until what is left beside the diagonal does not count. */
static void diagonalise(struct symmetric *m)
{
    memset(m->v, 0, sizeof m->v);
    for (int i = 0; i < m->n; i++)
        m->v[i * m->n + i] = 1;
    for (int sweep = 0; sweep < SWEEPS_MAX; sweep++) {
        bool turned = false;

        for (int p = 0; p < m->n; p++)
            for (int q = p + 1; q < m->n; q++) {
                const double least = 1e-15 * sqrt(fabs(m->a[p * m->n + p] * m->a[q * m->n + q]));

                if (!(fabs(m->a[p * m->n + q]) > least))
                    continue;
                rotate(m, p, q);
                turned = true;
            }
        if (!turned)
            return;
    }
}

/* order[i]: the column with the i-th largest eigenvalue. */
static void sort(const struct symmetric *m, int *order)
{
    for (int i = 0; i < m->n; i++) {
        int at = i;

        for (; at > 0 && m->a[order[at - 1] * (m->n + 1)] < m->a[i * (m->n + 1)]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

void tr_whiten(const struct tr_patches *p, float *filters)
{
    struct symmetric m = {.n = p->numbers};
    const int n = p->numbers;
    int order[TR_PATCH_NUMBERS];

    for (int i = 0; i < n * n; i++)
        m.a[i] = p->count > 0 ? p->products[i] / p->count : i % (n + 1) == 0;
    diagonalise(&m);
    sort(&m, order);
    for (int k = 0; k < n; k++) {
        const double square = m.a[order[k] * (n + 1)],
                     over = 1 / sqrt((square > 0 ? square : 0) + WHITEN_EPS);

        for (int i = 0; i < n; i++) {
            filters[k * n + i] = (float)(m.v[i * n + order[k]] * over);
            filters[(n + k) * n + i] = -filters[k * n + i];
        }
    }
}
