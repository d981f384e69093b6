/* Damaged and hostile files: each gets the verdict that says what is wrong with it, and the decoder goes on
 * to the next image as if nothing had been. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"
#include "ipc/config/conf.h"
#include "tests/unit/augment/jpeg_file.h"

static const struct au_limits limits = AU_LIMITS_DEFAULT;
static const struct jpeg_spec ordinary = {JPEG_YCC, 160, 128, 2, 2, false, false, false, 0, 90};
static const struct jpeg_spec progressive = {JPEG_YCC, 160, 128, 2, 2, true, false, false, 0, 90};

/* Opens and decodes the box; the whole image when box is NULL. */
static int decode(struct au_decoder *decoder, const void *bytes, size_t n, const struct imk_box *box)
{
    struct im_text text = {""};
    struct au_image image;
    struct au_pixels pixels;
    int result = au_decoder_open(decoder, bytes, n, &image, &text);

    if (result == 0) {
        struct imk_box whole = {0, 0, image.width, image.height};

        result = au_decoder_region(decoder, box ? box : &whole, &pixels, &text);
    }
    if (result != 0)
        assert_true(text.s[0] != '\0');
    return result;
}

/* The verdict of a decoder with these limits; the bytes are copied, so that a sanitizer sees every read past
 * their end. */
static int verdict_within(const struct au_limits *within, const void *bytes, size_t n,
                          const struct imk_box *box)
{
    unsigned char *copy = malloc(n > 0 ? n : 1);
    struct au_decoder *decoder;
    int result;

    assert_non_null(copy);
    if (n > 0)
        memcpy(copy, bytes, n);
    assert_int_equal(au_decoder_new(&decoder, within), 0);
    result = decode(decoder, copy, n, box);
    au_decoder_free(&decoder);
    free(copy);
    return result;
}

static int verdict(const void *bytes, size_t n)
{
    return verdict_within(&limits, bytes, n, NULL);
}

/* Where the marker's code byte is. */
static size_t find_marker(const unsigned char *bytes, size_t n, unsigned char first, unsigned char last)
{
    for (size_t i = 0; i + 1 < n; i++)
        if (bytes[i] == 0xff && bytes[i + 1] >= first && bytes[i + 1] <= last && bytes[i + 1] != 0xc4)
            return i + 1;
    fail_msg("no such marker");
    return 0;
}

/* Sets height and width in the frame header. */
static void set_size(unsigned char *bytes, size_t n, unsigned height, unsigned width)
{
    unsigned char *frame = bytes + find_marker(bytes, n, 0xc0, 0xc2);

    frame[4] = (unsigned char)(height >> 8);
    frame[5] = (unsigned char)height;
    frame[6] = (unsigned char)(width >> 8);
    frame[7] = (unsigned char)width;
}

static void no_bytes_are_empty(void **state)
{
    (void)state;
    assert_int_equal(verdict("", 0), IM_VERDICT_EMPTY);
}

static void text_is_not_an_image(void **state)
{
    (void)state;
    assert_int_equal(verdict("<!DOCTYPE html>", 15), IM_VERDICT_NOT_IMAGE);
    assert_int_equal(verdict("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16), IM_VERDICT_NOT_IMAGE);
    assert_int_equal(verdict("\xff", 1), IM_VERDICT_NOT_IMAGE);
}

static void other_formats_are_named(void **state)
{
    struct au_decoder *decoder;
    struct au_image image;
    struct im_text text;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    assert_int_equal(au_decoder_open(decoder, "\xff\x0a........", 10, &image, &text), IM_VERDICT_UNSUPPORTED);
    assert_non_null(strstr(text.s, "JPEG XL"));
    assert_int_equal(au_decoder_open(decoder,
                                     "\0\0\0\x18"
                                     "ftypheic",
                                     12, &image, &text),
                     IM_VERDICT_UNSUPPORTED);
    assert_non_null(strstr(text.s, "HEIF"));
    au_decoder_free(&decoder);
}

static void start_marker_alone_is_truncated(void **state)
{
    (void)state;
    assert_int_equal(verdict("\xff\xd8", 2), IM_VERDICT_TRUNCATED);
    assert_int_equal(verdict("\xff\xd8\xff\xe0\x00\x10JFIF", 10), IM_VERDICT_TRUNCATED);
}

static void cut_file_gives_the_rows_before_the_cut_and_no_others(void **state)
{
    const struct imk_box top = {0, 0, 160, 32}, bottom = {0, 100, 160, 28};
    size_t n;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    assert_int_equal(verdict_within(&limits, bytes, n / 2, &top), 0);
    assert_int_equal(verdict_within(&limits, bytes, n / 2, &bottom), IM_VERDICT_TRUNCATED);
    assert_int_equal(verdict(bytes, n / 2), IM_VERDICT_TRUNCATED);
    free(bytes);
}

static void missing_end_marker_does_no_harm_to_a_complete_image(void **state)
{
    size_t n;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    assert_int_equal(verdict(bytes, n - 2), 0);
    free(bytes);
}

static void progressive_file_that_is_cut_is_truncated_everywhere(void **state)
{
    const struct imk_box top = {0, 0, 16, 16};
    size_t n;
    unsigned char *bytes = jpeg_make(&progressive, &n);

    (void)state;
    assert_int_equal(verdict_within(&limits, bytes, n / 2, &top), IM_VERDICT_TRUNCATED);
    assert_int_equal(verdict_within(&limits, bytes, n - 2, &top), IM_VERDICT_TRUNCATED);
    free(bytes);
}

static void size_bomb_is_refused_by_its_header(void **state)
{
    size_t n;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    set_size(bytes, n, 65500, 65500);
    assert_int_equal(verdict(bytes, n), IM_VERDICT_TOO_LARGE);
    set_size(bytes, n, 10, 65535);
    assert_int_equal(verdict(bytes, n), IM_VERDICT_TOO_LARGE);
    set_size(bytes, n, 0, 160);
    assert_int_equal(verdict(bytes, n), IM_VERDICT_CORRUPT);
    free(bytes);
}

static void limits_are_inclusive(void **state)
{
    struct au_limits tight = limits;
    size_t n;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    tight.side_max = 160;
    tight.pixels_max = 160 * 128;
    assert_int_equal(verdict_within(&tight, bytes, n, NULL), 0);
    tight.side_max = 159;
    assert_int_equal(verdict_within(&tight, bytes, n, NULL), IM_VERDICT_TOO_LARGE);
    tight.side_max = 160;
    tight.pixels_max--;
    assert_int_equal(verdict_within(&tight, bytes, n, NULL), IM_VERDICT_TOO_LARGE);
    free(bytes);
}

/* A photograph of 108 megapixels is decoded by default, and in little memory; Pillow's limit is ours. */
static void default_limits_take_what_pillow_takes(void **state)
{
    struct au_decoder *decoder;
    struct au_image image;
    struct im_conf conf;
    size_t n;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    im_conf_defaults(&conf);
    assert_int_equal(conf.max_pixels, limits.pixels_max);
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    set_size(bytes, n, 9000, 12000);
    assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), 0);
    assert_true(image.memory < 1 << 20);
    set_size(bytes, n, 13370, 13385); /* 178,957,450 pixels */
    assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), IM_VERDICT_TOO_LARGE);
    set_size(bytes, n, 13370, 13384); /* 178,944,080 */
    assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), 0);
    au_decoder_free(&decoder);
    free(bytes);
}

/* The last scan again and again, as in the report that made libjpeg-turbo's tools limit scans. */
static void scan_bomb_is_stopped(void **state)
{
    size_t n, scan = 0, scan_bytes;
    unsigned char *bytes = jpeg_make(&progressive, &n), *bomb;
    const size_t copies = 5000;

    (void)state;
    for (size_t i = 0; i + 1 < n; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xda)
            scan = i;
    scan_bytes = n - 2 - scan;
    bomb = malloc(n + copies * scan_bytes);
    assert_non_null(bomb);
    memcpy(bomb, bytes, n);
    for (size_t i = 0; i < copies; i++)
        memcpy(bomb + n - 2 + i * scan_bytes, bytes + scan, scan_bytes);
    memcpy(bomb + n - 2 + copies * scan_bytes, "\xff\xd9", 2);
    assert_int_equal(verdict(bytes, n), 0);
    assert_int_equal(verdict(bomb, n + copies * scan_bytes), IM_VERDICT_TOO_MANY_SCANS);
    free(bytes);
    free(bomb);
}

static void memory_limit_holds_for_coefficients_and_frames(void **state)
{
    const struct jpeg_spec wide = {JPEG_YCC, 1200, 900, 1, 1, false, false, false, 0, 50};
    const struct imk_box small = {0, 0, 16, 16};
    struct au_limits tight = limits;
    struct jpeg_spec spec = wide;
    size_t n;
    unsigned char *bytes;

    (void)state;
    tight.memory_max = 1 << 20;
    bytes = jpeg_make(&spec, &n); /* in strips: needs little, whatever its size */
    assert_int_equal(verdict_within(&tight, bytes, n, &small), 0);
    free(bytes);
    spec.progressive = true; /* needs all coefficients */
    bytes = jpeg_make(&spec, &n);
    assert_int_equal(verdict_within(&tight, bytes, n, NULL), IM_VERDICT_MEMORY_LIMIT);
    /* A file is decoded or not, whatever the crop. */
    assert_int_equal(verdict_within(&tight, bytes, n, &small), IM_VERDICT_MEMORY_LIMIT);
    tight.memory_max = 1200 * 900 * 7;
    assert_int_equal(verdict_within(&tight, bytes, n, &small), 0);
    free(bytes);
}

static void two_components_are_unsupported(void **state)
{
    const struct jpeg_spec two = {JPEG_TWO_COMPONENTS, 40, 30, 1, 1, false, false, false, 0, 90};
    size_t n;
    unsigned char *bytes = jpeg_make(&two, &n);

    (void)state;
    assert_int_equal(verdict(bytes, n), IM_VERDICT_UNSUPPORTED);
    free(bytes);
}

static void twelve_bits_and_lossless_are_unsupported(void **state)
{
    size_t n, frame;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    frame = find_marker(bytes, n, 0xc0, 0xc2);
    bytes[frame + 3] = 12;
    assert_int_equal(verdict(bytes, n), IM_VERDICT_UNSUPPORTED);
    bytes[frame + 3] = 8;
    bytes[frame] = 0xc3;
    assert_int_equal(verdict(bytes, n), IM_VERDICT_UNSUPPORTED);
    free(bytes);
}

/* Turns all segments with this marker into comments. */
static void hide_segments(unsigned char *bytes, size_t n, unsigned char marker)
{
    for (size_t i = 2; i + 3 < n && bytes[i] == 0xff && bytes[i + 1] != 0xda;
         i += 2 + (size_t)(bytes[i + 2] << 8 | bytes[i + 3]))
        if (bytes[i + 1] == marker)
            bytes[i + 1] = 0xfe;
}

/* Otherwise a sample's pixels would depend on which images its process had decoded before. */
static void tables_of_one_file_are_not_used_for_the_next(void **state)
{
    struct jpeg_spec other = ordinary;
    struct au_decoder *decoder;
    size_t n, other_n;
    unsigned char *bytes = jpeg_make(&ordinary, &n), *without;

    (void)state;
    other.quality = 20;
    without = jpeg_make(&other, &other_n);
    hide_segments(without, other_n, 0xdb);
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    assert_int_equal(decode(decoder, bytes, n, NULL), 0);
    assert_int_equal(decode(decoder, without, other_n, NULL), IM_VERDICT_CORRUPT);
    assert_int_equal(decode(decoder, bytes, n, NULL), 0);
    au_decoder_free(&decoder);
    free(bytes);
    free(without);
}

static void png_size_bomb_is_refused_by_its_header(void **state)
{
    unsigned char png[33] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\1\x80\0\0\1\x80\0\x08\2\0\0\0";

    (void)state;
    assert_int_equal(verdict(png, sizeof png), IM_VERDICT_TOO_LARGE);
    memcpy(png + 16, "\0\0\0\0\0\0\0\1", 8);
    assert_int_equal(verdict(png, sizeof png), IM_VERDICT_CORRUPT);
    assert_int_equal(verdict(png, 20), IM_VERDICT_TRUNCATED);
}

/* Flipped bits give a verdict or pixels; and the same with a fresh decoder as with one that has seen
 * all the others. */
static void flipped_bits_give_the_same_result_whatever_came_before(void **state)
{
    const struct jpeg_spec specs[] = {ordinary,
                                      progressive,
                                      {JPEG_YCCK, 60, 50, 2, 1, false, false, false, 2, 80},
                                      {JPEG_YCC, 90, 70, 1, 2, false, false, true, 0, 80},
                                      {JPEG_GREY, 70, 70, 1, 1, false, true, false, 0, 80}};
    const struct imk_box box = {20, 30, 25, 15};
    struct au_decoder *used;
    uint32_t random = 1;

    (void)state;
    assert_int_equal(au_decoder_new(&used, &limits), 0);
    for (size_t s = 0; s < IM_COUNT(specs); s++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&specs[s], &n);

        for (int i = 0; i < 600; i++) {
            size_t at;
            unsigned char saved;
            struct au_image image;
            int result;

            random = random * 1664525 + 1013904223;
            at = i < 300 ? random % 700 % n : random % n; /* half of them among the headers */
            saved = bytes[at];
            bytes[at] ^= (unsigned char)(1u << (random >> 29));
            result = au_decoder_open(used, bytes, n, &image, NULL);
            if (result == 0 && image.width >= 45 && image.height >= 45) {
                struct au_pixels a, b;
                struct au_decoder *fresh;
                int other;

                result = au_decoder_region(used, &box, &a, NULL);
                assert_int_equal(au_decoder_new(&fresh, &limits), 0);
                assert_int_equal(au_decoder_open(fresh, bytes, n, &image, NULL), 0);
                other = au_decoder_region(fresh, &box, &b, NULL);
                assert_int_equal(result, other);
                for (uint32_t y = 0; result == 0 && y < box.h; y++)
                    assert_memory_equal(a.data + y * a.stride, b.data + y * b.stride, (size_t)3 * box.w);
                au_decoder_free(&fresh);
            }
            assert_in_range(result, 0, IM_VERDICT_COUNT - 1);
            bytes[at] = saved;
        }
        free(bytes);
    }
    au_decoder_free(&used);
}

static void every_verdict_has_a_name_and_a_sentence(void **state)
{
    (void)state;
    for (unsigned v = 0; v < IM_VERDICT_COUNT; v++) {
        assert_true(strlen(im_verdict_name(v)) > 1 && strchr(im_verdict_name(v), ' ') == NULL);
        assert_true(strlen(im_verdict_sentence(v)) > 10);
        for (unsigned other = 0; other < v; other++)
            assert_string_not_equal(im_verdict_name(v), im_verdict_name(other));
    }
    assert_string_equal(im_verdict_name(IM_VERDICT_COUNT), "unknown");
    assert_string_equal(im_verdict_name(4000000000u), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_bytes_are_empty),
        cmocka_unit_test(text_is_not_an_image),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test(start_marker_alone_is_truncated),
        cmocka_unit_test(cut_file_gives_the_rows_before_the_cut_and_no_others),
        cmocka_unit_test(missing_end_marker_does_no_harm_to_a_complete_image),
        cmocka_unit_test(progressive_file_that_is_cut_is_truncated_everywhere),
        cmocka_unit_test(size_bomb_is_refused_by_its_header),
        cmocka_unit_test(limits_are_inclusive),
        cmocka_unit_test(default_limits_take_what_pillow_takes),
        cmocka_unit_test(scan_bomb_is_stopped),
        cmocka_unit_test(memory_limit_holds_for_coefficients_and_frames),
        cmocka_unit_test(two_components_are_unsupported),
        cmocka_unit_test(twelve_bits_and_lossless_are_unsupported),
        cmocka_unit_test(tables_of_one_file_are_not_used_for_the_next),
        cmocka_unit_test(png_size_bomb_is_refused_by_its_header),
        cmocka_unit_test(flipped_bits_give_the_same_result_whatever_came_before),
        cmocka_unit_test(every_verdict_has_a_name_and_a_sentence),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
