/* The versions of the image kernels, for the table in kernels/image.c and nobody else. */
#ifndef KERNELS_IMAGE_VERSIONS_H
#define KERNELS_IMAGE_VERSIONS_H

#include "kernels/image.h"

/* Each sets the functions that it has and the name, and leaves the others as they are. */
void imk_image_ops_ref(struct imk_image_ops *ops);
void imk_image_ops_avx2(struct imk_image_ops *ops); /* x86-64 only */

/* The halves of n weights, n even, as struct imk_taps has them. */
void imk_fill_halves(uint32_t *halves, const int32_t *weight, uint32_t n);

#endif
