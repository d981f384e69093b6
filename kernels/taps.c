/* Filter tables of the antialiased bilinear resize, with the arithmetic of Pillow's Resample.c in the same
 * order, so that every weight comes out equal to the last bit. (That is also why kernels/ is compiled without
 * fused multiply-adds.) Here are the windows; the weights in them are imk_image_ops.weigh.
 *
 * Beyond Pillow: a table may cover a part of the output, weights that round to zero at either end are dropped
 * (they change no sum, and the rows and columns under them need not be decoded), and each output's weights
 * are padded with zeros to a multiple of four for the SIMD versions. */
#include "kernels/image.h"

#include <math.h>
#include <string.h>

#include "kernels/image_versions.h"

static double filter_support(double span, const struct imk_axis *axis)
{
    double scale = span / (double)axis->out;

    return scale < 1.0 ? 1.0 : scale;
}

/* Weights per output position: Pillow's ksize, rounded up. */
static uint32_t weight_stride(const struct imk_axis *axis)
{
    uint32_t ksize = (uint32_t)ceil(filter_support((double)axis->in, axis)) * 2 + 1;

    return (ksize + 3) & ~(uint32_t)3;
}

size_t imk_taps_bytes(const struct imk_axis *axis)
{
    return (size_t)axis->count * 2 * (sizeof(uint32_t) + weight_stride(axis) * sizeof(uint32_t));
}

static struct imk_window window_at(const struct imk_axis *axis, double centre, double support)
{
    double low = centre - support + 0.5;
    double high = centre + support + 0.5;
    uint32_t start = low < 0.0 ? 0 : (uint32_t)low;
    uint32_t end = high > (double)axis->in ? axis->in : (uint32_t)high;

    return (struct imk_window){centre, start, end - start};
}

/* Drops zero weights at both ends; keeps at least one. */
static void trim(struct imk_window *w, int32_t *weight)
{
    uint32_t zeros = 0;

    while (w->n > 1 && weight[w->n - 1] == 0)
        w->n--;
    while (zeros + 1 < w->n && weight[zeros] == 0)
        zeros++;
    if (zeros > 0) {
        w->start += zeros;
        w->n -= zeros;
        memmove(weight, weight + zeros, w->n * sizeof *weight);
        memset(weight + w->n, 0, zeros * sizeof *weight);
    }
}

static void fill_position(struct imk_taps *taps, uint32_t i, struct imk_window w,
                          const struct imk_image_ops *ops, double support_inverse)
{
    int32_t *weight = taps->weight + (size_t)i * taps->stride;

    ops->weigh(weight, taps->stride, &w, support_inverse);
    if (weight[0] == 0 || weight[w.n - 1] == 0)
        trim(&w, weight);
    if (ops->split)
        ops->split(taps->parts + (size_t)i * taps->stride, weight, taps->stride);
    taps->start[i] = w.start;
    taps->n[i] = w.n;
    if (w.n > taps->longest)
        taps->longest = w.n;
    if (w.start < taps->begin)
        taps->begin = w.start;
    if (w.start + w.n > taps->end)
        taps->end = w.start + w.n;
}

void imk_taps_fill(struct imk_taps *taps, const struct imk_axis *axis, double from, double span,
                   const struct imk_image_ops *ops, void *memory)
{
    uint32_t count = axis->count;
    double scale = span / (double)axis->out, support = filter_support(span, axis);
    double support_inverse = 1.0 / support;

    *taps = (struct imk_taps){
        .axis = *axis,
        .begin = axis->in,
        .stride = weight_stride(axis),
        .start = memory,
        .n = (uint32_t *)memory + count,
        .weight = (int32_t *)memory + 2 * (size_t)count,
        .parts = (uint32_t *)memory + (2 + (size_t)weight_stride(axis)) * count,
    };
    for (uint32_t i = 0; i < count; i++) {
        uint32_t position = axis->first + (axis->mirrored ? count - 1 - i : i);

        fill_position(taps, i, window_at(axis, from + ((double)position + 0.5) * scale, support), ops,
                      support_inverse);
    }
    for (uint32_t i = 0; i < count; i++)
        taps->start[i] -= taps->begin;
}
