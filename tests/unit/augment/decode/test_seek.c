/* The seek index of an image: with it a crop has the same pixels as without, be it this image's or not. */
#include <errno.h>
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
#include "tests/unit/augment/sample.h"

static const struct jpeg_spec plain[] = {
    {JPEG_YCC, 480, 360, 2, 2, false, false, false, 0, 96},
    {JPEG_YCC, 401, 299, 1, 1, false, false, false, 0, 96},
    {JPEG_YCC, 487, 93, 2, 1, false, false, false, 0, 95},
    {JPEG_YCC, 190, 431, 1, 2, false, false, false, 0, 100},
    {JPEG_GREY, 429, 265, 1, 1, false, false, false, 0, 99},
    {JPEG_GREY, 399, 299, 2, 2, false, false, false, 0, 98},
    {JPEG_RGB, 297, 264, 1, 1, false, false, false, 0, 90},
    {JPEG_CMYK, 280, 180, 1, 1, false, false, false, 0, 95},
    {JPEG_YCCK, 300, 160, 2, 2, false, false, false, 0, 97},
    {JPEG_YCC, 540, 160, 4, 1, false, false, false, 0, 97},
};

struct fixture {
    struct au_decoder *own, *library;
    uint32_t random;
};

static struct sample sample;

static uint32_t next_random(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)*state * n) >> 32);
}

static int set_up(void **state)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->random = 11;
    assert_int_equal(au_decoder_new(&f->own, &limits), 0);
    assert_int_equal(au_decoder_new(&f->library, &limits), 0);
    au_decoder_use_library(f->library, true);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    au_decoder_free(&f->own);
    au_decoder_free(&f->library);
    free(f);
    return 0;
}

static struct imk_box random_box(struct fixture *f, const struct au_image *image)
{
    struct imk_box box = {.w = 1 + next_random(&f->random, image->width),
                          .h = 1 + next_random(&f->random, image->height)};

    box.x = next_random(&f->random, image->width - box.w + 1);
    box.y = next_random(&f->random, image->height - box.h + 1);
    return box;
}

/* Decodes a random box at 1/scale with the mode, and with libjpeg's decoder. Returns the common result. */
static int both_at(struct fixture *f, const void *bytes, size_t n, uint32_t scale, enum au_seek_mode mode)
{
    struct au_image image;
    struct au_pixels a, b;
    struct imk_box box;
    int result;

    au_decoder_seek_mode(f->own, mode);
    result = au_decoder_open(f->own, bytes, n, &image, NULL);
    assert_int_equal(au_decoder_open(f->library, bytes, n, &image, NULL), result);
    if (result != 0)
        return result;
    image.width = au_scaled_side(image.width, scale);
    image.height = au_scaled_side(image.height, scale);
    box = random_box(f, &image);
    result = au_decoder_region_scaled(f->own, scale, &box, &a, NULL);
    assert_int_equal(au_decoder_region_scaled(f->library, scale, &box, &b, NULL), result);
    for (uint32_t y = 0; result == 0 && y < box.h; y++)
        if (memcmp(a.data + y * a.stride, b.data + y * b.stride, (size_t)3 * box.w) != 0)
            fail_msg("row %u of box %u,%u %ux%u differs", y, box.x, box.y, box.w, box.h);
    return result;
}

static int both(struct fixture *f, const void *bytes, size_t n, enum au_seek_mode mode)
{
    return both_at(f, bytes, n, 1, mode);
}

/* Records the index of a file, while a box of it is decoded. */
static bool record(struct fixture *f, const void *bytes, size_t n)
{
    if (both(f, bytes, n, AU_SEEK_RECORD) != 0)
        return false;
    return au_decoder_seek_finish(f->own);
}

static void crops_with_an_index_are_the_same(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        assert_true(record(f, bytes, n));
        for (int box = 0; box < 60; box++) {
            assert_int_equal(both_at(f, bytes, n, box < 40 ? 1 : 2u << box % 3, AU_SEEK_USE), 0);
            assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_USED);
        }
        free(bytes);
    }
}

/* A decoder that has recorded an image keeps tables for skipping. A run's has not: it gets the index from a file. */
static void forget_tables(struct fixture *f)
{
    const struct au_limits limits = AU_LIMITS_DEFAULT;
    unsigned char *bytes = malloc(AU_SEEK_BYTES_MAX);
    size_t n = au_seek_pack(au_decoder_seek(f->own), bytes, AU_SEEK_BYTES_MAX);

    au_decoder_free(&f->own);
    assert_int_equal(au_decoder_new(&f->own, &limits), 0);
    assert_true(n > 0 && au_seek_unpack(au_decoder_seek(f->own), bytes, n));
    free(bytes);
}

static void crops_of_a_decoder_that_never_recorded_are_the_same(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        assert_true(record(f, bytes, n));
        forget_tables(f);
        for (int box = 0; box < 40; box++) {
            assert_int_equal(both(f, bytes, n, AU_SEEK_USE), 0);
            assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_USED);
        }
        free(bytes);
    }
}

/* The index without pixels. */
static void make_alone(struct fixture *f, const void *bytes, size_t n)
{
    struct au_image image;

    assert_int_equal(au_decoder_open(f->own, bytes, n, &image, NULL), 0);
    assert_true(au_decoder_seek_make(f->own));
    assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_NONE);
}

static void what_was_recorded_does_not_depend_on_the_crop(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        struct au_seek_point *first = NULL;
        struct au_seek *seek = au_decoder_seek(f->own);
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        for (int box = 0; box < 8; box++) {
            assert_true(record(f, bytes, n));
            assert_int_equal(seek->count, au_seek_total(seek));
            if (!first) {
                first = malloc(seek->count * sizeof *first);
                assert_non_null(first);
                memcpy(first, seek->points, seek->count * sizeof *first);
            }
            assert_memory_equal(first, seek->points, seek->count * sizeof *first);
        }
        seek->count = 0;
        make_alone(f, bytes, n);
        assert_int_equal(seek->count, au_seek_total(seek));
        assert_memory_equal(first, seek->points, seek->count * sizeof *first);
        assert_int_equal(first[0].bit, 0);
        free(first);
        free(bytes);
    }
}

static void spoil(struct fixture *f, struct au_seek_point *point)
{
    switch (next_random(&f->random, 4)) {
    case 0:
        point->bit += 1 + next_random(&f->random, 64);
        break;
    case 1:
        point->bit = (uint64_t)next_random(&f->random, UINT32_MAX) << next_random(&f->random, 32);
        break;
    case 2:
        point->bit -= 1 + next_random(&f->random, 64); /* may be far beyond the end */
        break;
    default:
        point->dc[next_random(&f->random, AU_SEEK_COMPONENTS)] ^= 1 << next_random(&f->random, 31);
        break;
    }
}

/* No point of the index is what it should be. */
static void wrong_points_change_no_pixel(void **state)
{
    struct fixture *f = *state;
    uint32_t wrong = 0;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        struct au_seek *seek = au_decoder_seek(f->own);
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        for (int k = 0; k < 60; k++) {
            assert_true(record(f, bytes, n));
            for (uint32_t p = 0; p < seek->count; p++)
                spoil(f, &seek->points[p]);
            assert_int_equal(both(f, bytes, n, AU_SEEK_USE), 0);
            assert_false(au_decoder_used_library(f->own));
            wrong += au_decoder_seek_result(f->own) == AU_SEEK_WRONG;
        }
        free(bytes);
    }
    assert_int_equal(wrong, 60 * IM_COUNT(plain));
}

struct rows {
    unsigned char *out;
    size_t row_bytes;
    uint32_t next, begun; /* the row that is due; times that row 0 came */
    bool first_differed;  /* what was given the first time is not what was given the last time */
};

static void gather(void *context, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    struct rows *r = context;

    r->begun += first == 0;
    assert_int_equal(first, first == 0 ? 0 : r->next);
    for (uint32_t y = 0; y < count; y++) {
        unsigned char *to = r->out + (first + y) * r->row_bytes;

        r->first_differed |= r->begun == 2 && memcmp(to, rows->data + y * rows->stride, r->row_bytes) != 0;
        memcpy(to, rows->data + y * rows->stride, r->row_bytes);
    }
    r->next = first + count;
}

/* Strips that were made with a wrong index are gone by the time that it is noticed: all are given again. */
static void strips_of_a_wrong_index_are_given_again(void **state)
{
    static const struct jpeg_spec large = {JPEG_YCC, 1600, 400, 2, 2, false, false, false, 0, 96};
    struct fixture *f = *state;
    const struct imk_box box = {7, 3, 1500, 390};
    struct rows rows = {.row_bytes = (size_t)3 * box.w};
    const struct au_sink sink = {gather, &rows};
    struct au_seek *seek = au_decoder_seek(f->own);
    struct au_pixels pixels;
    struct au_image image;
    size_t n;
    unsigned char *bytes = jpeg_make(&large, &n);

    rows.out = malloc(rows.row_bytes * box.h);
    assert_non_null(rows.out);
    assert_true(record(f, bytes, n));
    /* All brightness of the first row of MCUs, which the crop's strips begin with, and what tells in the last. */
    for (uint32_t p = 0; p < seek->per_row; p++)
        seek->points[p].dc[0] += 64;
    seek->points[(uint64_t)seek->per_row * (seek->mcu_rows - 1)].dc[0] += 64;
    au_decoder_seek_mode(f->own, AU_SEEK_USE);
    assert_int_equal(au_decoder_open(f->own, bytes, n, &image, NULL), 0);
    assert_int_equal(au_decoder_rows(f->own, 1, &box, &sink, NULL), 0);
    assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_WRONG);
    assert_int_equal(rows.begun, 2);
    assert_true(rows.first_differed);
    assert_int_equal(rows.next, box.h);
    assert_int_equal(au_decoder_open(f->library, bytes, n, &image, NULL), 0);
    assert_int_equal(au_decoder_region(f->library, &box, &pixels, NULL), 0);
    for (uint32_t y = 0; y < box.h; y++)
        assert_memory_equal(rows.out + y * rows.row_bytes, pixels.data + y * pixels.stride, rows.row_bytes);
    free(rows.out);
    free(bytes);
}

/* A single wrong point is noticed by whoever begins with it in the crop's last row, or passes it. */
static void one_wrong_point_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct au_seek *seek = au_decoder_seek(f->own);
    struct au_pixels pixels;
    struct au_image image;
    size_t n;
    unsigned char *bytes = jpeg_make(&plain[1], &n);

    for (uint32_t p = 0; p + 1 < 50; p++) {
        struct imk_box box;

        assert_true(record(f, bytes, n));
        spoil(f, &seek->points[p]);
        au_decoder_seek_mode(f->own, AU_SEEK_USE);
        assert_int_equal(au_decoder_open(f->own, bytes, n, &image, NULL), 0);
        /* The whole rows of MCUs down to the point's, whose end is compared with the next row's beginning. */
        box = (struct imk_box){0, 0, image.width, 8 * (p / seek->per_row + 1)};
        assert_int_equal(au_decoder_region(f->own, &box, &pixels, NULL), 0);
        assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_WRONG);
    }
    free(bytes);
}

/* Decodes a box from the header and the bytes [from, to), all others being wrong. */
static int from_parts(struct fixture *f, const unsigned char *bytes, size_t n, size_t from, size_t to,
                      const struct imk_box *box, struct au_pixels *ret)
{
    const size_t head = au_decoder_scan(f->own).at;
    static unsigned char *parts;
    struct au_image image;
    int result;

    free(parts); /* that of the call before: the decoder refers to it no more */
    parts = malloc(n);
    assert_non_null(parts);
    memset(parts, 0x55, n);
    memcpy(parts, bytes, head);
    memcpy(parts + from, bytes + from, to - from);
    au_decoder_seek_parts(f->own, from, to);
    assert_int_equal(au_decoder_open(f->own, parts, n, &image, NULL), 0);
    result = au_decoder_region(f->own, box, ret, NULL);
    assert_int_equal(au_decoder_seek_result(f->own), result == 0 ? AU_SEEK_USED : AU_SEEK_WRONG);
    return result;
}

/* What the extent says is enough for the crop; with a byte less there is no pixel. */
static void parts_of_a_file_are_enough(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        const bool is_usual = plain[i].v_sampling == plain[i].h_sampling;
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        assert_true(record(f, bytes, n));
        forget_tables(f);
        assert_int_equal(both(f, bytes, n, AU_SEEK_USE), 0);
        if (plain[i].colour == JPEG_GREY && plain[i].h_sampling > 1) {
            const struct au_scan_shape none = au_decoder_scan(f->own);
            uint64_t from, to;

            assert_false(
                au_seek_extent(au_decoder_seek(f->own), &none, &(struct imk_box){0, 0, 8, 8}, &from, &to));
            free(bytes);
            continue;
        }
        for (int k = 0; k < 100; k++) {
            const struct au_scan_shape shape = au_decoder_scan(f->own);
            const struct au_image image = au_decoder_image(f->own);
            struct au_pixels a, b;
            struct imk_box box = random_box(f, &image);
            struct au_image again;
            uint64_t from, to;

            if (k % 4 == 0) /* at the borders of MCUs, where upsampling looks over them */
                box.h = (box.y + box.h) / 16 * 16 > box.y ? (box.y + box.h) / 16 * 16 - box.y : box.h;
            assert_true(au_seek_extent(au_decoder_seek(f->own), &shape, &box, &from, &to));
            to = to < n ? to : n;
            if (from_parts(f, bytes, n, from, to, &box, &a) != 0)
                fail_msg("image %zu: the extent of box %u,%u %ux%u is too small", i, box.x, box.y, box.w,
                         box.h);
            assert_int_equal(au_decoder_open(f->library, bytes, n, &again, NULL), 0);
            assert_int_equal(au_decoder_region(f->library, &box, &b, NULL), 0);
            for (uint32_t y = 0; y < box.h; y++)
                assert_memory_equal(a.data + y * a.stride, b.data + y * b.stride, (size_t)3 * box.w);
            if (!is_usual)
                continue;
            assert_int_equal(from_parts(f, bytes, n, from + 1, to, &box, &a), -ENODATA);
            assert_int_equal(from_parts(f, bytes, n, from, to - 3, &box, &a), -ENODATA);
        }
        free(bytes);
    }
}

/* What is no single baseline scan, has another shape or no sound header is not made of parts. */
static void parts_of_other_files_are_not_enough(void **state)
{
    static const struct jpeg_spec progressive = {JPEG_YCC, 480, 360, 2, 2, true, false, false, 0, 96};
    struct fixture *f = *state;
    struct au_image image;
    struct au_pixels pixels;
    size_t n, other_n;
    unsigned char *bytes = jpeg_make(&plain[0], &n), *other = jpeg_make(&progressive, &other_n);
    const struct imk_box box = {0, 0, 100, 100};

    assert_true(record(f, bytes, n));
    forget_tables(f);
    au_decoder_seek_parts(f->own, 700, other_n);
    assert_int_equal(au_decoder_open(f->own, other, other_n, &image, NULL), 0);
    assert_int_equal(au_decoder_region(f->own, &box, &pixels, NULL), -ENODATA);
    free(other);
    other = jpeg_make(&plain[1], &other_n);
    au_decoder_seek_parts(f->own, 0, other_n);
    assert_int_equal(au_decoder_open(f->own, other, other_n, &image, NULL), 0);
    assert_int_equal(au_decoder_region(f->own, &box, &pixels, NULL), -ENODATA);
    /* The next image is whole again. */
    assert_int_equal(both(f, bytes, n, AU_SEEK_OFF), 0);
    free(other);
    free(bytes);
}

static void the_index_of_another_image_changes_no_pixel(void **state)
{
    struct fixture *f = *state;
    struct jpeg_spec spec = plain[0];
    size_t n, other_n, odd_n;
    unsigned char *bytes = jpeg_make(&spec, &n), *other, *odd;

    spec.quality = 91;
    other = jpeg_make(&spec, &other_n);
    spec.w += 16;
    odd = jpeg_make(&spec, &odd_n);
    for (int k = 0; k < 20; k++) {
        assert_true(record(f, bytes, n));
        assert_int_equal(both(f, other, other_n, AU_SEEK_USE), 0);
        assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_WRONG);
        assert_int_equal(both(f, odd, odd_n, AU_SEEK_USE), 0);
        assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_WRONG);
    }
    free(bytes);
    free(other);
    free(odd);
}

static void what_has_no_index(void **state)
{
    const struct jpeg_spec others[] = {{JPEG_YCC, 480, 360, 2, 2, true, false, false, 0, 96},
                                       {JPEG_YCC, 480, 360, 2, 2, false, true, false, 0, 96},
                                       {JPEG_YCC, 480, 360, 2, 2, false, false, true, 0, 96},
                                       {JPEG_YCC, 480, 360, 2, 2, false, false, false, 4, 96},
                                       {JPEG_YCC, 64, 64, 2, 2, false, false, false, 0, 90}};
    struct fixture *f = *state;
    size_t n, other_n;
    unsigned char *bytes = jpeg_make(&plain[0], &n);

    for (size_t i = 0; i < IM_COUNT(others); i++) {
        unsigned char *other = jpeg_make(&others[i], &other_n);

        assert_false(record(f, other, other_n));
        assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_NONE);
        assert_true(record(f, bytes, n));
        assert_int_equal(both(f, other, other_n, AU_SEEK_USE), 0);
        assert_int_not_equal(au_decoder_seek_result(f->own), AU_SEEK_USED);
        free(other);
    }
    /* The mode is for one image, whether it can be opened or not. */
    assert_true(record(f, bytes, n));
    assert_int_equal(both(f, "none", 4, AU_SEEK_USE), IM_VERDICT_NOT_IMAGE);
    assert_int_equal(both(f, bytes, n, AU_SEEK_OFF), 0);
    assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_NONE);
    assert_false(au_decoder_seek_finish(f->own));
    free(bytes);
}

/* Damage that is met below the crop leaves the crop as it is, and there is no index. */
static void damaged_files_have_none(void **state)
{
    struct fixture *f = *state;
    uint32_t none = 0, cut = 0;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n), *copy = malloc(n);

        assert_non_null(copy);
        for (int k = 0; k < 40; k++) {
            memcpy(copy, bytes, n);
            copy[next_random(&f->random, (uint32_t)n)] ^= (unsigned char)(1u << next_random(&f->random, 8));
            if (!record(f, copy, n)) {
                none++;
                continue;
            }
            for (int box = 0; box < 3; box++)
                assert_int_equal(both(f, copy, n, AU_SEEK_USE), 0);
        }
        for (int k = 0; k < 10; k++) {
            size_t less = n - 3 - next_random(&f->random, (uint32_t)n / 4);

            memcpy(copy, bytes, less);
            memset(copy + less, 0, n - less);
            cut += !record(f, copy, less);
        }
        free(copy);
        free(bytes);
    }
    assert_true(none > 20);
    assert_int_equal(cut, 10 * IM_COUNT(plain));
}

/* Packs and unpacks the decoder's index. Returns how many bytes it took. */
static size_t through_bytes(struct fixture *f)
{
    struct au_seek *seek = au_decoder_seek(f->own);
    uint32_t count = seek->count;
    struct au_seek_point *points = malloc(count * sizeof *points);
    unsigned char *bytes = malloc(AU_SEEK_BYTES_MAX);
    size_t n;

    assert_true(points && bytes);
    memcpy(points, seek->points, count * sizeof *points);
    n = au_seek_pack(seek, bytes, AU_SEEK_BYTES_MAX);
    assert_in_range(n, 1, AU_SEEK_BYTES_MAX);
    assert_int_equal(au_seek_pack(seek, bytes, n - 1), 0);
    assert_int_equal(au_seek_pack(seek, bytes, n), n);
    memset(seek->points, 0x55, count * sizeof *points);
    for (size_t less = 0; less < n - 1; less += 1 + less / 50)
        assert_false(au_seek_unpack(seek, bytes, less));
    bytes = realloc(bytes, n); /* so that a sanitizer sees a read past the end */
    assert_non_null(bytes);
    assert_true(au_seek_unpack(seek, bytes, n));
    assert_int_equal(seek->count, count);
    assert_memory_equal(seek->points, points, count * sizeof *points);
    free(bytes);
    free(points);
    return n;
}

static void packed_and_unpacked_it_is_the_same(void **state)
{
    struct fixture *f = *state;

    for (size_t i = 0; i < IM_COUNT(plain); i++) {
        size_t n;
        unsigned char *bytes = jpeg_make(&plain[i], &n);

        assert_true(record(f, bytes, n));
        through_bytes(f);
        assert_int_equal(both(f, bytes, n, AU_SEEK_USE), 0);
        assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_USED);
        free(bytes);
    }
}

/* What no image has is refused, or kept. */
static void any_numbers_can_be_packed(void **state)
{
    struct fixture *f = *state;
    unsigned char *bytes = malloc(AU_SEEK_BYTES_MAX);
    struct au_seek seek = {0}, copy = {0};
    uint32_t packed = 0;

    assert_non_null(bytes);
    for (int k = 0; k < 500; k++) {
        uint32_t rows = 1 + next_random(&f->random, 20), shift = next_random(&f->random, 32);
        size_t n;

        assert_true(au_seek_plan(&seek, 1 + next_random(&f->random, 60), rows, 100000));
        for (seek.count = 0; seek.count < au_seek_total(&seek); seek.count++) {
            struct au_seek_point *point = &seek.points[seek.count];

            memset(point, 0, sizeof *point);
            if (seek.count == 0)
                continue;
            point->bit = point[-1].bit + (next_random(&f->random, UINT32_MAX) >> shift);
            for (int c = 0; c < AU_SEEK_COMPONENTS; c++)
                point->dc[c] = (int32_t)(next_random(&f->random, UINT32_MAX) - (UINT32_MAX >> 1)) >> shift;
        }
        n = au_seek_pack(&seek, bytes, AU_SEEK_BYTES_MAX);
        if (n == 0)
            continue;
        packed++;
        assert_true(au_seek_unpack(&copy, bytes, n));
        assert_int_equal(copy.count, seek.count);
        assert_memory_equal(copy.points, seek.points, seek.count * sizeof *seek.points);
    }
    assert_in_range(packed, 400, 499);
    au_seek_fini(&seek);
    au_seek_fini(&copy);
    free(bytes);
}

static void real_images(void **state)
{
    struct fixture *f = *state;
    uint32_t with_index = 0;
    size_t packed = 0, bytes = 0;

    if (sample_open(&sample) < 0)
        skip();
    for (size_t i = 0; i < sample.count; i++) {
        const struct sample_file *file = &sample.files[i];

        bytes += file->n;
        if (!record(f, file->bytes, file->n))
            continue;
        with_index++;
        packed += through_bytes(f);
        for (int box = 0; box < 8; box++) {
            assert_int_equal(both(f, file->bytes, file->n, AU_SEEK_USE), 0);
            assert_int_equal(au_decoder_seek_result(f->own), AU_SEEK_USED);
        }
    }
    assert_true(with_index > 180);
    print_message("%zu bytes of index, %.2f%% of the images\n", packed,
                  100.0 * (double)packed / (double)bytes);
    assert_true(packed * 100 < bytes);
    sample_close(&sample);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(crops_with_an_index_are_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(crops_of_a_decoder_that_never_recorded_are_the_same, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_recorded_does_not_depend_on_the_crop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_points_change_no_pixel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strips_of_a_wrong_index_are_given_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_wrong_point_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_a_file_are_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(parts_of_other_files_are_not_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packed_and_unpacked_it_is_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_numbers_can_be_packed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_index_of_another_image_changes_no_pixel, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_has_no_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_files_have_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(real_images, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
