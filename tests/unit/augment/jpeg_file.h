/* JPEG files for the tests of the decoder, and an independent decode of them: plain libjpeg, all of the
 * image, no partial decoding. */
#ifndef TESTS_UNIT_AUGMENT_JPEG_FILE_H
#define TESTS_UNIT_AUGMENT_JPEG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jpeg_colour { JPEG_GREY, JPEG_YCC, JPEG_RGB, JPEG_CMYK, JPEG_YCCK, JPEG_TWO_COMPONENTS };

struct jpeg_spec {
    enum jpeg_colour colour;
    uint32_t w, h;
    int h_sampling, v_sampling; /* of the first component; the others have 1 */
    bool progressive, arithmetic, separate_scans;
    unsigned restart_interval; /* MCUs; 0: none */
    int quality;
};

/* A file of that kind with a busy picture. free() it. */
unsigned char *jpeg_make(const struct jpeg_spec *spec, size_t *ret_n);

/* The whole image: w * h pixels of RGB, or of CMYK as stored (4 bytes) when *ret_components is 4. free() it.
 * NULL when the bytes cannot be decoded. */
unsigned char *jpeg_decode_whole(const void *bytes, size_t n, uint32_t *ret_w, uint32_t *ret_h,
                                 int *ret_components);

#endif
