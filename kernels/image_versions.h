/* The versions of the image kernels, for the table in kernels/image.c and nobody else. */
#ifndef KERNELS_IMAGE_VERSIONS_H
#define KERNELS_IMAGE_VERSIONS_H

#include "kernels/image.h"

/* Each sets the functions that it has and the name, and leaves the others as they are. */
void imk_image_ops_ref(struct imk_image_ops *ops);
void imk_image_ops_avx2(struct imk_image_ops *ops); /* x86-64 only, as the next */
void imk_image_ops_avx512(struct imk_image_ops *ops);

/* Their parts in files of their own. */
bool imk_idct_ref(unsigned char *const rows[8], size_t x, int16_t block[64], const uint16_t quant[64]);
bool imk_idct_avx2(unsigned char *const rows[8], size_t x, int16_t block[64], const uint16_t quant[64]);

/* The sum of products that makes output k of 0 ... 3 from inputs of an inverse DCT of 8, times 2^13: from 0 and 4, 2 and 6, 1
 * and 3, 5 and 7. The first two add up to the even part, the others to the odd one; outputs k and 7 - k are their sum and their
 * difference. Each is what the products and sums of jidctint.c (Loeffler, Ligtenberg, Moschytz 1989) come to. */
#define IMK_DCT_04                                                                                           \
    {                                                                                                        \
        {8192, 8192}, {8192, -8192}, {8192, -8192},                                                          \
        {                                                                                                    \
            8192, 8192                                                                                       \
        }                                                                                                    \
    }
#define IMK_DCT_26                                                                                           \
    {                                                                                                        \
        {10703, 4433}, {4433, -10704}, {-4433, 10704},                                                       \
        {                                                                                                    \
            -10703, -4433                                                                                    \
        }                                                                                                    \
    }
#define IMK_DCT_13                                                                                           \
    {                                                                                                        \
        {11363, 9633}, {9633, -2259}, {6437, -11362},                                                        \
        {                                                                                                    \
            2260, -6436                                                                                      \
        }                                                                                                    \
    }
#define IMK_DCT_57                                                                                           \
    {                                                                                                        \
        {6437, 2260}, {-11362, -6436}, {2261, 9633},                                                         \
        {                                                                                                    \
            9633, -11363                                                                                     \
        }                                                                                                    \
    }
#define IMK_DCT_BITS 13
#define IMK_DCT_PASS1_BITS 2 /* kept between the passes */
#define IMK_DCT_LIMIT 16384  /* Of what pass 2 gets: [-limit, limit) */

#endif
