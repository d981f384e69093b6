/* Reference input conversion, max-pooling and global average pooling. */
#include "trainer/backends/ref/ops.h"

#include <math.h>
#include <string.h>

/* The partner of the sample at (n, h, w) in mixing, and its share. */
static int partner_of(const struct tr_op *op, const struct tr_mix *mix, int n, int h, int w,
                      double *ret_share)
{
    bool cut = mix && mix->kind == TR_MIX_CUT && h >= mix->y0 && h < mix->y1 && w >= mix->x0 && w < mix->x1;

    *ret_share = mix && mix->kind == TR_MIX_UP ? 1 - mix->lambda : cut ? 1 : 0;
    return op->x.n - 1 - n;
}

static double normal(const struct tr_op *op, const struct tr_exec *e, int n, int h, int w, int c)
{
    size_t pixel = ((size_t)n * (size_t)op->x.h + (size_t)h) * (size_t)op->x.w + (size_t)w;

    return (e->pixels[pixel * 3 + (size_t)c] / 255.0 - (double)op->mean[c]) / (double)op->std[c];
}

void tr_ref_input(const struct tr_op *op, const struct tr_exec *e)
{
    float *y = e->y;

    for (int n = 0; n < op->y.n; n++) {
        for (int h = 0; h < op->y.h; h++) {
            for (int w = 0; w < op->y.w; w++) {
                double share;
                int other = partner_of(op, e->mix, n, h, w, &share);

                for (int c = 0; c < op->y.c; c++)
                    y[tr_at(op->y, n, c, h, w)] = (float)((1 - share) * normal(op, e, n, h, w, c) +
                                                          share * normal(op, e, other, h, w, c));
            }
        }
    }
}

/* The place of the largest value in the window, the first of equals in row order, and of NaN the last, as in
 * PyTorch; windows always hold one real value. */
static int32_t largest(const struct tr_op *op, const float *plane, int oh, int ow)
{
    int32_t at = -1;

    for (int r = 0; r < op->kernel; r++) {
        for (int s = 0; s < op->kernel; s++) {
            int h = oh * op->stride - op->pad + r, w = ow * op->stride - op->pad + s;
            float v;

            if (h < 0 || h >= op->x.h || w < 0 || w >= op->x.w)
                continue;
            v = plane[h * op->x.w + w];
            if (at < 0 || v > plane[at] || isnan(v))
                at = h * op->x.w + w;
        }
    }
    return at;
}

void tr_ref_maxpool_forward(const struct tr_op *op, const struct tr_exec *e)
{
    const float *x = e->x;
    float *y = e->y;
    int32_t *place = e->save;

    for (int n = 0; n < op->y.n; n++) {
        for (int c = 0; c < op->y.c; c++) {
            const float *plane = x + tr_at(op->x, n, c, 0, 0);

            for (int oh = 0; oh < op->y.h; oh++) {
                for (int ow = 0; ow < op->y.w; ow++) {
                    int32_t at = largest(op, plane, oh, ow);

                    y[tr_at(op->y, n, c, oh, ow)] = plane[at];
                    if (op->training)
                        place[tr_at(op->y, n, c, oh, ow)] = at;
                }
            }
        }
    }
}

void tr_ref_maxpool_backward(const struct tr_op *op, const struct tr_exec *e)
{
    const int32_t *place = e->save;
    float *dx = e->dx;

    memset(dx, 0, tr_count(op->x) * sizeof *dx);
    for (int n = 0; n < op->y.n; n++) {
        for (int c = 0; c < op->y.c; c++) {
            float *plane = dx + tr_at(op->x, n, c, 0, 0);

            for (int i = 0; i < op->y.h * op->y.w; i++) {
                size_t at = tr_at(op->y, n, c, 0, i);

                plane[place[at]] = (float)((double)plane[place[at]] + tr_dy(e, at));
            }
        }
    }
}

void tr_ref_gap_forward(const struct tr_op *op, const struct tr_exec *e)
{
    int area = op->x.h * op->x.w;
    const float *x = e->x;
    float *y = e->y;

    for (size_t i = 0; i < tr_count(op->y); i++) {
        double sum = 0;

        for (int j = 0; j < area; j++)
            sum += (double)x[i * (size_t)area + (size_t)j];
        y[i] = (float)(sum / area);
    }
}

void tr_ref_gap_backward(const struct tr_op *op, const struct tr_exec *e)
{
    int area = op->x.h * op->x.w;
    float *dx = e->dx;

    for (size_t i = 0; i < tr_count(op->y); i++)
        for (int j = 0; j < area; j++)
            dx[i * (size_t)area + (size_t)j] = (float)(tr_dy(e, i) / area);
}
