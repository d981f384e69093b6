/* Files of every kind that turns up in class folders, under its own name or another, against what Pillow's
 * convert("RGB") makes of them, whole and in part. The files and the pixels lie in tests/golden/formats.bin and
 * images.bin; damaged ones in damaged.bin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/golden_images.h"

enum { OF_FORMATS = 35, OF_IMAGES = 211, OF_DAMAGED = 47 };

/* How far a value may be from Pillow's: its AVIF files are decoded by newer libraries, which compute the colours
 * of 10 and 12 bits in another way. All others are exact. */
#define AVIF_TOLERANCE 2
#define DEEP_AVIF_TOLERANCE 3

static struct golden_images golden, damaged;

static int load(void **state)
{
    (void)state;
    return golden_images_add(&golden, "formats.bin") == OF_FORMATS &&
                   golden_images_add(&golden, "images.bin") == OF_IMAGES &&
                   golden_images_add(&damaged, "damaged.bin") == OF_DAMAGED
               ? 0
               : -1;
}

static int unload(void **state)
{
    (void)state;
    golden_images_free(&golden);
    golden_images_free(&damaged);
    return 0;
}

static int tolerance_of(const struct golden_image *g)
{
    if (strncmp(g->name, "avif-deep", 9) == 0)
        return DEEP_AVIF_TOLERANCE;
    return strncmp(g->name, "avif-", 5) == 0 ? AVIF_TOLERANCE : 0;
}

static void assert_box(struct au_decoder *decoder, const struct golden_image *g, const struct imk_box *box)
{
    const int tolerance = tolerance_of(g);
    struct im_text text = {""};
    struct au_image image;
    struct au_pixels pixels;

    if (au_decoder_open(decoder, g->bytes, g->n, &image, &text) != 0)
        fail_msg("%s: %s", g->name, text.s);
    if (image.width != g->w || image.height != g->h)
        fail_msg("%s: %u x %u pixels and not %u x %u", g->name, image.width, image.height, g->w, g->h);
    if (au_decoder_region(decoder, box, &pixels, &text) != 0)
        fail_msg("%s: %s", g->name, text.s);
    for (uint32_t y = 0; y < box->h; y++)
        for (uint32_t x = 0; x < (size_t)3 * box->w; x++) {
            int got = pixels.data[y * pixels.stride + x],
                expected = g->rgb[((box->y + y) * g->w + box->x) * 3 + x];

            if (abs(got - expected) > tolerance)
                fail_msg("%s: row %u, value %u is %d and not %d", g->name, box->y + y, 3 * box->x + x, got,
                         expected);
        }
}

/* Boxes in sixteenths of each image: at least a pixel. */
static void assert_boxes(uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;

    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < golden.count; i++) {
        const struct golden_image *g = &golden.images[i];
        const struct imk_box box = {g->w * x / 16, g->h * y / 16, w > 0 ? g->w * w / 16 : 1,
                                    h > 0 ? g->h * h / 16 : 1};

        if (!golden_image_is_left_out(g))
            assert_box(decoder, g, &box);
    }
    au_decoder_free(&decoder);
}

static void every_format_decodes_as_pillow(void **state)
{
    (void)state;
    assert_boxes(0, 0, 16, 16);
}

static void part_of_every_format_decodes_as_pillow(void **state)
{
    (void)state;
    assert_boxes(4, 4, 8, 9);
    assert_boxes(15, 15, 0, 0);
}

/* What is missing in this build is named. */
static void formats_without_a_library_are_named(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < golden.count; i++) {
        const struct golden_image *g = &golden.images[i];
        struct im_text text = {""};
        struct au_image image;

        if (!golden_image_is_left_out(g))
            continue;
        assert_int_equal(au_decoder_open(decoder, g->bytes, g->n, &image, &text), IM_VERDICT_UNSUPPORTED);
        assert_non_null(strstr(text.s, "built without"));
    }
    au_decoder_free(&decoder);
}

/* Files that Pillow refuses are refused with the reason, those that it decodes have its pixels. */
static void damaged_files_are_taken_as_by_pillow(void **state)
{
    static const struct {
        const char *name;
        int verdict;
    } others[] = {
        {"tiff-lab", IM_VERDICT_UNSUPPORTED}, /* Pillow asks LittleCMS for the colours */
        {"tiff-photometric", IM_VERDICT_UNSUPPORTED}, {"bmp-header-size", IM_VERDICT_UNSUPPORTED},
        {"bmp-depth", IM_VERDICT_UNSUPPORTED},        {"gif-code", IM_VERDICT_CORRUPT},
        {"gif-no-image", IM_VERDICT_CORRUPT},         {"png-header-checksum", IM_VERDICT_CORRUPT},
        {"png-deflate", IM_VERDICT_CORRUPT},          {"pnm-letter", IM_VERDICT_CORRUPT},
        {"pnm-too-large", IM_VERDICT_CORRUPT},
    };
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < damaged.count; i++) {
        const struct golden_image *g = &damaged.images[i];
        int expected = g->w > 0 ? 0 : IM_VERDICT_TRUNCATED, result;
        struct im_text text = {""};
        struct au_image image;
        struct au_pixels pixels;

        for (size_t k = 0; k < IM_COUNT(others); k++)
            if (strcmp(others[k].name, g->name) == 0)
                expected = others[k].verdict;
        if (golden_image_is_left_out(g))
            continue;
        if (expected == 0) {
            assert_box(decoder, g, &(struct imk_box){0, 0, g->w, g->h});
            continue;
        }
        result = au_decoder_open(decoder, g->bytes, g->n, &image, &text);
        if (result == 0)
            result = au_decoder_region(decoder, &(struct imk_box){0, 0, image.width, image.height}, &pixels,
                                       &text);
        if (result != expected)
            fail_msg("%s: verdict %d (%s) and not %d", g->name, result, text.s, expected);
        assert_true(text.s[0] != '\0');
    }
    au_decoder_free(&decoder);
}

/* Does it end with its pixels, so that nothing but trailers may be missing? Others have more behind them:
 * further frames and pages, directories, padding. */
static bool ends_with_its_pixels(size_t i)
{
    return i < OF_FORMATS;
}

/* Cut anywhere, a file gives a verdict or (cut behind what is needed) its pixels. */
static void every_format_cut_short_gives_a_verdict(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < golden.count; i++) {
        const struct golden_image *g = &golden.images[i];
        const size_t step = ends_with_its_pixels(i) ? 1 : 1 + g->n / 100;

        for (size_t n = 0; n < g->n; n += step) {
            unsigned char *cut =
                malloc(n + 1); /* its own memory, so that a sanitizer sees a read past the end */
            struct im_text text = {""};
            struct au_image image;
            struct au_pixels pixels;
            int result;

            assert_non_null(cut);
            memcpy(cut, g->bytes, n);
            result = au_decoder_open(decoder, cut, n, &image, &text);
            if (result == 0)
                result = au_decoder_region(decoder, &(struct imk_box){0, 0, image.width, image.height},
                                           &pixels, &text);
            assert_in_range(result, 0, IM_VERDICT_COUNT - 1);
            if (result != 0)
                assert_true(text.s[0] != '\0');
            else if (ends_with_its_pixels(i))
                assert_true(n + 24 > g->n); /* end-of-image marker, IEND and CRC, padding */
            if (n == g->n / 2 && ends_with_its_pixels(i))
                assert_true(result == IM_VERDICT_TRUNCATED || result == IM_VERDICT_CORRUPT);
            free(cut);
        }
    }
    au_decoder_free(&decoder);
}

struct gathered {
    unsigned char *rgb;
    size_t row_bytes;
    uint32_t rows, strips;
};

static void gather(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    struct gathered *g = context;

    assert_int_equal(first, g->rows);
    for (uint32_t y = 0; y < count; y++)
        memcpy(g->rgb + (first + y) * g->row_bytes, rows->data + y * rows->stride, g->row_bytes);
    g->rows += count;
    g->strips++;
}

/* An image of many strips, raw so that it can be made here: PPM, and the same in BMP. */
static void strips_are_the_same_pixels_as_all_at_once(void **state)
{
    enum { SIDE_W = 3000, SIDE_H = 100, ROW = 3 * SIDE_W };
    static unsigned char ppm[16 + ROW * SIDE_H] = "P6\n3000 100\n255\n", bmp[54 + ROW * SIDE_H] = "BM";
    static unsigned char out[ROW * SIDE_H];
    static const unsigned char header[] = {54, 0, 0,   0, 40, 0, 0, 0, 0xb8, 0x0b,
                                           0,  0, 100, 0, 0,  0, 1, 0, 24};
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    const struct imk_box box = {100, 9, 2600, 80};
    struct au_decoder *decoder;
    struct au_image image;

    (void)state;
    memcpy(bmp + 10, header, sizeof header);
    for (size_t i = 0; i < ROW * SIDE_H; i++) {
        size_t y = i / ROW, x = i % ROW / 3, c = i % 3;

        ppm[16 + i] = (unsigned char)(i * i >> 7);
        bmp[54 + (SIDE_H - 1 - y) * ROW + 3 * x + 2 - c] = ppm[16 + i];
    }
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (int is_bmp = 0; is_bmp < 2; is_bmp++) {
        struct gathered g = {out, (size_t)3 * box.w, 0, 0};
        const struct au_sink sink = {gather, &g};

        assert_int_equal(
            au_decoder_open(decoder, is_bmp ? bmp : ppm, is_bmp ? sizeof bmp : sizeof ppm, &image, NULL), 0);
        assert_int_equal(au_decoder_rows(decoder, 1, &box, &sink, NULL), 0);
        assert_int_equal(g.rows, box.h);
        assert_true(g.strips > 3);
        for (uint32_t y = 0; y < box.h; y++)
            assert_memory_equal(out + y * g.row_bytes, ppm + 16 + (box.y + y) * ROW + 3 * box.x, g.row_bytes);
    }
    au_decoder_free(&decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_decodes_as_pillow),
        cmocka_unit_test(part_of_every_format_decodes_as_pillow),
        cmocka_unit_test(formats_without_a_library_are_named),
        cmocka_unit_test(damaged_files_are_taken_as_by_pillow),
        cmocka_unit_test(every_format_cut_short_gives_a_verdict),
        cmocka_unit_test(strips_are_the_same_pixels_as_all_at_once),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
