/* Reference blur (the anti-aliasing filter of Zhang 2019, "Making convolutional networks shift-invariant
 * again": the binomial one of 3 x 3, depthwise, fixed) and stochastic depth (Huang et al. 2016, per sample).
 *
 * Padding is zero, or reflection without repeating the border pixel: row -1 is row 1, row h is row h - 2.
 * Backward scatters each output's gradient to its input pixels. */
#include "trainer/backends/ref/ops.h"

#include <string.h>

/* The pixel that a tap at `at` reads; -1: padding of zeros. */
static int source(int at, int size, bool reflect)
{
    if (at >= 0 && at < size)
        return at;
    if (!reflect)
        return -1;
    return at < 0 ? -at : 2 * size - 2 - at;
}

static double tap(int r, int s)
{
    return (r == 1 ? 0.5 : 0.25) * (s == 1 ? 0.5 : 0.25);
}

void tr_ref_blur_forward(const struct tr_op *op, const struct tr_exec *e)
{
    const float *x = e->x;
    float *y = e->y;

    for (size_t i = 0; i < tr_count(op->y); i++) {
        int ow = (int)(i % (size_t)op->y.w), oh = (int)(i / (size_t)op->y.w % (size_t)op->y.h);
        size_t plane = i / ((size_t)op->y.w * (size_t)op->y.h) * (size_t)op->x.h * (size_t)op->x.w;
        double sum = 0;

        for (int r = 0; r < 3; r++) {
            for (int s = 0; s < 3; s++) {
                int h = source(oh * op->stride - 1 + r, op->x.h, op->reflect);
                int w = source(ow * op->stride - 1 + s, op->x.w, op->reflect);

                if (h >= 0 && w >= 0)
                    sum += tap(r, s) * (double)x[plane + (size_t)(h * op->x.w + w)];
            }
        }
        y[i] = (float)sum;
    }
}

void tr_ref_blur_backward(const struct tr_op *op, const struct tr_exec *e)
{
    float *dx = e->dx;

    memset(dx, 0, tr_count(op->x) * sizeof *dx);
    for (size_t i = 0; i < tr_count(op->y); i++) {
        int ow = (int)(i % (size_t)op->y.w), oh = (int)(i / (size_t)op->y.w % (size_t)op->y.h);
        size_t plane = i / ((size_t)op->y.w * (size_t)op->y.h) * (size_t)op->x.h * (size_t)op->x.w;

        for (int r = 0; r < 3; r++) {
            for (int s = 0; s < 3; s++) {
                int h = source(oh * op->stride - 1 + r, op->x.h, op->reflect);
                int w = source(ow * op->stride - 1 + s, op->x.w, op->reflect);
                size_t at = plane + (size_t)(h * op->x.w + w);

                if (h >= 0 && w >= 0)
                    dx[at] = (float)((double)dx[at] + tap(r, s) * tr_dy(e, i));
            }
        }
    }
}

void tr_ref_droppath_forward(const struct tr_op *op, const struct tr_exec *e)
{
    size_t sample = tr_count(op->x) / (size_t)op->x.n;
    const float *x = e->x;
    float *y = e->y;

    for (size_t i = 0; i < tr_count(op->x); i++)
        y[i] = op->training ? e->scale[i / sample] * x[i] : x[i];
}

void tr_ref_droppath_backward(const struct tr_op *op, const struct tr_exec *e)
{
    size_t sample = tr_count(op->x) / (size_t)op->x.n;
    float *dx = e->dx;

    for (size_t i = 0; i < tr_count(op->x); i++)
        dx[i] = (float)((double)e->scale[i / sample] * tr_dy(e, i));
}
