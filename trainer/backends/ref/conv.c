/* Reference convolution: the sum over channels and taps, written once per direction.
 *
 * Most of the tests' time is spent in these sums, so each function computes LANES of them side by side: sums
 * that differ in one channel only, which share their conditions and have independent additions. Each sum
 * keeps the order of its loops; LANES changes no bit. */
#include "trainer/backends/ref/ops.h"

enum { LANES = 8 };

static int lanes_from(int channel, int channels)
{
    return channels - channel < LANES ? channels - channel : LANES;
}

/* y at one place in channels k .. k + lanes: over input channels and taps that fall inside the image. */
static void forward_at(const struct tr_op *op, const struct tr_exec *e, int n, int k, int oh, int ow)
{
    const struct tr_shape taps = {op->y.c, op->x.c, op->kernel, op->kernel};
    const size_t next = tr_at(taps, 1, 0, 0, 0);
    const int lanes = lanes_from(k, op->y.c);
    const float *x = e->x;
    double sums[LANES] = {0};
    float *y = e->y;

    for (int c = 0; c < op->x.c; c++) {
        for (int r = 0; r < op->kernel; r++) {
            for (int s = 0; s < op->kernel; s++) {
                int h = oh * op->stride - op->pad + r, w = ow * op->stride - op->pad + s;

                if (h < 0 || h >= op->x.h || w < 0 || w >= op->x.w)
                    continue;
                const double value = (double)x[tr_at(op->x, n, c, h, w)];
                const float *weight = &e->w[tr_at(taps, k, c, r, s)];

                for (int i = 0; i < lanes; i++)
                    sums[i] += value * (double)weight[(size_t)i * next];
            }
        }
    }
    for (int i = 0; i < lanes; i++)
        y[tr_at(op->y, n, k + i, oh, ow)] = (float)sums[i];
}

void tr_ref_conv_forward(const struct tr_op *op, const struct tr_exec *e)
{
    for (int n = 0; n < op->y.n; n++)
        for (int k = 0; k < op->y.c; k += LANES)
            for (int oh = 0; oh < op->y.h; oh++)
                for (int ow = 0; ow < op->y.w; ow++)
                    forward_at(op, e, n, k, oh, ow);
}

/* dL/dx at one place in channels c .. c + lanes: every output that used it. */
static void data_at(const struct tr_op *op, const struct tr_exec *e, int n, int c, int h, int w)
{
    const struct tr_shape taps = {op->y.c, op->x.c, op->kernel, op->kernel};
    const size_t next = tr_at(taps, 0, 1, 0, 0);
    const int lanes = lanes_from(c, op->x.c);
    double sums[LANES] = {0};
    float *dx = e->dx;

    for (int r = 0; r < op->kernel; r++) {
        for (int s = 0; s < op->kernel; s++) {
            int top = h + op->pad - r, left = w + op->pad - s;
            int oh = top / op->stride, ow = left / op->stride;

            if (top < 0 || left < 0 || top % op->stride || left % op->stride || oh >= op->y.h ||
                ow >= op->y.w)
                continue;
            for (int k = 0; k < op->y.c; k++) {
                const double dy = tr_dy(e, tr_at(op->y, n, k, oh, ow));
                const float *weight = &e->w[tr_at(taps, k, c, r, s)];

                for (int i = 0; i < lanes; i++)
                    sums[i] += dy * (double)weight[(size_t)i * next];
            }
        }
    }
    for (int i = 0; i < lanes; i++) {
        float *at = &dx[tr_at(op->x, n, c + i, h, w)];

        *at = (float)(sums[i] + (op->sums_dx ? (double)*at : 0));
    }
}

/* dL/dw of one tap of input channels c .. c + lanes: over all images and places. */
static void weight_at(const struct tr_op *op, const struct tr_exec *e, int k, int c, int r, int s)
{
    const struct tr_shape taps = {op->y.c, op->x.c, op->kernel, op->kernel};
    const size_t next = tr_at(op->x, 0, 1, 0, 0);
    const int lanes = lanes_from(c, op->x.c);
    const float *x = e->x;
    double sums[LANES] = {0};

    for (int n = 0; n < op->y.n; n++) {
        for (int oh = 0; oh < op->y.h; oh++) {
            for (int ow = 0; ow < op->y.w; ow++) {
                int h = oh * op->stride - op->pad + r, w = ow * op->stride - op->pad + s;

                if (h < 0 || h >= op->x.h || w < 0 || w >= op->x.w)
                    continue;
                const double dy = tr_dy(e, tr_at(op->y, n, k, oh, ow));
                const float *value = &x[tr_at(op->x, n, c, h, w)];

                for (int i = 0; i < lanes; i++)
                    sums[i] += dy * (double)value[(size_t)i * next];
            }
        }
    }
    for (int i = 0; i < lanes; i++)
        e->dw[tr_at(taps, k, c + i, r, s)] = (float)sums[i];
}

void tr_ref_conv_backward(const struct tr_op *op, const struct tr_exec *e)
{
    for (int k = 0; k < op->y.c && !op->frozen; k++)
        for (int c = 0; c < op->x.c; c += LANES)
            for (int r = 0; r < op->kernel; r++)
                for (int s = 0; s < op->kernel; s++)
                    weight_at(op, e, k, c, r, s);
    if (!op->needs_dx)
        return;
    for (int n = 0; n < op->x.n; n++)
        for (int c = 0; c < op->x.c; c += LANES)
            for (int h = 0; h < op->x.h; h++)
                for (int w = 0; w < op->x.w; w++)
                    data_at(op, e, n, c, h, w);
}
