/* The same as test_region.c on real files: random boxes of each image of the ImageNet sample against
 * a plain decode. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "tests/unit/augment/jpeg_file.h"
#include "tests/unit/augment/sample.h"

#define BOXES_PER_IMAGE 5
#define SKIPPED 77

static struct sample sample;

static uint32_t next_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

static void assert_random_boxes(struct au_decoder *decoder, const struct sample_file *file,
                                const unsigned char *whole, uint32_t w, uint32_t h, uint32_t *random)
{
    for (int i = 0; i < BOXES_PER_IMAGE; i++) {
        struct imk_box box = {.w = 1 + next_random(random, w), .h = 1 + next_random(random, h)};
        struct im_text text = {""};
        struct au_image image;
        struct au_pixels pixels;

        box.x = next_random(random, w - box.w + 1);
        box.y = next_random(random, h - box.h + 1);
        assert_int_equal(au_decoder_open(decoder, file->bytes, file->n, &image, &text), 0);
        assert_int_equal(au_decoder_region(decoder, &box, &pixels, &text), 0);
        for (uint32_t y = 0; y < box.h; y++)
            if (memcmp(pixels.data + y * pixels.stride, whole + ((size_t)(box.y + y) * w + box.x) * 3,
                       (size_t)3 * box.w) != 0)
                fail_msg("%s: row %u of box %u,%u %ux%u differs", file->name, y, box.x, box.y, box.w, box.h);
    }
}

static void regions_of_real_images_equal_a_whole_decode(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;
    uint32_t random = 3;

    (void)state;
    assert_int_equal(sample.count, 200);
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < sample.count; i++) {
        uint32_t w, h;
        int components;
        unsigned char *whole =
            jpeg_decode_whole(sample.files[i].bytes, sample.files[i].n, &w, &h, &components);

        assert_non_null(whole);
        assert_int_equal(components, 3);
        assert_random_boxes(decoder, &sample.files[i], whole, w, h, &random);
        free(whole);
    }
    au_decoder_free(&decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(regions_of_real_images_equal_a_whole_decode)};
    int failed;

    if (sample_open(&sample) < 0)
        return SKIPPED;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    sample_close(&sample);
    return failed;
}
