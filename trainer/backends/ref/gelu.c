/* Reference GELU (Hendrycks and Gimpel 2016), the exact form: x times the distribution function of the normal
 * distribution at x, with a bias of each channel added to x first. */
#include "trainer/backends/ref/ops.h"

#include <math.h>
#include <stdbool.h>

static double below(double v)
{
    return 0.5 * erfc(-v * M_SQRT1_2);
}

static double slope(double v)
{
    return below(v) + v * exp(-v * v / 2) * 0.5 * M_SQRT1_2 * M_2_SQRTPI;
}

/* Of value i, with its bias. */
static double value_at(const struct tr_op *op, const struct tr_exec *e, size_t i)
{
    const size_t area = (size_t)op->x.h * (size_t)op->x.w;
    const double bias = op->biased ? (double)e->b[i / area % (size_t)op->x.c] : 0;

    return (double)((const float *)e->x)[i] + bias;
}

void tr_ref_gelu_forward(const struct tr_op *op, const struct tr_exec *e)
{
    float *y = e->y;

    for (size_t i = 0; i < tr_count(op->y); i++) {
        const double v = value_at(op, e, i);

        y[i] = (float)(v * below(v));
    }
}

static double bias_gradient(const struct tr_op *op, const struct tr_exec *e, int c)
{
    double sum = 0;

    for (int n = 0; n < op->x.n; n++)
        for (int at = 0; at < op->x.h * op->x.w; at++) {
            const size_t i = tr_at(op->x, n, c, 0, at);

            sum += tr_dy(e, i) * slope(value_at(op, e, i));
        }
    return sum;
}

void tr_ref_gelu_backward(const struct tr_op *op, const struct tr_exec *e)
{
    float *dx = e->dx;

    for (int c = 0; c < op->x.c && op->biased && !op->frozen; c++)
        e->db[c] = (float)bias_gradient(op, e, c);
    for (size_t i = 0; i < tr_count(op->y); i++)
        dx[i] = (float)(tr_dy(e, i) * slope(value_at(op, e, i)));
}
