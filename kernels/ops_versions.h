/* The versions of the augmentation kernels, for the table in kernels/ops.c and nobody else; and the parts of
 * the reference that the SIMD versions use where they do not pay. */
#ifndef KERNELS_OPS_VERSIONS_H
#define KERNELS_OPS_VERSIONS_H

#include "kernels/ops.h"

/* Each sets the functions that it has and the name, and leaves the others as they are. */
void imk_ops_ref_colour(struct imk_ops *ops); /* all but the affine functions, and the name */
void imk_ops_ref_affine(struct imk_ops *ops);
void imk_ops_avx2_colour(struct imk_ops *ops); /* x86-64 only, as all avx2 */
void imk_ops_avx2_steps(struct imk_ops *ops);
void imk_ops_avx2_tables(struct imk_ops *ops);
void imk_ops_avx2_affine(struct imk_ops *ops);

/* Fraction bits of OpenCV's coordinates, and of those the ones that bilinear weights use. */
#define IMK_CV_COORD_BITS 10
#define IMK_CV_WEIGHT_BITS 5

/* A coordinate or a step in units of 2^-10, rounded to nearest, halves to even. Limited so that the sum of
 * two and a rounding term fits 32 bits; a million pixels off is outside any image. */
int32_t imk_cv_fixed(double units);

/* One pixel as affine_opencv makes it, from coordinates in units of 2^-10 with the rounding term in. */
void imk_cv_sample(unsigned char *dst, const struct imk_image *src, const struct imk_affine *affine,
                   int32_t x, int32_t y);

/* How Pillow goes about a transform (ImagingTransformAffine chooses so, and rounding differs). */
enum imk_pillow_way { IMK_PILLOW_BILINEAR, IMK_PILLOW_SCALE, IMK_PILLOW_FIXED, IMK_PILLOW_DOUBLE };

enum imk_pillow_way imk_pillow_way(const struct imk_image *dst, const struct imk_affine *affine);

/* COORD of Geometry.c, for positions of any size: the pixel at a position, -1 or IMK_SIDE_MAX for
 * those far off. */
int32_t imk_pillow_whole(double position);

/* Coefficients and origin of IMK_PILLOW_FIXED, in units of 2^-16: x = origin[0] + column * step[0] + row *
 * row_step[0], modulo 2^32, and y likewise. */
struct imk_pillow_fixed {
    int32_t origin[2], step[2], row_step[2];
};

struct imk_pillow_fixed imk_pillow_fixed(const struct imk_affine *affine);

#endif
