/* Files of every kind that turns up under a .JPEG name, against what Pillow's convert("RGB") makes of them,
 * whole and in part. The files and the pixels lie in tests/golden/formats.bin. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "tests/unit/augment/golden_file.h"

#define FILES_MAX 64

struct golden {
    char name[64];
    unsigned char *bytes, *rgb;
    size_t n;
    uint32_t w, h;
};

static struct golden goldens[FILES_MAX];
static size_t golden_count;

static unsigned char *read_bytes(FILE *f, size_t n)
{
    unsigned char *bytes = malloc(n);

    if (bytes && fread(bytes, 1, n, f) != n) {
        free(bytes);
        return NULL;
    }
    return bytes;
}

static int load(void **state)
{
    FILE *f = fopen(GOLDEN_DIR "/formats.bin", "rb");
    int64_t name_length;

    (void)state;
    if (!f)
        return -1;
    while (golden_count < FILES_MAX && (name_length = golden_number(f, 2)) > 0) {
        struct golden *g = &goldens[golden_count++];

        if ((size_t)name_length >= sizeof g->name ||
            fread(g->name, 1, (size_t)name_length, f) != (size_t)name_length)
            return -1;
        g->n = (size_t)golden_number(f, 4);
        g->bytes = read_bytes(f, g->n);
        g->w = (uint32_t)golden_number(f, 2);
        g->h = (uint32_t)golden_number(f, 2);
        g->rgb = read_bytes(f, (size_t)3 * g->w * g->h);
        if (!g->bytes || !g->rgb)
            return -1;
    }
    fclose(f);
    return golden_count == 35 ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    for (size_t i = 0; i < golden_count; i++) {
        free(goldens[i].bytes);
        free(goldens[i].rgb);
    }
    return 0;
}

static void assert_box(struct au_decoder *decoder, const struct golden *g, const struct imk_box *box)
{
    struct im_text text = {""};
    struct au_image image;
    struct au_pixels pixels;

    if (au_decoder_open(decoder, g->bytes, g->n, &image, &text) != 0)
        fail_msg("%s: %s", g->name, text.s);
    assert_int_equal(image.width, g->w);
    assert_int_equal(image.height, g->h);
    if (au_decoder_region(decoder, box, &pixels, &text) != 0)
        fail_msg("%s: %s", g->name, text.s);
    for (uint32_t y = 0; y < box->h; y++)
        for (uint32_t x = 0; x < (size_t)3 * box->w; x++) {
            int got = pixels.data[y * pixels.stride + x],
                expected = g->rgb[((box->y + y) * g->w + box->x) * 3 + x];

            if (got != expected)
                fail_msg("%s: row %u, value %u is %d and not %d", g->name, box->y + y, 3 * box->x + x, got,
                         expected);
        }
}

static void assert_boxes(const struct imk_box *box)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;

    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < golden_count; i++)
        assert_box(decoder, &goldens[i], box);
    au_decoder_free(&decoder);
}

static void every_format_decodes_as_pillow(void **state)
{
    (void)state;
    assert_boxes(&(struct imk_box){0, 0, 21, 13});
}

static void part_of_every_format_decodes_as_pillow(void **state)
{
    (void)state;
    assert_boxes(&(struct imk_box){5, 3, 11, 7});
    assert_boxes(&(struct imk_box){20, 12, 1, 1});
}

/* Cut anywhere, a file gives a verdict or (cut behind what is needed) its pixels. */
static void every_format_cut_short_gives_a_verdict(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    const struct imk_box whole = {0, 0, 21, 13};
    struct au_decoder *decoder;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < golden_count; i++) {
        const struct golden *g = &goldens[i];

        for (size_t n = 0; n < g->n; n++) {
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
                result = au_decoder_region(decoder, &whole, &pixels, &text);
            assert_in_range(result, 0, IM_VERDICT_COUNT - 1);
            if (result == 0)
                assert_true(n + 24 > g->n); /* end-of-image marker, IEND and CRC, padding */
            else
                assert_true(text.s[0] != '\0');
            if (n == g->n / 2)
                assert_true(result == IM_VERDICT_TRUNCATED || result == IM_VERDICT_CORRUPT);
            free(cut);
        }
    }
    au_decoder_free(&decoder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_decodes_as_pillow),
        cmocka_unit_test(part_of_every_format_decodes_as_pillow),
        cmocka_unit_test(every_format_cut_short_gives_a_verdict),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
