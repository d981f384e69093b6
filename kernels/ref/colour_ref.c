/* The colour operations in plain C: the definition that the SIMD versions are tested against. One pixel at a
 * time, in Pillow's own mix of single and double precision (Convert.c, Blend.c), because its results depend
 * on it. */
#include "kernels/blend.h"

#include <math.h>
#include <string.h>

#include "kernels/ops.h"
#include "kernels/ops_versions.h"

static unsigned char *row_of(const struct imk_image *image, uint32_t y)
{
    return image->pixels + y * image->stride;
}

static int luma(const unsigned char *rgb)
{
    return (19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 0x8000) >> 16;
}

static int clip8(int value)
{
    return value < 0 ? 0 : value > 255 ? 255 : value;
}

static int max3(int a, int b, int c)
{
    int larger = a > b ? a : b;

    return larger > c ? larger : c;
}

static int min3(int a, int b, int c)
{
    int smaller = a < b ? a : b;

    return smaller < c ? smaller : c;
}

struct hsv {
    int h, s, v; /* 0..255 */
};

static struct hsv to_hsv(const unsigned char *rgb)
{
    int r = rgb[0], g = rgb[1], b = rgb[2], high = max3(r, g, b), low = min3(r, g, b);
    float range = (float)(high - low), h;

    if (high == low)
        return (struct hsv){0, 0, high};

    float saturation = range / (float)high, rc = (float)(high - r) / range, gc = (float)(high - g) / range,
          bc = (float)(high - b) / range;

    if (r == high)
        h = bc - gc;
    else if (g == high)
        h = (float)(2.0 + (double)rc - (double)bc);
    else
        h = (float)(4.0 + (double)gc - (double)rc);
    h = (float)fmod((double)h / 6.0 + 1.0, 1.0);
    return (struct hsv){clip8((int)((double)h * 255.0)), clip8((int)((double)saturation * 255.0)), high};
}

static void from_hsv(unsigned char *rgb, struct hsv hsv)
{
    if (hsv.s == 0) {
        memset(rgb, hsv.v, 3);
        return;
    }

    int i = (int)floor((double)hsv.h * 6.0 / 255.0);
    float f = (float)((double)hsv.h * 6.0 / 255.0 - i), fs = (float)(hsv.s / 255.0), product = fs * f;
    double v = hsv.v;
    int p = clip8((int)round(v * (1.0 - (double)fs)));
    int q = clip8((int)round(v * (1.0 - (double)product)));
    int t = clip8((int)round(v * (1.0 - (double)fs * (1.0 - (double)f))));
    int sextant[6][3] = {{hsv.v, t, p}, {q, hsv.v, p}, {p, hsv.v, t},
                         {p, q, hsv.v}, {t, p, hsv.v}, {hsv.v, p, q}};

    for (int c = 0; c < 3; c++)
        rgb[c] = (unsigned char)sextant[i % 6][c];
}

static void step_pixel(unsigned char *rgb, const struct imk_step *step)
{
    struct hsv hsv;
    int from = step->value;

    switch (step->kind) {
    case IMK_STEP_SATURATION:
        from = luma(rgb);
        /* fallthrough */
    case IMK_STEP_BLEND:
        for (int c = 0; c < 3; c++)
            rgb[c] = imk_blend(from, rgb[c], step->factor);
        break;
    case IMK_STEP_HUE:
        hsv = to_hsv(rgb);
        hsv.h = (hsv.h + step->value) & 255;
        from_hsv(rgb, hsv);
        break;
    }
}

static void do_steps(const struct imk_image *image, const struct imk_step *steps, unsigned count,
                     uint64_t *ret_luma)
{
    uint64_t sum = 0;

    for (uint32_t y = 0; y < image->height; y++) {
        unsigned char *row = row_of(image, y);

        for (uint32_t x = 0; x < image->width; x++, row += 3) {
            for (unsigned i = 0; i < count; i++)
                step_pixel(row, &steps[i]);
            sum += (uint64_t)luma(row);
        }
    }
    if (ret_luma)
        *ret_luma = sum;
}

static void apply_lut(const struct imk_image *dst, const struct imk_image *src, const struct imk_lut *lut)
{
    for (uint32_t y = 0; y < src->height; y++) {
        const unsigned char *from = row_of(src, y);
        unsigned char *to = row_of(dst, y);

        for (uint32_t x = 0; x < src->width; x++, from += 3, to += 3)
            for (int c = 0; c < 3; c++)
                to[c] = lut->channel[c][from[c]];
    }
}

static void histogram(const struct imk_image *src, struct imk_histogram *ret)
{
    memset(ret, 0, sizeof *ret);
    for (uint32_t y = 0; y < src->height; y++) {
        const unsigned char *from = row_of(src, y);

        for (uint32_t x = 0; x < src->width; x++, from += 3)
            for (int c = 0; c < 3; c++)
                ret->count[c][from[c]]++;
    }
}

/* One inner row. above and here: the rows as they were, kept by the caller; below is not changed yet.
 * Pillow sums floats of weight / 13 and adds a half; a sum is never within 1 / 26 of a rounding border, so
 * whole numbers give the same. */
static void sharpen_row(unsigned char *out, const unsigned char *above, const unsigned char *here,
                        const unsigned char *below, size_t row_bytes, float factor)
{
    for (size_t i = 3; i + 3 < row_bytes; i++) {
        int sum = 4 * here[i];

        for (size_t k = i - 3; k <= i + 3; k += 3)
            sum += above[k] + here[k] + below[k];
        out[i] = imk_blend((sum + 6) / 13, here[i], factor);
    }
}

static void sharpness(const struct imk_image *image, double factor, void *scratch)
{
    size_t row_bytes = (size_t)3 * image->width;
    unsigned char *above = scratch, *here = above + row_bytes;

    if (image->width < 3 || image->height < 3)
        return;
    memcpy(above, row_of(image, 0), row_bytes);
    for (uint32_t y = 1; y + 1 < image->height; y++) {
        unsigned char *row = row_of(image, y), *free_row = above;

        memcpy(here, row, row_bytes);
        sharpen_row(row, above, here, row + image->stride, row_bytes, (float)factor);
        above = here;
        here = free_row;
    }
}

void imk_ops_ref_colour(struct imk_ops *ops)
{
    *ops = (struct imk_ops){
        .name = "ref",
        .apply_lut = apply_lut,
        .histogram = histogram,
        .steps = do_steps,
        .sharpness = sharpness,
    };
}
