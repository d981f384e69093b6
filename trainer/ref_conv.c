/* Reference convolution: the sum over channels and taps written down as it is defined, once per direction.
 * Slow on purpose. */
#include "trainer/ref_ops.h"

/* Sum over input channels and taps that fall inside the image. */
static double forward_at(const struct im_op *op, const struct im_exec *e, int n, int k, int oh, int ow)
{
    const float *x = e->x;
    double sum = 0;

    for (int c = 0; c < op->x.c; c++) {
        for (int r = 0; r < op->kernel; r++) {
            for (int s = 0; s < op->kernel; s++) {
                int h = oh * op->stride - op->pad + r, w = ow * op->stride - op->pad + s;
                struct im_shape taps = {op->y.c, op->x.c, op->kernel, op->kernel};

                if (h >= 0 && h < op->x.h && w >= 0 && w < op->x.w)
                    sum += (double)x[tr_at(op->x, n, c, h, w)] * (double)e->w[tr_at(taps, k, c, r, s)];
            }
        }
    }
    return sum;
}

void tr_ref_conv_forward(const struct im_op *op, const struct im_exec *e)
{
    float *y = e->y;

    for (int n = 0; n < op->y.n; n++)
        for (int k = 0; k < op->y.c; k++)
            for (int oh = 0; oh < op->y.h; oh++)
                for (int ow = 0; ow < op->y.w; ow++)
                    y[tr_at(op->y, n, k, oh, ow)] = (float)forward_at(op, e, n, k, oh, ow);
}

/* dL/dx at one place: every output that used it. */
static double data_at(const struct im_op *op, const struct im_exec *e, int n, int c, int h, int w)
{
    struct im_shape taps = {op->y.c, op->x.c, op->kernel, op->kernel};
    double sum = 0;

    for (int r = 0; r < op->kernel; r++) {
        for (int s = 0; s < op->kernel; s++) {
            int top = h + op->pad - r, left = w + op->pad - s;
            int oh = top / op->stride, ow = left / op->stride;

            if (top < 0 || left < 0 || top % op->stride || left % op->stride || oh >= op->y.h ||
                ow >= op->y.w)
                continue;
            for (int k = 0; k < op->y.c; k++)
                sum += tr_dy(e, tr_at(op->y, n, k, oh, ow)) * (double)e->w[tr_at(taps, k, c, r, s)];
        }
    }
    return sum;
}

/* dL/dw of one tap: over all images and places. */
static double weight_at(const struct im_op *op, const struct im_exec *e, int k, int c, int r, int s)
{
    const float *x = e->x;
    double sum = 0;

    for (int n = 0; n < op->y.n; n++) {
        for (int oh = 0; oh < op->y.h; oh++) {
            for (int ow = 0; ow < op->y.w; ow++) {
                int h = oh * op->stride - op->pad + r, w = ow * op->stride - op->pad + s;

                if (h >= 0 && h < op->x.h && w >= 0 && w < op->x.w)
                    sum += tr_dy(e, tr_at(op->y, n, k, oh, ow)) * (double)x[tr_at(op->x, n, c, h, w)];
            }
        }
    }
    return sum;
}

void tr_ref_conv_backward(const struct im_op *op, const struct im_exec *e)
{
    struct im_shape taps = {op->y.c, op->x.c, op->kernel, op->kernel};
    float *dx = e->dx;

    for (int k = 0; k < taps.n; k++)
        for (int c = 0; c < taps.c; c++)
            for (int r = 0; r < taps.h; r++)
                for (int s = 0; s < taps.w; s++)
                    e->dw[tr_at(taps, k, c, r, s)] = (float)weight_at(op, e, k, c, r, s);
    if (!op->needs_dx)
        return;
    for (int n = 0; n < op->x.n; n++)
        for (int c = 0; c < op->x.c; c++)
            for (int h = 0; h < op->x.h; h++)
                for (int w = 0; w < op->x.w; w++) {
                    float *at = &dx[tr_at(op->x, n, c, h, w)];

                    *at = (float)(data_at(op, e, n, c, h, w) + (op->sums_dx ? (double)*at : 0));
                }
}
