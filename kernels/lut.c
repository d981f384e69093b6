/* Point operations as tables of 256 values, with Pillow's arithmetic (ImageOps.py, ImageEnhance.py, Blend.c).
 * A table is made of a few hundred operations and an image of 150 thousand bytes, so this is plain C and only
 * the application to pixels has fast versions. */
#include "kernels/blend.h"

#include <string.h>

#include "kernels/ops.h"

/* Appends one operation that is the same for all channels. */
static void append(struct imk_lut *lut, const unsigned char table[256])
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++)
            lut->channel[c][i] = table[lut->channel[c][i]];
}

static void append_channel(struct imk_lut *lut, int c, const unsigned char table[256])
{
    for (int i = 0; i < 256; i++)
        lut->channel[c][i] = table[lut->channel[c][i]];
}

void imk_lut_identity(struct imk_lut *lut)
{
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++)
            lut->channel[c][i] = (unsigned char)i;
}

void imk_lut_posterize(struct imk_lut *lut, unsigned bits)
{
    unsigned mask = bits < 8 ? 0xff00u >> bits & 0xff : 0xff;
    unsigned char table[256];

    for (unsigned i = 0; i < 256; i++)
        table[i] = (unsigned char)(i & mask);
    append(lut, table);
}

void imk_lut_solarize(struct imk_lut *lut, double threshold)
{
    unsigned char table[256];

    for (int i = 0; i < 256; i++)
        table[i] = (unsigned char)(i < threshold ? i : 255 - i);
    append(lut, table);
}

void imk_lut_invert(struct imk_lut *lut)
{
    imk_lut_solarize(lut, 0);
}

void imk_lut_brightness(struct imk_lut *lut, double factor)
{
    imk_lut_contrast(lut, 0, factor);
}

void imk_lut_contrast(struct imk_lut *lut, unsigned mean, double factor)
{
    unsigned char table[256];

    for (int i = 0; i < 256; i++)
        table[i] = imk_blend((int)mean, i, (float)factor);
    append(lut, table);
}

/* ImageOps.autocontrast of one channel. Nothing happens to a channel of a single value. */
static void stretch(struct imk_lut *lut, int c, const uint32_t count[256])
{
    int low = 0, high = 255;
    unsigned char table[256];

    while (low < 255 && count[low] == 0)
        low++;
    while (high > 0 && count[high] == 0)
        high--;
    if (high <= low)
        return;

    double scale = 255.0 / (high - low), offset = -low * scale;

    for (int i = 0; i < 256; i++) {
        int value = (int)(i * scale + offset);

        table[i] = (unsigned char)(value < 0 ? 0 : value > 255 ? 255 : value);
    }
    append_channel(lut, c, table);
}

void imk_lut_autocontrast(struct imk_lut *lut, const struct imk_histogram *histogram)
{
    for (int c = 0; c < 3; c++)
        stretch(lut, c, histogram->count[c]);
}

/* ImageOps.equalize of one channel. */
static void flatten(struct imk_lut *lut, int c, const uint32_t count[256])
{
    uint64_t total = 0, last = 0, step, n;
    unsigned char table[256];

    for (int i = 0; i < 256; i++) {
        total += count[i];
        if (count[i] != 0)
            last = count[i];
    }
    step = (total - last) / 255;
    if (step == 0)
        return;
    n = step / 2;
    for (int i = 0; i < 256; i++) {
        uint64_t value = n / step;

        table[i] = (unsigned char)(value > 255 ? 255 : value);
        n += count[i];
    }
    append_channel(lut, c, table);
}

void imk_lut_equalize(struct imk_lut *lut, const struct imk_histogram *histogram)
{
    for (int c = 0; c < 3; c++)
        flatten(lut, c, histogram->count[c]);
}

void imk_histogram_map(struct imk_histogram *dst, const struct imk_histogram *src, const struct imk_lut *lut)
{
    memset(dst, 0, sizeof *dst);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 256; i++)
            dst->count[c][lut->channel[c][i]] += src->count[c][i];
}
