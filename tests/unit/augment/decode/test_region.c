/* Decoding a part of a JPEG gives that part of the whole, bit for bit: every sampling and coding against a
 * plain libjpeg decode, at boxes that touch and straddle block, iMCU and image edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/jpeg_file.h"

#define RANDOM_BOXES 24

static const struct au_limits limits = AU_LIMITS_DEFAULT;

static uint32_t next_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

static int multiply_255(int a, int b)
{
    int t = a * b + 128;

    return ((t >> 8) + t) >> 8;
}

/* The expected RGB of one pixel of the whole decode. */
static void expected_pixel(const unsigned char *whole, int components, size_t at, unsigned char rgb[3])
{
    const unsigned char *p = whole + at * (size_t)components;

    for (int c = 0; c < 3; c++)
        rgb[c] = components == 3 ? p[c] : (unsigned char)(p[3] - multiply_255(255 - p[c], p[3]));
}

static void assert_box(struct au_decoder *decoder, const void *bytes, size_t n, const unsigned char *whole,
                       int components, const struct imk_box *box)
{
    struct im_text text = {""};
    struct au_image image;
    struct au_pixels pixels;

    assert_int_equal(au_decoder_open(decoder, bytes, n, &image, &text), 0);
    if (au_decoder_region(decoder, box, &pixels, &text) != 0)
        fail_msg("box %u,%u %ux%u: %s", box->x, box->y, box->w, box->h, text.s);
    for (uint32_t y = 0; y < box->h; y++) {
        for (uint32_t x = 0; x < box->w; x++) {
            unsigned char rgb[3];

            expected_pixel(whole, components, (size_t)(box->y + y) * image.width + box->x + x, rgb);
            if (memcmp(pixels.data + y * pixels.stride + (size_t)3 * x, rgb, 3) != 0)
                fail_msg("image %ux%u, box %u,%u %ux%u: pixel %u,%u differs", image.width, image.height,
                         box->x, box->y, box->w, box->h, x, y);
        }
    }
}

/* The whole image, its corners and edges, single pixels and rows, and random boxes. */
static void assert_all_boxes(struct au_decoder *decoder, const struct jpeg_spec *spec, uint32_t *random)
{
    uint32_t w = spec->w, h = spec->h, got_w, got_h;
    const struct imk_box fixed[] = {{0, 0, w, h},
                                    {0, 0, 1, 1},
                                    {w - 1, h - 1, 1, 1},
                                    {w - 1, 0, 1, h},
                                    {0, h - 1, w, 1},
                                    {w / 2, 0, w - w / 2, h},
                                    {0, h / 2, w, h - h / 2},
                                    {w / 3, h / 3, 1, 1},
                                    {w / 2, h / 2, w - w / 2, h - h / 2}};
    size_t n;
    int components;
    unsigned char *bytes = jpeg_make(spec, &n),
                  *whole = jpeg_decode_whole(bytes, n, &got_w, &got_h, &components);

    assert_non_null(whole);
    assert_true(got_w == w && got_h == h);
    for (size_t i = 0; i < IM_COUNT(fixed); i++)
        assert_box(decoder, bytes, n, whole, components, &fixed[i]);
    for (int i = 0; i < RANDOM_BOXES; i++) {
        struct imk_box box = {.w = 1 + next_random(random, w), .h = 1 + next_random(random, h)};

        box.x = next_random(random, w - box.w + 1);
        box.y = next_random(random, h - box.h + 1);
        assert_box(decoder, bytes, n, whole, components, &box);
    }
    free(bytes);
    free(whole);
}

static void sweep(struct jpeg_spec spec)
{
    static const uint32_t sizes[][2] = {{1, 1},   {3, 2},   {5, 70},  {70, 5},   {8, 8},    {16, 16},
                                        {17, 33}, {31, 18}, {65, 49}, {97, 130}, {200, 151}};
    static const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {1, 4}, {4, 2}};
    struct au_decoder *decoder;
    uint32_t random = 1;

    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    spec.quality = 92;
    for (size_t i = 0; i < IM_COUNT(sizes); i++) {
        for (size_t k = 0; k < IM_COUNT(samplings); k++) {
            /* A scan holds at most ten blocks an MCU. */
            if (spec.colour >= JPEG_CMYK && samplings[k][0] * samplings[k][1] > 7)
                continue;
            spec.w = sizes[i][0];
            spec.h = sizes[i][1];
            spec.h_sampling = samplings[k][0];
            spec.v_sampling = samplings[k][1];
            assert_all_boxes(decoder, &spec, &random);
        }
    }
    au_decoder_free(&decoder);
}

/* Every first and last column: upsampling looks past the box only where an iMCU ends, and is another one for
 * an image whose chroma is a sample or two wide. */
static void every_pair_of_columns(void **state)
{
    static const uint32_t widths[] = {32, 33, 35, 50};
    static const int samplings[][2] = {{1, 1}, {2, 1}, {2, 2}};
    struct au_decoder *decoder;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < IM_COUNT(widths) * IM_COUNT(samplings); i++) {
        const int *sampling = samplings[i % IM_COUNT(samplings)];
        struct jpeg_spec spec = {.w = widths[i / IM_COUNT(samplings)],
                                 .h = 19,
                                 .colour = JPEG_YCC,
                                 .quality = 92,
                                 .h_sampling = sampling[0],
                                 .v_sampling = sampling[1]};
        uint32_t w, h;
        size_t n;
        int components;
        unsigned char *bytes = jpeg_make(&spec, &n),
                      *whole = jpeg_decode_whole(bytes, n, &w, &h, &components);

        assert_non_null(whole);
        for (struct imk_box box = {0, 2, 1, 3}; box.x < w; box.x++)
            for (box.w = 1; box.x + box.w <= w; box.w++)
                assert_box(decoder, bytes, n, whole, components, &box);
        free(bytes);
        free(whole);
    }
    au_decoder_free(&decoder);
}

static void baseline(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCC});
}

static void baseline_with_restart_markers(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCC, .restart_interval = 3});
}

static void progressive(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCC, .progressive = true});
}

static void progressive_with_restart_markers(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCC, .progressive = true, .restart_interval = 2});
}

static void components_in_separate_scans(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCC, .separate_scans = true});
}

static void arithmetic(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCC, .arithmetic = true});
}

static void grey(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_GREY});
}

static void grey_progressive(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_GREY, .progressive = true});
}

static void rgb(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_RGB});
}

static void cmyk(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_CMYK});
}

static void ycck(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCCK});
}

static void ycck_progressive(void **state)
{
    (void)state;
    sweep((struct jpeg_spec){.colour = JPEG_YCCK, .progressive = true});
}

/* Drops all scans after the first `keep` and closes the file properly: libjpeg smooths such an image. */
static size_t keep_scans(unsigned char *bytes, size_t n, int keep)
{
    for (size_t i = 2; i + 1 < n; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xda && keep-- == 0) {
            bytes[i + 1] = 0xd9;
            return i + 2;
        }
    return n;
}

static void progressive_that_lacks_scans(void **state)
{
    struct jpeg_spec spec = {JPEG_YCC, 150, 140, 2, 2, true, false, false, 0, 90};
    struct au_decoder *decoder;
    uint32_t random = 7;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (int keep = 1; keep < 6; keep++) {
        size_t n;
        uint32_t w, h;
        int components;
        unsigned char *bytes = jpeg_make(&spec, &n);
        unsigned char *whole;

        n = keep_scans(bytes, n, keep);
        whole = jpeg_decode_whole(bytes, n, &w, &h, &components);
        assert_non_null(whole);
        for (int i = 0; i < RANDOM_BOXES; i++) {
            struct imk_box box = {.w = 1 + next_random(&random, w), .h = 1 + next_random(&random, h)};

            box.x = next_random(&random, w - box.w + 1);
            box.y = next_random(&random, h - box.h + 1);
            assert_box(decoder, bytes, n, whole, components, &box);
        }
        free(bytes);
        free(whole);
    }
    au_decoder_free(&decoder);
}

/* libjpeg-turbo writes rows that are aligned for its vectors past the caches. */
static void rows_are_not_aligned_for_writes_past_the_caches(void **state)
{
    struct au_decoder *decoder;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (uint32_t w = 16; w <= 400; w += 16) {
        const struct jpeg_spec spec = {JPEG_YCC, w, 40, 1, 1, false, false, false, 0, 90};
        const struct imk_box whole = {0, 0, w, 40};
        struct au_image image;
        struct au_pixels pixels;
        size_t n;
        unsigned char *bytes = jpeg_make(&spec, &n);

        assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), 0);
        assert_int_equal(au_decoder_region(decoder, &whole, &pixels, NULL), 0);
        for (uint32_t y = 0; y < 40; y++)
            assert_int_not_equal((uintptr_t)(pixels.data + y * pixels.stride) % 16, 0);
        free(bytes);
    }
    au_decoder_free(&decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_columns),
        cmocka_unit_test(baseline),
        cmocka_unit_test(baseline_with_restart_markers),
        cmocka_unit_test(progressive),
        cmocka_unit_test(progressive_with_restart_markers),
        cmocka_unit_test(components_in_separate_scans),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(grey),
        cmocka_unit_test(grey_progressive),
        cmocka_unit_test(rgb),
        cmocka_unit_test(cmyk),
        cmocka_unit_test(ycck),
        cmocka_unit_test(ycck_progressive),
        cmocka_unit_test(progressive_that_lacks_scans),
        cmocka_unit_test(rows_are_not_aligned_for_writes_past_the_caches),
    };

    return cmocka_run_group_tests_name("a decoded region equals that part of a whole decode", tests, NULL,
                                       NULL);
}
