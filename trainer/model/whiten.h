/* Whitening filters of a first convolution (K. Jordan, arXiv 2404.00498, section 3.2): the principal directions of the
 * images' patches, divided by the deviation along them, then the same with the other sign. Their outputs are
 * uncorrelated, with a mean square of 1. */
#ifndef TRAINER_MODEL_WHITEN_H
#define TRAINER_MODEL_WHITEN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TR_PATCH_MAX = 3, /* its side */
    TR_PATCH_NUMBERS = 3 * TR_PATCH_MAX * TR_PATCH_MAX,
};

/* What is known of patches of side x side pixels, numbered as a filter's weights are: channel, row, column. */
struct tr_patches {
    int side, numbers;                                    /* 3 side^2 */
    double count;                                         /* of patches */
    double products[TR_PATCH_NUMBERS * TR_PATCH_NUMBERS]; /* sums of x[i] x[j]; [numbers][numbers] */
};

/* Images of size x size pixels, [n][size][size][3], as a network takes them: (pixel / 255 - mean) / std. */
struct tr_patch_images {
    const uint8_t *pixels, *valid; /* valid: [n], images that are 0 there do not count; NULL: all do */
    int n, size;
    float mean[3], std[3];
};

/* Adds the patches of these images. */
void tr_patches_add(struct tr_patches *p, const struct tr_patch_images *images);

/* filters[2 numbers][numbers], the direction of the largest deviation first. The same bits for the same sums. Without
 * any patch: of uncorrelated ones. */
void tr_whiten(const struct tr_patches *p, float *filters);

#endif
