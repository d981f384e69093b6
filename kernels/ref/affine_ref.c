/* Affine sampling in plain C, with the arithmetic of OpenCV 4 (imgwarp.cpp: WarpAffineInvoker, remapBilinear)
 * and of Pillow (Geometry.c), one output pixel at a time: the definition that the SIMD versions are tested
 * against, and what they use for the cases that are too rare to be fast. */
#include "kernels/ops.h"

#include <math.h>
#include <string.h>

#include "kernels/ops_versions.h"

static unsigned char *at(const struct imk_image *image, int32_t x, int32_t y)
{
    return image->pixels + (size_t)y * image->stride + (size_t)3 * (size_t)x;
}

/* ---- OpenCV ---- */

int32_t imk_cv_fixed(double units)
{
    const double limit = (1 << 30) - 1024;

    return (int32_t)rint(fmin(fmax(units, -limit), limit));
}

/* OpenCV keeps positions in 16 bits. */
static int32_t to_short(int32_t value)
{
    return value < INT16_MIN ? INT16_MIN : value > INT16_MAX ? INT16_MAX : value;
}

/* The position that stands for one outside the image; -1: none. */
static int32_t inside(int32_t p, int32_t size, enum imk_border border)
{
    if (p >= 0 && p < size)
        return p;
    if (border == IMK_BORDER_CONSTANT)
        return -1;
    if (border == IMK_BORDER_REPLICATE)
        return p < 0 ? 0 : size - 1;
    if (size == 1)
        return 0;

    int32_t period = 2 * (size - 1), r = p % period;

    r = r < 0 ? r + period : r;
    return r < size ? r : period - r;
}

static const unsigned char *cv_pixel(const struct imk_image *src, const struct imk_affine *affine, int32_t x,
                                     int32_t y)
{
    x = inside(x, (int32_t)src->width, affine->border);
    y = inside(y, (int32_t)src->height, affine->border);
    return x < 0 || y < 0 ? affine->fill : at(src, x, y);
}

/* OpenCV's weights are 32 times these, its sums rounded at bit 15: the same. */
static void cv_bilinear(unsigned char *dst, const struct imk_image *src, const struct imk_affine *affine,
                        int32_t x, int32_t y)
{
    const int one = 1 << IMK_CV_WEIGHT_BITS;
    int32_t x5 = x >> (IMK_CV_COORD_BITS - IMK_CV_WEIGHT_BITS), sx = to_short(x5 >> IMK_CV_WEIGHT_BITS);
    int32_t y5 = y >> (IMK_CV_COORD_BITS - IMK_CV_WEIGHT_BITS), sy = to_short(y5 >> IMK_CV_WEIGHT_BITS);
    int fx = x5 & (one - 1), fy = y5 & (one - 1);
    const unsigned char *p[4];

    for (int i = 0; i < 4; i++)
        p[i] = cv_pixel(src, affine, sx + (i & 1), sy + (i >> 1));
    for (int c = 0; c < 3; c++) {
        int top = p[0][c] * (one - fx) + p[1][c] * fx, bottom = p[2][c] * (one - fx) + p[3][c] * fx;

        dst[c] =
            (unsigned char)((top * (one - fy) + bottom * fy + one * one / 2) >> (2 * IMK_CV_WEIGHT_BITS));
    }
}

void imk_cv_sample(unsigned char *dst, const struct imk_image *src, const struct imk_affine *affine,
                   int32_t x, int32_t y)
{
    if (affine->filter == IMK_BILINEAR)
        cv_bilinear(dst, src, affine, x, y);
    else
        memcpy(dst, cv_pixel(src, affine, to_short(x >> IMK_CV_COORD_BITS), to_short(y >> IMK_CV_COORD_BITS)),
               3);
}

static void affine_opencv(const struct imk_image *dst, const struct imk_image *src,
                          const struct imk_affine *affine)
{
    const double one = 1 << IMK_CV_COORD_BITS;
    const int32_t round = affine->filter == IMK_BILINEAR ? 16 : 512; /* half a unit of what remains */
    const double *m = affine->m;

    for (uint32_t y = 0; y < dst->height; y++) {
        int32_t x0 = imk_cv_fixed((m[1] * y + m[2]) * one) + round;
        int32_t y0 = imk_cv_fixed((m[4] * y + m[5]) * one) + round;
        unsigned char *out = at(dst, 0, (int32_t)y);

        for (uint32_t x = 0; x < dst->width; x++, out += 3)
            imk_cv_sample(out, src, affine, x0 + imk_cv_fixed(m[0] * x * one),
                          y0 + imk_cv_fixed(m[3] * x * one));
    }
}

/* ---- Pillow ---- */

static bool fits_fixed(const double m[6], double x, double y)
{
    return fabs(x * m[0] + y * m[1] + m[2]) < 32768.0 && fabs(x * m[3] + y * m[4] + m[5]) < 32768.0;
}

enum imk_pillow_way imk_pillow_way(const struct imk_image *dst, const struct imk_affine *affine)
{
    const double *m = affine->m, w = dst->width, h = dst->height;

    if (affine->filter == IMK_BILINEAR)
        return IMK_PILLOW_BILINEAR;
    if (m[1] == 0 && m[3] == 0)
        return IMK_PILLOW_SCALE;
    if (fits_fixed(m, 0, 0) && fits_fixed(m, w, h) && fits_fixed(m, 0, h) && fits_fixed(m, w, 0))
        return IMK_PILLOW_FIXED;
    return IMK_PILLOW_DOUBLE;
}

/* FIX of Geometry.c. imk_pillow_way has made sure that positions fit; steps of a single row or column may
 * not, and are used modulo 2^32. */
static int32_t to_fixed(double value)
{
    return (int32_t)(uint32_t)(int64_t)floor(value * 65536.0 + 0.5);
}

struct imk_pillow_fixed imk_pillow_fixed(const struct imk_affine *affine)
{
    const double *m = affine->m;

    return (struct imk_pillow_fixed){
        .origin = {to_fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), to_fixed(m[5] + m[3] * 0.5 + m[4] * 0.5)},
        .step = {to_fixed(m[0]), to_fixed(m[3])},
        .row_step = {to_fixed(m[1]), to_fixed(m[4])},
    };
}

static bool is_inside(const struct imk_image *src, int32_t x, int32_t y)
{
    return x >= 0 && y >= 0 && x < (int32_t)src->width && y < (int32_t)src->height;
}

static void nearest(unsigned char *dst, const struct imk_image *src, const struct imk_affine *affine,
                    int32_t x, int32_t y)
{
    memcpy(dst, is_inside(src, x, y) ? at(src, x, y) : affine->fill, 3);
}

static void pillow_fixed(const struct imk_image *dst, const struct imk_image *src,
                         const struct imk_affine *affine)
{
    struct imk_pillow_fixed f = imk_pillow_fixed(affine);

    for (uint32_t y = 0; y < dst->height; y++) {
        uint32_t px = (uint32_t)f.origin[0] + y * (uint32_t)f.row_step[0];
        uint32_t py = (uint32_t)f.origin[1] + y * (uint32_t)f.row_step[1];
        unsigned char *out = at(dst, 0, (int32_t)y);

        for (uint32_t x = 0; x < dst->width; x++, out += 3) {
            nearest(out, src, affine, (int32_t)px >> 16, (int32_t)py >> 16);
            px += (uint32_t)f.step[0];
            py += (uint32_t)f.step[1];
        }
    }
}

int32_t imk_pillow_whole(double position)
{
    return position < 0 ? -1 : position < IMK_SIDE_MAX ? (int32_t)position : IMK_SIDE_MAX;
}

/* Both of Pillow's ways that step in double precision; without rotation the steps across are 0 and its sums
 * come out the same. */
static void pillow_double(const struct imk_image *dst, const struct imk_image *src,
                          const struct imk_affine *affine)
{
    const double *m = affine->m;
    double row_x = m[2] + m[1] * 0.5 + m[0] * 0.5, row_y = m[5] + m[4] * 0.5 + m[3] * 0.5;

    for (uint32_t y = 0; y < dst->height; y++) {
        double px = row_x, py = row_y;
        unsigned char *out = at(dst, 0, (int32_t)y);

        for (uint32_t x = 0; x < dst->width; x++, out += 3) {
            nearest(out, src, affine, imk_pillow_whole(px), imk_pillow_whole(py));
            px += m[0];
            py += m[3];
        }
        row_x += m[1];
        row_y += m[4];
    }
}

static int32_t clamp(int32_t p, uint32_t size)
{
    return p < 0 ? 0 : p < (int32_t)size ? p : (int32_t)size - 1;
}

/* Pillow repeats the outermost pixels for the half pixel around them. Going over the edge downwards it takes
 * the upper row alone, which is the same. */
static void pillow_sample(unsigned char *dst, const struct imk_image *src, double px, double py)
{
    double fx = px - 0.5, fy = py - 0.5;
    int32_t x = (int32_t)floor(fx), y = (int32_t)floor(fy);
    double dx = fx - x, dy = fy - y;
    int32_t x0 = clamp(x, src->width), x1 = clamp(x + 1, src->width);
    const unsigned char *top = at(src, 0, clamp(y, src->height));
    const unsigned char *bottom = at(src, 0, clamp(y + 1, src->height));

    for (int c = 0; c < 3; c++) {
        int a = top[3 * x0 + c], b = top[3 * x1 + c], d = bottom[3 * x0 + c], e = bottom[3 * x1 + c];
        double upper = a + (b - a) * dx, lower = d + (e - d) * dx;

        dst[c] = (unsigned char)(upper + (lower - upper) * dy);
    }
}

static void pillow_bilinear(const struct imk_image *dst, const struct imk_image *src,
                            const struct imk_affine *affine)
{
    const double *m = affine->m;

    for (uint32_t y = 0; y < dst->height; y++) {
        unsigned char *out = at(dst, 0, (int32_t)y);

        for (uint32_t x = 0; x < dst->width; x++, out += 3) {
            double px = m[0] * (x + 0.5) + m[1] * (y + 0.5) + m[2];
            double py = m[3] * (x + 0.5) + m[4] * (y + 0.5) + m[5];

            if (px < 0 || px >= src->width || py < 0 || py >= src->height)
                memcpy(out, affine->fill, 3);
            else
                pillow_sample(out, src, px, py);
        }
    }
}

static void affine_pillow(const struct imk_image *dst, const struct imk_image *src,
                          const struct imk_affine *affine)
{
    switch (imk_pillow_way(dst, affine)) {
    case IMK_PILLOW_BILINEAR:
        pillow_bilinear(dst, src, affine);
        break;
    case IMK_PILLOW_FIXED:
        pillow_fixed(dst, src, affine);
        break;
    case IMK_PILLOW_SCALE:
    case IMK_PILLOW_DOUBLE:
        pillow_double(dst, src, affine);
        break;
    }
}

void imk_ops_ref_affine(struct imk_ops *ops)
{
    ops->affine_opencv = affine_opencv;
    ops->affine_pillow = affine_pillow;
}
