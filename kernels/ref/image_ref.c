/* The image kernels in plain C: the definition that the SIMD versions are tested against, and what runs where
 * there is no SIMD version. Written for the reader, one output value at a time; formulas are Pillow's
 * (Resample.c, Convert.c). */
#include "kernels/image.h"

#include <math.h>

#include "kernels/image_versions.h"

/* A weighted sum in units of 2^-22 to 8 bits: rounded to nearest, clipped. It cannot be negative. */
static unsigned char narrow(int32_t sum)
{
    int32_t value = (sum + (1 << (IMK_WEIGHT_BITS - 1))) >> IMK_WEIGHT_BITS;

    return (unsigned char)(value > 255 ? 255 : value);
}

static double triangle(double x)
{
    x = fabs(x);
    return x < 1.0 ? 1.0 - x : 0.0;
}

static double filter_at(const struct imk_window *w, uint32_t t, double support_inverse)
{
    return triangle(((double)t + (double)w->start - w->centre + 0.5) * support_inverse);
}

/* Computing each weight twice instead of keeping the doubles gives the same bits and needs no memory. The
 * position under the centre is in the window, so that the sum is not 0. */
static void weigh(int32_t *weight, uint32_t stride, const struct imk_window *w, double support_inverse)
{
    double sum = 0.0;

    for (uint32_t t = 0; t < w->n; t++)
        sum += filter_at(w, t, support_inverse);
    for (uint32_t t = 0; t < stride; t++) {
        double value = t < w->n ? filter_at(w, t, support_inverse) / sum : 0.0;

        weight[t] = (int32_t)(0.5 + value * (1 << IMK_WEIGHT_BITS));
    }
}

static void resize_rows(unsigned char *dst, size_t dst_stride, const unsigned char *src, size_t src_stride,
                        uint32_t rows, const struct imk_taps *taps)
{
    for (uint32_t y = 0; y < rows; y++, dst += dst_stride, src += src_stride) {
        for (uint32_t i = 0; i < taps->axis.count; i++) {
            const int32_t *weight = taps->weight + (size_t)i * taps->stride;
            const unsigned char *from = src + (size_t)3 * taps->start[i];
            int32_t sum[3] = {0, 0, 0};

            for (uint32_t t = 0; t < taps->n[i]; t++)
                for (int c = 0; c < 3; c++)
                    sum[c] += weight[t] * from[(size_t)3 * t + (size_t)c];
            for (int c = 0; c < 3; c++)
                dst[(size_t)3 * i + (size_t)c] = narrow(sum[c]);
        }
    }
}

static void resize_columns(unsigned char *dst, size_t dst_stride, const unsigned char *src, size_t src_stride,
                           size_t row_bytes, const struct imk_taps *taps)
{
    for (uint32_t i = 0; i < taps->axis.count; i++, dst += dst_stride) {
        const int32_t *weight = taps->weight + (size_t)i * taps->stride;
        const unsigned char *from = src + src_stride * taps->start[i];

        for (size_t x = 0; x < row_bytes; x++) {
            int32_t sum = 0;

            for (uint32_t t = 0; t < taps->n[i]; t++)
                sum += weight[t] * from[src_stride * t + x];
            dst[x] = narrow(sum);
        }
    }
}

/* a * b / 255, rounded: Pillow's MULDIV255. */
static int multiply_255(int a, int b)
{
    int product = a * b + 128;

    return ((product >> 8) + product) >> 8;
}

static void cmyk_to_rgb(unsigned char *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++, dst += 3, src += 4) {
        int white = src[3]; /* 255 - K, where the stored value is 255 - K already */

        for (int c = 0; c < 3; c++)
            dst[c] = (unsigned char)(white - multiply_255(255 - src[c], white));
    }
}

static void mirror_rgb(unsigned char *dst, const unsigned char *src, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < 3; c++)
            dst[3 * i + (size_t)c] = src[3 * (n - 1 - i) + (size_t)c];
}

void imk_image_ops_ref(struct imk_image_ops *ops)
{
    *ops = (struct imk_image_ops){
        .name = "ref",
        .weigh = weigh,
        .resize_rows = resize_rows,
        .resize_columns = resize_columns,
        .cmyk_to_rgb = cmyk_to_rgb,
        .mirror_rgb = mirror_rgb,
        .idct = imk_idct_ref,
    };
}
