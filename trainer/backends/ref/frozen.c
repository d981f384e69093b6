/* Reference batch norm whose statistics and parameters are constants: y = w (x - run_mean) inv + b (+ x2), then
 * ReLU, with inv = 1 / sqrt(run_var + eps). Backward: dx = w inv dy and dx2 = dy, dy behind the ReLU, which
 * passes it where y is not at or below 0. */
#include "trainer/backends/ref/ops.h"

#include <math.h>

static double slope_of(const struct tr_exec *e, int c)
{
    return (double)e->w[c] / sqrt((double)e->run_var[c] + (double)TR_BN_EPS);
}

void tr_ref_frozen_norm_forward(const struct tr_op *op, const struct tr_exec *e)
{
    const float *x = e->x, *x2 = op->adds ? e->x2 : NULL;
    float *y = e->y;

    for (int n = 0; n < op->x.n; n++) {
        for (int c = 0; c < op->x.c; c++) {
            const double slope = slope_of(e, c);

            for (int i = 0; i < op->x.h * op->x.w; i++) {
                size_t at = tr_at(op->x, n, c, 0, i);
                double v = slope * ((double)x[at] - (double)e->run_mean[c]) + (double)e->b[c];

                v += x2 ? (double)x2[at] : 0;
                y[at] = (float)(op->relu && v < 0 ? 0 : v);
            }
        }
    }
}

void tr_ref_frozen_norm_backward(const struct tr_op *op, const struct tr_exec *e)
{
    float *dx = e->dx, *dx2 = op->adds ? e->dx2 : NULL;
    const float *y = e->y;

    for (int n = 0; n < op->x.n; n++) {
        for (int c = 0; c < op->x.c; c++) {
            for (int i = 0; i < op->x.h * op->x.w; i++) {
                size_t at = tr_at(op->x, n, c, 0, i);
                double dy = op->relu && y[at] <= 0 ? 0 : tr_dy(e, at);

                if (dx2)
                    dx2[at] = (float)dy;
                dx[at] = (float)(slope_of(e, c) * dy);
            }
        }
    }
}
