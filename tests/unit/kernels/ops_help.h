/* What the tests and the measurement of the augmentation kernels share: guarded images and patterns. */
#ifndef TESTS_UNIT_KERNELS_OPS_HELP_H
#define TESTS_UNIT_KERNELS_OPS_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/ops.h"

/* An image in memory of its own, with guard bytes before it, after it and between its rows. */
struct test_image {
    struct imk_image image;
    unsigned char *memory;
    size_t bytes;
};

enum { TEST_PATTERNS = 7, TEST_ALL_COLOURS = 7 };

/* `gap` bytes between rows. Aborts without memory. */
struct test_image test_image_new(uint32_t width, uint32_t height, size_t gap);
struct test_image test_image_copy(const struct test_image *from);
void test_image_free(struct test_image *image);

/* The patterns of tests/golden/make_ops.py. */
void test_image_pattern(const struct test_image *image, unsigned pattern);

/* Whether all guard bytes are as they were. */
bool test_image_intact(const struct test_image *image);

/* The largest difference between two images of the same size. */
int test_image_difference(const struct test_image *a, const struct test_image *b);

/* CRC-32 (IEEE 802.3, as zlib's) of the pixels without what is between rows. */
uint32_t test_image_crc(const struct test_image *image);

#endif
