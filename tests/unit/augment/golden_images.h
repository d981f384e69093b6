/* Golden files of images (tests/golden/make_formats.py, make_images.py): encoded bytes, and the pixels that Pillow
 * makes of them. */
#ifndef TESTS_UNIT_AUGMENT_GOLDEN_IMAGES_H
#define TESTS_UNIT_AUGMENT_GOLDEN_IMAGES_H

#include <stddef.h>
#include <stdint.h>

#define GOLDEN_IMAGES_MAX 256

struct golden_image {
    char name[64];
    unsigned char *bytes, *rgb;
    size_t n;
    uint32_t w, h; /* 0: Pillow refuses it */
};

struct golden_images {
    struct golden_image images[GOLDEN_IMAGES_MAX];
    size_t count;
};

/* Adds the images of GOLDEN_DIR/`file`: how many, or -1. */
int golden_images_add(struct golden_images *golden, const char *file);
void golden_images_free(struct golden_images *golden);

/* The type in the name ("tiff-rgb") is one that this program was built without. */
int golden_image_is_left_out(const struct golden_image *image);

#endif
