/* Augmentation kernels: operations on 8-bit RGB images with the results of the libraries that recipes were
 * written for (Pillow 10.4 as torchvision uses it, OpenCV 4 as albumentations uses it).
 *
 * All functions are pure: no allocation, no state, nothing outside their arguments; all versions of one give
 * the same bytes. Factors are doubles here and rounded to float where Pillow does so.
 *
 * Point operations are composed into one table (struct imk_lut) and applied once. Operations that look at the
 * whole image first (contrast, autocontrast, equalize) take its statistics as an argument, so that the caller
 * decides when they are taken. */
#ifndef KERNELS_OPS_H
#define KERNELS_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/image.h"

/* Interleaved RGB, 3 bytes a pixel, rows `stride` bytes apart, stride >= 3 * width. The pixels belong to
 * the caller. 1 <= width, height <= IMK_SIDE_MAX. Functions whose image is const-qualified and called
 * `src` only read its pixels; `image` is changed in place. Bytes between rows are neither read for
 * results nor written. */
struct imk_image {
    unsigned char *pixels;
    uint32_t width, height;
    size_t stride;
};

#define IMK_SIDE_MAX 16384

/* ---- Geometry ---- */

enum imk_filter { IMK_NEAREST, IMK_BILINEAR };

enum imk_border {
    IMK_BORDER_CONSTANT,    /* `fill` */
    IMK_BORDER_REFLECT_101, /* c b | a b c d | c b */
    IMK_BORDER_REPLICATE,   /* a a | a b c d | d d */
};

/* A map from the output to the source: (x, y) -> (m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]). What a
 * position means depends on the library: affine_opencv takes the pixel of index i at i, affine_pillow at
 * i + 0.5. Finite entries. */
struct imk_affine {
    double m[6];
    enum imk_filter filter;
    enum imk_border
        border; /* affine_pillow supports only IMK_BORDER_CONSTANT and treats every value as that */
    unsigned char fill[3];
};

/* The four below set `m` and leave the rest.
 *
 * albumentations <= 1.4.0 ShiftScaleRotate: OpenCV's getRotationMatrix2D about (w / 2 - 0.5, h / 2
 * - 0.5), counter-clockwise, then a shift by (dx * w, dy * h), inverted as warpAffine does. scale >
 * 0. For affine_opencv. */
void imk_affine_shift_scale_rotate(struct imk_affine *a, uint32_t width, uint32_t height, double degrees,
                                   double scale, double dx, double dy);

/* Pillow's Image.rotate(degrees) without expand: about (w / 2, h / 2), counter-clockwise; torchvision's
 * rotate. For affine_pillow. */
void imk_affine_rotate(struct imk_affine *a, uint32_t width, uint32_t height, double degrees);

/* torchvision's shear of AutoAugment and its like: about the top left corner (0, 0), source x = x +
 * magnitude_x * y, source y = y + magnitude_y * x; one of the two is 0. For affine_pillow. */
void imk_affine_shear(struct imk_affine *a, double magnitude_x, double magnitude_y);

/* torchvision's translate: the image moves right and down by whole pixels (torchvision truncates its
 * magnitude to an integer). For affine_pillow. */
void imk_affine_translate(struct imk_affine *a, int32_t right, int32_t down);

/* ---- Tables ---- */

/* One table for each of R, G, B. Each function below but the first appends one operation: the table does what
 * it did, and then that. */
struct imk_lut {
    unsigned char channel[3][256];
};

/* How often each value occurs, by channel. */
struct imk_histogram {
    uint32_t count[3][256];
};

void imk_lut_identity(struct imk_lut *lut);
void imk_lut_posterize(struct imk_lut *lut, unsigned bits);   /* 0..8 leading bits stay */
void imk_lut_solarize(struct imk_lut *lut, double threshold); /* v >= threshold becomes 255 - v */
void imk_lut_invert(struct imk_lut *lut);
void imk_lut_brightness(struct imk_lut *lut, double factor); /* ImageEnhance.Brightness */

/* ImageEnhance.Contrast; mean: imk_luma_mean of the image as it is when this operation's turn comes (after
 * all that the table does so far). */
void imk_lut_contrast(struct imk_lut *lut, unsigned mean, double factor);

/* ImageOps.autocontrast(cutoff=0) and ImageOps.equalize; histogram: of the image as it is when this
 * operation's turn comes, see imk_histogram_map. */
void imk_lut_autocontrast(struct imk_lut *lut, const struct imk_histogram *histogram);
void imk_lut_equalize(struct imk_lut *lut, const struct imk_histogram *histogram);

/* The histogram that an image of this histogram has after the table, exactly: point operations can follow
 * each other without a pass over the pixels in between. dst and src may not overlap. */
void imk_histogram_map(struct imk_histogram *dst, const struct imk_histogram *src, const struct imk_lut *lut);

/* int(mean + 0.5), from the sum that imk_luma_sum() gives. */
unsigned imk_luma_mean(uint64_t sum, uint32_t width, uint32_t height);

/* torchvision's hue factor, -0.5 .. 0.5 of a turn, to the shift of IMK_STEP_HUE: uint8(int(factor * 255)). */
unsigned char imk_hue_shift(double factor);

/* Bytes of scratch that `sharpness` takes: two rows. */
size_t imk_sharpness_bytes(uint32_t width);

/* ---- Colour steps ---- */

enum imk_step_kind {
    IMK_STEP_BLEND,      /* with a constant: `value` + factor * (v - value); contrast, or brightness with 0 */
    IMK_STEP_SATURATION, /* L + factor * (v - L) */
    /* To Pillow's 8-bit HSV, H + `value` modulo 256, and back. Not the identity for 0: the way
     * through HSV rounds. */
    IMK_STEP_HUE,
};

/* One step of a pass over the pixels. Results are truncated and clipped to 8 bits after each, as Pillow's
 * Blend.c does. */
struct imk_step {
    enum imk_step_kind kind;
    unsigned char value;
    float factor;
};

enum { IMK_STEPS_MAX = 4 };

/* ---- The table of functions; fill with imk_ops_init ---- */

struct imk_ops {
    const char *name; /* "ref", "avx2" */

    /* OpenCV 4's warpAffine with WARP_INVERSE_MAP (its matrix and ours map output to source): coordinates in
     * 1/1024 of a pixel, bilinear weights in steps of 1/32 that sum to 2^15, sums rounded. dst has any size
     * and does not overlap src. IMK_SLACK bytes after the last pixel of src are readable; their values do
     * not matter. */
    void (*affine_opencv)(const struct imk_image *dst, const struct imk_image *src,
                          const struct imk_affine *affine);

    /* Pillow's Image.transform(AFFINE, fillcolor=fill): nearest in 16.16 fixed point, bilinear in double and
     * truncated. Output whose source position is outside the image is `fill`. As affine_opencv otherwise. */
    void (*affine_pillow)(const struct imk_image *dst, const struct imk_image *src,
                          const struct imk_affine *affine);

    /* Images of the same size; dst may be src. */
    void (*apply_lut)(const struct imk_image *dst, const struct imk_image *src, const struct imk_lut *lut);

    void (*histogram)(const struct imk_image *src, struct imk_histogram *ret);

    /* Several colour steps in one pass, in this order; count <= IMK_STEPS_MAX, may be 0. *ret_luma, unless
     * NULL, becomes imk_luma_sum() of the result. */
    void (*steps)(const struct imk_image *image, const struct imk_step *steps, unsigned count,
                  uint64_t *ret_luma);

    /* ImageEnhance.Sharpness: blend with the image smoothed by (1 1 1; 1 5 1; 1 1 1) / 13, whose outermost
     * pixels are the image's own. scratch: imk_sharpness_bytes(width), any alignment. */
    void (*sharpness)(const struct imk_image *image, double factor, void *scratch);
};

/* The fastest functions that need no more than `cpu_flags` (imk_cpu_flags()); 0 gives the reference. */
void imk_ops_init(struct imk_ops *ops, unsigned cpu_flags);

/* ---- One colour step alone ---- */

/* The sum over all pixels of Pillow's L: (19595 R + 38470 G + 7471 B + 2^15) >> 16. */
uint64_t imk_luma_sum(const struct imk_ops *ops, const struct imk_image *image);

/* ImageEnhance.Color: blend with L. */
void imk_saturation(const struct imk_ops *ops, const struct imk_image *image, double factor);

/* ---- Several at once ---- */

enum imk_jitter_step { IMK_JITTER_BRIGHTNESS, IMK_JITTER_CONTRAST, IMK_JITTER_SATURATION, IMK_JITTER_HUE };

/* torchvision's ColorJitter with its random choices made: `count` steps in this order, each at most once
 * (those left out are not done). */
struct imk_jitter {
    enum imk_jitter_step order[4];
    unsigned count; /* 0..4 */
    double brightness, contrast, saturation;
    unsigned char hue_shift; /* imk_hue_shift */
};

/* Does all steps, with the bytes that one after the other gives. Contrast ends a pass over the pixels,
 * because it must know the mean of the image before it; there are at most two passes. */
void imk_jitter(const struct imk_ops *ops, const struct imk_image *image, const struct imk_jitter *jitter);

/* ---- Rectangles, clipped to the image ---- */

void imk_fill(const struct imk_image *image, struct imk_box box, const unsigned char rgb[3]);

/* bytes: 3 * box.w * box.h, rows of the unclipped box one after another. */
void imk_fill_bytes(const struct imk_image *image, struct imk_box box, const unsigned char *bytes);

#endif
