/* Small files that ask for much work: limits cut them short, or the work is one pass over their bytes. Time
 * is not measured here; what is, is that the limits hold and that nothing is kept of what is passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "augment/decode/decode.h"
#include "ipc/base/count.h"
#include "tests/unit/augment/golden_images.h"
#include "tests/unit/augment/jpeg_file.h"

enum { SIDE_W = 160, SIDE_H = 128, FLOOD_BYTES = 16 << 20, KEPT_KIB_MAX = 2048 };

static const struct jpeg_spec ordinary = {JPEG_YCC, SIDE_W, SIDE_H, 2, 2, false, false, false, 0, 90};
static const struct jpeg_spec progressive = {JPEG_YCC, SIDE_W, SIDE_H, 2, 2, true, false, false, 0, 90};

/* All of the image; its pixels are the decoder's. */
static int decode(struct au_decoder *decoder, const void *bytes, size_t n, struct au_pixels *ret)
{
    struct im_text text = {""};
    struct au_image image;
    int result = au_decoder_open(decoder, bytes, n, &image, &text);

    if (result == 0) {
        struct imk_box whole = {0, 0, image.width, image.height};

        result = au_decoder_region(decoder, &whole, ret, &text);
    }
    assert_true(result == 0 || text.s[0] != '\0');
    return result;
}

static int verdict(const struct au_limits *limits, const void *bytes, size_t n)
{
    struct au_decoder *decoder;
    struct au_pixels pixels;
    int result;

    assert_int_equal(au_decoder_new(&decoder, limits), 0);
    result = decode(decoder, bytes, n, &pixels);
    au_decoder_free(&decoder);
    return result;
}

/* The bytes, with `count` copies of `piece` at `at`. free() them. */
static unsigned char *insert(const unsigned char *bytes, size_t n, size_t at, const void *piece,
                             size_t piece_bytes, size_t count, size_t *ret_n)
{
    unsigned char *out = malloc(n + count * piece_bytes);

    assert_non_null(out);
    memcpy(out, bytes, at);
    for (size_t i = 0; i < count; i++)
        memcpy(out + at + i * piece_bytes, piece, piece_bytes);
    memcpy(out + at + count * piece_bytes, bytes + at, n - at);
    *ret_n = n + count * piece_bytes;
    return out;
}

static size_t last_scan(const unsigned char *bytes, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i + 1 < n; i++)
        if (bytes[i] == 0xff && bytes[i + 1] == 0xda)
            at = i;
    assert_true(at > 0);
    return at;
}

static long peak_kib(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* Scans without codes: some ten bytes each, and each goes over all of the image. */
static void large_images_may_have_fewer_scans(void **state)
{
    struct au_limits limits = AU_LIMITS_DEFAULT;
    size_t n, bomb_n, scan;
    unsigned char *bytes = jpeg_make(&progressive, &n), *bomb;

    (void)state;
    scan = last_scan(bytes, n);
    bomb = insert(bytes, n, n - 2, bytes + scan, 2 + (size_t)(bytes[scan + 2] << 8 | bytes[scan + 3]), 20,
                  &bomb_n);
    assert_int_equal(verdict(&limits, bomb, bomb_n), 0); /* some 30 scans */
    limits.pixels_max = SIDE_W * SIDE_H;
    assert_int_equal(verdict(&limits, bomb, bomb_n), IM_VERDICT_TOO_MANY_SCANS);
    assert_int_equal(verdict(&limits, bytes, n), 0); /* as encoders make it */
    limits.pixels_max = 2 * SIDE_W * SIDE_H;
    assert_int_equal(verdict(&limits, bomb, bomb_n), 0);
    limits.scans_max = 20;
    assert_int_equal(verdict(&limits, bomb, bomb_n), IM_VERDICT_TOO_MANY_SCANS);
    free(bomb);
    free(bytes);
}

/* Too many scans are told from the bytes alone: the file is cut behind the frame's limit of them, and has the
 * same verdict before a single one is decoded. */
static void too_many_scans_are_seen_when_the_file_is_opened(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct im_text text = {""};
    struct au_decoder *decoder;
    struct au_image image;
    size_t n, bomb_n, scan;
    unsigned char *bytes = jpeg_make(&progressive, &n), *bomb;

    (void)state;
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    scan = last_scan(bytes, n);
    bomb = insert(bytes, n, n - 2, bytes + scan, 2 + (size_t)(bytes[scan + 2] << 8 | bytes[scan + 3]), 3000,
                  &bomb_n);
    assert_int_equal(au_decoder_open(decoder, bomb, bomb_n, &image, &text), IM_VERDICT_TOO_MANY_SCANS);
    assert_int_equal(au_decoder_open(decoder, bomb, bomb_n - 20000, &image, &text),
                     IM_VERDICT_TOO_MANY_SCANS);
    assert_int_equal(au_decoder_open(decoder, bytes, n, &image, &text), 0);
    /* What comes behind the end of the image is none of it. */
    memcpy(bomb + n - 2, bytes + n - 2, 2);
    assert_int_equal(au_decoder_open(decoder, bomb, bomb_n, &image, &text), 0);
    au_decoder_free(&decoder);
    free(bomb);
    free(bytes);
}

/* The verdict comes with the header, from the image's size and kind alone; one byte less is too little. */
static void memory_is_held_against_the_limit_before_any_is_taken(void **state)
{
    static const struct {
        struct jpeg_spec spec;
        uint64_t memory;
    } rows[] = {
        /* a strip of 21 rows of 6,016 bytes, which is about 128 KiB, and one to spare */
        {{JPEG_YCC, 2000, 1200, 2, 2, false, false, false, 0, 90}, UINT64_C(132352)},
        /* 250 x 150 blocks of 64 coefficients of two bytes in each of three components, and the strip */
        {{JPEG_YCC, 2000, 1200, 1, 1, true, false, false, 0, 90}, UINT64_C(14400000 + 132352)},
        /* chroma: 125 x 75 */
        {{JPEG_YCC, 2000, 1200, 2, 2, true, false, false, 0, 90}, UINT64_C(7200000 + 132352)},
        /* Not progressive, but a component after the other. 17 x 9 pixels: 4 x 2 and 2 x 1 blocks. */
        {{JPEG_YCC, 17, 9, 2, 2, false, false, true, 0, 90}, (8 + 2 + 2) * 128 + (9 + 1) * 64},
        {{JPEG_GREY, 800, 80, 1, 1, true, false, false, 0, 90}, 1000 * 128 + (53 + 1) * 2432},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct au_limits limits = AU_LIMITS_DEFAULT;
        size_t n;
        unsigned char *bytes = jpeg_make(&rows[i].spec, &n);
        struct au_image image;
        struct au_decoder *decoder;

        limits.memory_max = (size_t)rows[i].memory - 1;
        assert_int_equal(au_decoder_new(&decoder, &limits), 0);
        assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), IM_VERDICT_MEMORY_LIMIT);
        au_decoder_free(&decoder);
        limits.memory_max = (size_t)rows[i].memory;
        assert_int_equal(au_decoder_new(&decoder, &limits), 0);
        assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), 0);
        assert_true(image.memory == rows[i].memory);
        au_decoder_free(&decoder);
        free(bytes);
    }
}

static void ignore(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    (void)context;
    (void)first;
    (void)count;
    (void)rows;
}

/* And it is enough: libjpeg really takes no more than what was told, but for its rows (and what a sanitizer adds).
 * In a child, whose peak is its own. */
static void a_progressive_image_takes_what_its_header_told(void **state)
{
    const struct jpeg_spec large = {JPEG_YCC, 2400, 2400, 1, 1, true, false, false, 0, 30};
    const struct imk_box whole = {0, 0, 2400, 2400};
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    const struct au_sink sink = {ignore, NULL};
    int status;
    size_t n;
    unsigned char *bytes = jpeg_make(&large, &n);
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        long before = peak_kib(), taken, told;
        struct au_decoder *decoder;
        struct au_image image;

        assert_int_equal(au_decoder_new(&decoder, &limits), 0);
        assert_int_equal(au_decoder_open(decoder, bytes, n, &image, NULL), 0);
        assert_int_equal(au_decoder_rows(decoder, 1, &whole, &sink, NULL), 0);
        taken = peak_kib() - before;
        told = (long)(image.memory >> 10);
        _exit(taken > told / 2 && taken < told + 12288 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    free(bytes);
}

/* Millions of segments, tables and fill bytes before the frame: passed over, or each in the place of the one
 * before. The image is the same and no memory is spent. */
static void floods_of_markers_are_passed_over(void **state)
{
    static const struct {
        const char *name, *bytes;
        size_t n;
    } pieces[] = {
        {"APP5", "\xff\xe5\0\2", 4},
        {"APP1 with content", "\xff\xe1\0\10Exif\0\0", 10},
        {"comment", "\xff\xfe\0\3x", 5},
        {"restart interval", "\xff\xdd\0\4\0\0", 6},
        {"Huffman table", "\xff\xc4\0\x14\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0", 22},
        {"fill byte", "\xff", 1},
        {"no marker", "\0", 1},
    };
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *plain, *flooded;
    struct au_pixels a, b;
    size_t n;
    unsigned char *bytes = jpeg_make(&ordinary, &n);

    (void)state;
    assert_int_equal(au_decoder_new(&plain, &limits), 0);
    assert_int_equal(au_decoder_new(&flooded, &limits), 0);
    assert_int_equal(decode(plain, bytes, n, &a), 0);
    for (size_t i = 0; i < IM_COUNT(pieces); i++) {
        size_t bomb_n;
        unsigned char *bomb =
            insert(bytes, n, 2, pieces[i].bytes, pieces[i].n, FLOOD_BYTES / pieces[i].n, &bomb_n);
        long peak = peak_kib();

        if (decode(flooded, bomb, bomb_n, &b) != 0)
            fail_msg("a flood of %s", pieces[i].name);
        assert_true(peak_kib() - peak < KEPT_KIB_MAX);
        for (size_t y = 0; y < SIDE_H; y++)
            assert_memory_equal(a.data + y * a.stride, b.data + y * b.stride, 3 * SIDE_W);
        free(bomb);
    }
    au_decoder_free(&plain);
    au_decoder_free(&flooded);
    free(bytes);
}

/* PNG chunks: length, name, content, and a CRC that libpng does not check of those it skips. */
static void floods_of_png_chunks_are_passed_over(void **state)
{
    static const unsigned char png[] =
        "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90\x77\x53\xde"
        "\0\0\0\x0cIDAT\x08\xd7\x63\xf8\xcf\xc0\0\0\3\1\1\0\x18\xdd\x8d\xb0\0\0\0\0IEND\xae\x42\x60\x82";
    static const char text[] = "\0\0\0\3tEXta\0b\xd5\x3e\x4e\x1a", unknown[] = "\0\0\0\0abCd\x11\x11\x11\x11";
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    const struct {
        const char *bytes;
        size_t n;
    } pieces[] = {{text, sizeof text - 1}, {unknown, sizeof unknown - 1}};

    (void)state;
    assert_int_equal(verdict(&limits, png, sizeof png - 1), 0);
    for (size_t i = 0; i < 2; i++) {
        size_t n;
        unsigned char *bomb =
            insert(png, sizeof png - 1, 33, pieces[i].bytes, pieces[i].n, FLOOD_BYTES / pieces[i].n, &n);
        long peak = peak_kib();

        assert_int_equal(verdict(&limits, bomb, n), 0);
        assert_true(peak_kib() - peak < KEPT_KIB_MAX);
        free(bomb);
    }
}

static void webp_size_bomb_is_refused_by_its_header(void **state)
{
    /* VP8L: a signature byte, then 14 bits of width - 1 and 14 of height - 1. */
    unsigned char webp[40] = "RIFF\x20\0\0\0WEBPVP8L\x14\0\0\0\x2f\xfe\xff\xff\x0f";
    struct au_limits limits = AU_LIMITS_DEFAULT;

    (void)state;
    assert_int_equal(verdict(&limits, webp, sizeof webp), IM_VERDICT_TOO_LARGE);
    limits.pixels_max = (uint64_t)1 << 28;
    limits.memory_max = 1 << 20;
    assert_int_equal(verdict(&limits, webp, sizeof webp), IM_VERDICT_MEMORY_LIMIT);
}

struct patch {
    const char *name; /* of a golden image */
    size_t at, n;
    const char *bytes;
    int verdict;  /* of opening it */
    unsigned tag; /* of TIFF: this one is set to 2^18, instead of the bytes */
};

/* Where a tag of little-endian TIFF stands. */
static size_t find_tag(const struct golden_image *g, unsigned tag)
{
    size_t at = g->bytes[4] | (size_t)g->bytes[5] << 8;

    for (unsigned entries = g->bytes[at]; entries > 0; entries--, at += 12)
        if ((g->bytes[at + 2] | (unsigned)g->bytes[at + 3] << 8) == tag)
            return at + 2;
    fail_msg("%s: no tag %u", g->name, tag);
    return 0;
}

static void assert_refused(struct au_decoder *decoder, struct golden_image *g, const struct patch *p)
{
    static const unsigned char large[] = {4, 0, 1, 0, 0, 0, 0, 0, 4, 0};
    const size_t n = p->tag ? sizeof large : p->n, at = p->tag ? find_tag(g, p->tag) + 2 : p->at;
    struct im_text text = {""};
    unsigned char saved[24];
    struct au_image image;
    int result;

    memcpy(saved, g->bytes + at, n);
    memcpy(g->bytes + at, p->tag ? large : (const void *)p->bytes, n);
    result = au_decoder_open(decoder, g->bytes, g->n, &image, &text);
    memcpy(g->bytes + at, saved, n);
    if (result != p->verdict)
        fail_msg("%s: verdict %d (%s) and not %d", p->name, result, text.s, p->verdict);
    assert_int_equal(au_decoder_open(decoder, g->bytes, g->n, &image, &text), 0);
}

/* Headers that tell of more pixels, or of larger parts, than there may be: refused when the file is opened, within
 * a memory limit that holds for the image itself. */
static void size_bombs_of_all_formats_are_refused_by_their_headers(void **state)
{
    static const struct patch patches[] = {
        {"gif-palette", 6, 4, "\xff\xff\xff\xff", IM_VERDICT_TOO_LARGE, 0},
        {"gif-palette", 6, 4, "\xff\x7f\x00\x20", IM_VERDICT_TOO_LARGE, 0},
        {"gif-palette", 6, 4, "\0\x20\0\x20", IM_VERDICT_MEMORY_LIMIT, 0},
        {"bmp-24", 18, 8, "\xff\xff\0\0\xff\xff\0\0", IM_VERDICT_TOO_LARGE, 0},
        {"bmp-24", 18, 8, "\0\x80\0\0\0\x80\0\0", IM_VERDICT_TOO_LARGE, 0},
        {"bmp-24", 18, 8, "\0\x20\0\0\0\x20\0\0", IM_VERDICT_TRUNCATED, 0},
        {"bmp-rle8", 18, 8, "\0\x20\0\0\0\x20\0\0", IM_VERDICT_MEMORY_LIMIT, 0},
        {"webp-animated", 24, 6, "\xff\xff\0\xff\x7f\0", IM_VERDICT_TOO_LARGE, 0},
        {"webp-animated", 24, 6, "\xff\x1f\0\xff\x1f\0", IM_VERDICT_MEMORY_LIMIT, 0},
        {"tiff-rgb", 0, 0, NULL, IM_VERDICT_TOO_LARGE, 256},              /* width */
        {"tiff-tiles", 0, 0, NULL, IM_VERDICT_TOO_LARGE, 257},            /* height */
        {"tiff-tiles-deflate", 0, 0, NULL, IM_VERDICT_MEMORY_LIMIT, 323}, /* height of a tile */
        {"jp2-codestream", 8, 24, "\0\0\x80\0\0\0\x80\0\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\x80\0",
         IM_VERDICT_TOO_LARGE, 0},
        {"jp2-codestream", 8, 24, "\0\0\x20\0\0\0\x20\0\0\0\0\0\0\0\0\0\0\0\x20\0\0\0\x20\0",
         IM_VERDICT_MEMORY_LIMIT, 0},
    };
    static const char ppm[] = "P6 65535 65535 255\n", small[] = "P6 8000 8000 255\n";
    static struct golden_images golden;
    struct au_limits limits = AU_LIMITS_DEFAULT;
    struct au_decoder *decoder;

    (void)state;
    limits.memory_max = (size_t)4 << 20;
    assert_true(golden_images_add(&golden, "images.bin") > 0);
    assert_int_equal(au_decoder_new(&decoder, &limits), 0);
    for (size_t i = 0; i < IM_COUNT(patches); i++) {
        struct golden_image *g = golden.images;

        while (strcmp(g->name, patches[i].name) != 0)
            g++;
        if (!golden_image_is_left_out(g))
            assert_refused(decoder, g, &patches[i]);
    }
    au_decoder_free(&decoder);
    golden_images_free(&golden);
    assert_int_equal(verdict(&limits, ppm, sizeof ppm - 1), IM_VERDICT_TOO_LARGE);
    assert_int_equal(verdict(&limits, small, sizeof small - 1), IM_VERDICT_TRUNCATED);
}

/* What the header tells is what it takes of our own memory: enough for the image, and a byte less is not. */
static void every_format_fits_into_the_memory_that_its_header_told(void **state)
{
    static struct golden_images golden;
    const struct au_sink sink = {ignore, NULL};

    (void)state;
    assert_true(golden_images_add(&golden, "images.bin") > 0);
    for (size_t i = 0; i < golden.count; i++) {
        const struct golden_image *g = &golden.images[i];
        const struct imk_box whole = {0, 0, g->w, g->h};
        struct au_limits limits = AU_LIMITS_DEFAULT;
        struct au_decoder *decoder;
        struct au_image image;
        struct im_text text = {""};

        if (golden_image_is_left_out(g))
            continue;
        assert_int_equal(au_decoder_new(&decoder, &limits), 0);
        assert_int_equal(au_decoder_open(decoder, g->bytes, g->n, &image, NULL), 0);
        au_decoder_free(&decoder);
        assert_true(image.memory > 0);
        limits.memory_max = (size_t)image.memory - 1;
        assert_int_equal(au_decoder_new(&decoder, &limits), 0);
        assert_int_equal(au_decoder_open(decoder, g->bytes, g->n, &image, NULL), IM_VERDICT_MEMORY_LIMIT);
        au_decoder_free(&decoder);
        limits.memory_max++;
        assert_int_equal(au_decoder_new(&decoder, &limits), 0);
        if (au_decoder_open(decoder, g->bytes, g->n, &image, &text) != 0 ||
            au_decoder_rows(decoder, 1, &whole, &sink, &text) != 0)
            fail_msg("%s: %s", g->name, text.s);
        au_decoder_free(&decoder);
    }
    golden_images_free(&golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_images_may_have_fewer_scans),
        cmocka_unit_test(too_many_scans_are_seen_when_the_file_is_opened),
        cmocka_unit_test(memory_is_held_against_the_limit_before_any_is_taken),
        cmocka_unit_test(a_progressive_image_takes_what_its_header_told),
        cmocka_unit_test(floods_of_markers_are_passed_over),
        cmocka_unit_test(floods_of_png_chunks_are_passed_over),
        cmocka_unit_test(webp_size_bomb_is_refused_by_its_header),
        cmocka_unit_test(size_bombs_of_all_formats_are_refused_by_their_headers),
        cmocka_unit_test(every_format_fits_into_the_memory_that_its_header_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
