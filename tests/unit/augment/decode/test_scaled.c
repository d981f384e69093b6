/* Decoding at 1/2, 1/4 and 1/8: parts equal those of a whole decode at that scale, and a crop that was
 * decoded smaller lies where it would lie otherwise. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/render.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/jpeg_file.h"

static const struct au_limits limits = AU_LIMITS_DEFAULT;
static const uint32_t scales[] = {2, 4, 8};

static const struct jpeg_spec specs[] = {
    {JPEG_YCC, 331, 253, 2, 2, false, false, false, 0, 90},
    {JPEG_YCC, 320, 256, 1, 1, false, false, false, 0, 95},
    {JPEG_YCC, 300, 200, 2, 1, false, false, false, 5, 80},
    {JPEG_YCC, 200, 301, 1, 2, true, false, false, 0, 85},
    {JPEG_GREY, 257, 129, 1, 1, false, false, false, 0, 90},
    {JPEG_GREY, 177, 260, 2, 2, false, false, false, 0, 90},
    {JPEG_CMYK, 180, 220, 1, 1, false, false, false, 0, 90},
    {JPEG_YCC, 333, 251, 2, 2, false, false, true, 0, 90},
};
enum { SPECS = IM_COUNT(specs) };

static uint32_t next_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

/* A box at 1/scale, into tightly packed rows; free() them. */
static unsigned char *decode(struct au_decoder *decoder, const void *bytes, size_t n, uint32_t scale,
                             const struct imk_box *box)
{
    unsigned char *out = malloc((size_t)3 * box->w * box->h);
    struct im_text text = {""};
    struct au_image image;
    struct au_pixels pixels;

    assert_non_null(out);
    assert_int_equal(au_decoder_open(decoder, bytes, n, &image, &text), 0);
    assert_int_equal(au_decoder_region_scaled(decoder, scale, box, &pixels, &text), 0);
    for (uint32_t y = 0; y < box->h; y++)
        memcpy(out + (size_t)3 * box->w * y, pixels.data + y * pixels.stride, (size_t)3 * box->w);
    return out;
}

static void assert_boxes(struct au_decoder *decoder, const void *bytes, size_t n, uint32_t scale,
                         const struct jpeg_spec *spec, uint32_t *random)
{
    const struct imk_box whole = {0, 0, au_scaled_side(spec->w, scale), au_scaled_side(spec->h, scale)};
    unsigned char *all = decode(decoder, bytes, n, scale, &whole), *part;

    for (int i = 0; i < 40; i++) {
        struct imk_box box = {.w = 1 + next_random(random, whole.w), .h = 1 + next_random(random, whole.h)};

        box.x = next_random(random, whole.w - box.w + 1);
        box.y = next_random(random, whole.h - box.h + 1);
        part = decode(decoder, bytes, n, scale, &box);
        for (uint32_t y = 0; y < box.h; y++)
            assert_memory_equal(part + (size_t)3 * box.w * y,
                                all + ((size_t)whole.w * (box.y + y) + box.x) * 3, (size_t)3 * box.w);
        free(part);
    }
    free(all);
}

static void parts_equal_those_of_a_whole_decode_at_that_scale(void **state)
{
    struct au_decoder *decoder;
    uint32_t random = 1;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < SPECS; i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&specs[i], &n);

        for (size_t k = 0; k < IM_COUNT(scales); k++)
            assert_boxes(decoder, bytes, n, scales[k], &specs[i], &random);
        free(bytes);
    }
    au_decoder_free(&decoder);
}

static void render(struct au_renderer *renderer, struct au_job job, bool scaled, const void *bytes, size_t n,
                   unsigned char *out)
{
    struct im_text text = {""};

    job.crop.scaled_decode = scaled;
    assert_int_equal(au_render(renderer, &job, bytes, n, out, &text), 0);
}

static uint64_t difference(const unsigned char *a, const unsigned char *b, size_t n)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (uint64_t)abs(a[i] - b[i]);
    return sum;
}

/* The mean difference of all bytes of 30 training samples of 24 pixels. `shift`: the exact one is taken so
 * many pixels to the side, to see what a crop in the wrong place would cost. */
static double mean_difference(const struct jpeg_spec *spec, int shift)
{
    enum { SIDE = 24, ROW = 3 * SIDE, SAMPLES = 30 };
    unsigned char exact[SIDE * ROW], scaled[SIDE * ROW];
    struct au_job job = {.split = IM_TRAIN, .seed = 5, .size = SIDE, .crop = AU_CROP_DEFAULT};
    struct au_renderer *renderer;
    uint64_t sum = 0, count = 0;
    size_t n;
    unsigned char *bytes = jpeg_make(spec, &n);

    assert_int_equal(au_renderer_new(&renderer, &limits, imk_cpu_flags()), 0);
    job.crop.scale_min = 0.2;
    for (job.sample = 0; job.sample < SAMPLES; job.sample++) {
        render(renderer, job, false, bytes, n, exact);
        render(renderer, job, true, bytes, n, scaled);
        for (int y = 0; y < SIDE; y++, count += ROW - 3 * (size_t)shift)
            sum += difference(exact + y * ROW + 3 * shift, scaled + y * ROW, ROW - 3 * (size_t)shift);
    }
    au_renderer_free(&renderer);
    free(bytes);
    return (double)sum / (double)count;
}

/* Two kinds of smoothing leave this busy picture some levels apart, far less than one pixel of the sample.
 * More where chroma has fewer samples in one direction only: libjpeg then reduces it with the rest. */
static void a_scaled_crop_lies_where_the_exact_one_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < SPECS; i++) {
        double difference = mean_difference(&specs[i], 0), moved = mean_difference(&specs[i], 1);

        assert_true(difference > 0); /* it was decoded at a scale */
        assert_true(difference < (specs[i].h_sampling == specs[i].v_sampling ? 6 : 11));
        assert_true(difference < moved / 2);
    }
}

/* Nothing is gained there, and so nothing is to change. */
static void crops_under_twice_the_sample_stay_exact(void **state)
{
    enum { SIDE = 224 };
    struct au_job job = {.split = IM_TRAIN, .seed = 5, .size = SIDE, .crop = AU_CROP_DEFAULT};
    unsigned char *exact = malloc(3 * SIDE * SIDE), *scaled = malloc(3 * SIDE * SIDE);
    struct au_renderer *renderer;
    size_t n;
    unsigned char *bytes = jpeg_make(&specs[0], &n);

    (void)state;
    assert_true(exact && scaled);
    assert_int_equal(au_renderer_new(&renderer, &limits, imk_cpu_flags()), 0);
    for (job.sample = 0; job.sample < 5; job.sample++) {
        render(renderer, job, false, bytes, n, exact);
        render(renderer, job, true, bytes, n, scaled);
        assert_memory_equal(exact, scaled, 3 * SIDE * SIDE);
    }
    au_renderer_free(&renderer);
    free(exact);
    free(scaled);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_equal_those_of_a_whole_decode_at_that_scale),
        cmocka_unit_test(a_scaled_crop_lies_where_the_exact_one_does),
        cmocka_unit_test(crops_under_twice_the_sample_stay_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
