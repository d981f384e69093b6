/* The versions of the image kernels, for the table in kernels/image.c and nobody else. */
#ifndef KERNELS_IMAGE_VERSIONS_H
#define KERNELS_IMAGE_VERSIONS_H

#include "kernels/image.h"

/* Each sets the functions that it has and the name, and leaves the others as they are. */
void imk_image_ops_ref(struct imk_image_ops *ops);
void imk_image_ops_avx2(struct imk_image_ops *ops); /* x86-64 only */

#endif
