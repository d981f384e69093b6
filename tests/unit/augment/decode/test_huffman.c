/* The Huffman decoder: it does what it should do itself, and what comes out is what libjpeg-turbo's own
 * decoder gives, sound file or not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/jpeg_file.h"

enum { DAMAGES = 400 };

static const struct jpeg_spec plain[] = {
    {JPEG_YCC, 160, 128, 2, 2, false, false, false, 0, 90},
    {JPEG_YCC, 160, 120, 1, 1, false, false, false, 0, 96},
    {JPEG_YCC, 157, 93, 2, 1, false, false, false, 0, 75},
    {JPEG_YCC, 90, 131, 1, 2, false, false, false, 0, 100},
    {JPEG_GREY, 129, 65, 1, 1, false, false, false, 0, 50},
    {JPEG_GREY, 99, 99, 2, 2, false, false, false, 0, 90},
    {JPEG_RGB, 97, 64, 1, 1, false, false, false, 0, 85},
    {JPEG_CMYK, 80, 80, 1, 1, false, false, false, 0, 90},
    {JPEG_YCCK, 100, 60, 2, 2, false, false, false, 0, 70},
    {JPEG_YCC, 160, 128, 2, 2, false, false, false, 1, 90},
    {JPEG_YCC, 201, 100, 1, 1, false, false, false, 7, 95},
    {JPEG_GREY, 64, 200, 1, 1, false, false, false, 13, 90},
    {JPEG_YCC, 17, 9, 2, 2, false, false, false, 0, 30},
    {JPEG_YCC, 240, 160, 4, 1, false, false, false, 0, 90},
};
enum { PLAIN = IM_COUNT(plain) };

struct pair {
    struct au_decoder *own, *library;
    struct au_decoder *plain; /* own as on a CPU without extensions */
};

static void pair_init(struct pair *pair)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;

    assert_int_equal(au_decoder_new(&pair->own, &limits), 0);
    assert_int_equal(au_decoder_new(&pair->library, &limits), 0);
    assert_int_equal(au_decoder_new(&pair->plain, &limits), 0);
    au_decoder_use_library(pair->library, true);
    au_decoder_use_cpu(pair->plain, 0);
}

static void pair_fini(struct pair *pair)
{
    au_decoder_free(&pair->own);
    au_decoder_free(&pair->library);
    au_decoder_free(&pair->plain);
}

static uint32_t next_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

/* Decodes a random box of the file with both. Returns the common result. */
static int both(struct pair *pair, const unsigned char *bytes, size_t n, uint32_t *random)
{
    struct au_image image;
    struct au_pixels a, b, c;
    struct imk_box box;
    int result = au_decoder_open(pair->own, bytes, n, &image, NULL);

    assert_int_equal(au_decoder_open(pair->library, bytes, n, &image, NULL), result);
    assert_int_equal(au_decoder_open(pair->plain, bytes, n, &image, NULL), result);
    if (result != 0)
        return result;
    box.w = 1 + next_random(random, image.width);
    box.h = 1 + next_random(random, image.height);
    box.x = next_random(random, image.width - box.w + 1);
    box.y = next_random(random, image.height - box.h + 1);
    result = au_decoder_region(pair->own, &box, &a, NULL);
    assert_int_equal(au_decoder_region(pair->library, &box, &b, NULL), result);
    assert_int_equal(au_decoder_region(pair->plain, &box, &c, NULL), result);
    assert_true(au_decoder_used_library(pair->library));
    assert_int_equal(au_decoder_used_library(pair->plain), au_decoder_used_library(pair->own));
    for (uint32_t y = 0; result == 0 && y < box.h; y++) {
        assert_memory_equal(a.data + y * a.stride, b.data + y * b.stride, (size_t)3 * box.w);
        assert_memory_equal(c.data + y * c.stride, b.data + y * b.stride, (size_t)3 * box.w);
    }
    return result;
}

static void plain_files_are_decoded_without_the_library(void **state)
{
    struct pair pair;
    uint32_t random = 1;

    (void)state;
    pair_init(&pair);
    for (size_t i = 0; i < PLAIN; i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        for (int box = 0; box < 40; box++) {
            assert_int_equal(both(&pair, bytes, n, &random), 0);
            assert_false(au_decoder_used_library(pair.own));
        }
        free(bytes);
    }
    pair_fini(&pair);
}

static void other_processes_are_left_to_the_library(void **state)
{
    const struct jpeg_spec others[] = {{JPEG_YCC, 90, 70, 2, 2, true, false, false, 0, 80},
                                       {JPEG_YCC, 90, 70, 2, 2, false, true, false, 0, 80},
                                       {JPEG_YCC, 90, 70, 2, 2, false, false, true, 0, 80}};
    struct pair pair;
    uint32_t random = 1;

    (void)state;
    pair_init(&pair);
    for (size_t i = 0; i < IM_COUNT(others); i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&others[i], &n);

        assert_int_equal(both(&pair, bytes, n, &random), 0);
        assert_true(au_decoder_used_library(pair.own));
        free(bytes);
    }
    pair_fini(&pair);
}

static void damage(unsigned char *bytes, size_t n, uint32_t *random)
{
    for (uint32_t flips = 1 + next_random(random, 3); flips > 0; flips--)
        bytes[next_random(random, (uint32_t)n)] ^= (unsigned char)(1u << next_random(random, 8));
}

static void damaged_files_give_what_the_library_gives(void **state)
{
    uint32_t random = 7, left_to_library = 0;
    struct pair pair;

    (void)state;
    pair_init(&pair);
    for (size_t i = 0; i < PLAIN; i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n), *copy = malloc(n);

        assert_non_null(copy);
        for (int k = 0; k < DAMAGES; k++) {
            memcpy(copy, bytes, n);
            damage(copy, n, &random);
            if (both(&pair, copy, n, &random) == 0)
                left_to_library += au_decoder_used_library(pair.own);
        }
        free(copy);
        free(bytes);
    }
    assert_true(left_to_library > 100); /* else this would test little */
    pair_fini(&pair);
}

/* Every length, in a block of exactly that size, so that a sanitizer sees a read past the end. */
static void cut_files_give_what_the_library_gives(void **state)
{
    struct pair pair;
    uint32_t random = 3, cut_short = 0;

    (void)state;
    pair_init(&pair);
    for (size_t i = 0; i < PLAIN; i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        for (size_t cut = n; cut > 2; cut -= 1 + cut / 300) {
            unsigned char *copy = malloc(cut);

            assert_non_null(copy);
            memcpy(copy, bytes, cut);
            cut_short += both(&pair, copy, cut, &random) == IM_VERDICT_TRUNCATED;
            free(copy);
        }
        free(bytes);
    }
    assert_true(cut_short > 1000);
    pair_fini(&pair);
}

/* A file with a restart marker taken out, doubled or renumbered. */
static void wrong_restart_markers_are_left_to_the_library(void **state)
{
    struct pair pair;
    uint32_t random = 5, markers = 0;
    size_t n;
    unsigned char *bytes = jpeg_make(&plain[9], &n), *copy = malloc(n + 2);

    (void)state;
    assert_non_null(copy);
    pair_init(&pair);
    for (size_t at = 600; at + 2 < n && markers < 20; at++) {
        if (bytes[at] != 0xff || bytes[at + 1] < 0xd0 || bytes[at + 1] > 0xd7)
            continue;
        markers++;
        memcpy(copy, bytes, at);
        memcpy(copy + at, bytes + at + 2, n - at - 2);
        both(&pair, copy, n - 2, &random);
        memcpy(copy + at, bytes + at, 2);
        memcpy(copy + at + 2, bytes + at, n - at);
        both(&pair, copy, n + 2, &random);
        memcpy(copy, bytes, n);
        copy[at + 1] ^= 3;
        both(&pair, copy, n, &random);
    }
    assert_int_equal(markers, 20);
    pair_fini(&pair);
    free(copy);
    free(bytes);
}

static void parsing_takes_the_same_codes(void **state)
{
    const struct imk_box box = {40, 40, 60, 60};
    struct pair pair;
    size_t n;
    unsigned char *bytes = jpeg_make(&plain[0], &n);
    struct au_image image;
    uint32_t own_rows, library_rows;

    (void)state;
    pair_init(&pair);
    assert_int_equal(au_decoder_open(pair.own, bytes, n, &image, NULL), 0);
    assert_int_equal(au_decoder_parse(pair.own, &box, &own_rows, NULL), 0);
    assert_false(au_decoder_used_library(pair.own));
    assert_int_equal(au_decoder_open(pair.library, bytes, n, &image, NULL), 0);
    assert_int_equal(au_decoder_parse(pair.library, &box, &library_rows, NULL), 0);
    assert_int_equal(own_rows, library_rows);
    assert_int_equal(own_rows, 96);
    pair_fini(&pair);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_files_are_decoded_without_the_library),
        cmocka_unit_test(other_processes_are_left_to_the_library),
        cmocka_unit_test(damaged_files_give_what_the_library_gives),
        cmocka_unit_test(cut_files_give_what_the_library_gives),
        cmocka_unit_test(wrong_restart_markers_are_left_to_the_library),
        cmocka_unit_test(parsing_takes_the_same_codes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
