/* The image kernels: the reference against Pillow's own results, the SIMD versions against the reference, all
 * bit for bit. Guard bytes around every output show that nothing outside is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "kernels/image.h"

#define GUARD 0xa5
#define GUARD_BYTES 64

struct bitmap {
    uint32_t w, h;
    size_t stride;
    unsigned char *data, *memory;
};

static struct bitmap bitmap_new(uint32_t w, uint32_t h, size_t slack)
{
    struct bitmap b = {.w = w, .h = h, .stride = (size_t)3 * w + slack};
    size_t bytes = b.stride * h + 2 * GUARD_BYTES;

    b.memory = malloc(bytes);
    assert_non_null(b.memory);
    memset(b.memory, GUARD, bytes);
    b.data = b.memory + GUARD_BYTES;
    return b;
}

static void assert_guards(const struct bitmap *b)
{
    for (size_t i = 0; i < GUARD_BYTES; i++) {
        assert_int_equal(b->memory[i], GUARD);
        assert_int_equal(b->data[b->stride * b->h + i], GUARD);
    }
}

static unsigned char pattern_value(unsigned pattern, uint32_t x, uint32_t y, uint32_t c)
{
    if (pattern == 0)
        return (unsigned char)(x * x * 3 + y * y * 5 + x * y * 7 + c * 85 +
                               (((x * 37) ^ (y * 91) ^ (c * 13)) & 63));
    if (pattern == 1)
        return (unsigned char)(255 * ((x + y + c) & 1));
    return 255;
}

static struct bitmap pattern_bitmap(unsigned pattern, uint32_t w, uint32_t h)
{
    struct bitmap b = bitmap_new(w, h, 0);

    for (uint32_t y = 0; y < h; y++)
        for (uint32_t x = 0; x < w; x++)
            for (uint32_t c = 0; c < 3; c++)
                b.data[y * b.stride + (size_t)3 * x + c] = pattern_value(pattern, x, y, c);
    return b;
}

/* Resizes the part of `source` that the axes ask for, with the slack that the kernels are promised
 * and no more. */
static struct bitmap resize(const struct imk_image_ops *ops, const struct bitmap *source,
                            const struct imk_axis *h_axis, const struct imk_axis *v_axis)
{
    void *h_memory = malloc(imk_taps_bytes(h_axis)), *v_memory = malloc(imk_taps_bytes(v_axis));
    struct bitmap rows, out = bitmap_new(h_axis->count, v_axis->count, 0);
    struct imk_taps h, v;

    assert_true(h_memory && v_memory);
    imk_taps_fill(&h, h_axis, 0.0, (double)h_axis->in, ops, h_memory);
    imk_taps_fill(&v, v_axis, 0.0, (double)v_axis->in, ops, v_memory);
    assert_true(h.end <= h_axis->in && v.end <= v_axis->in);
    rows = bitmap_new(h_axis->count, v.end - v.begin, IMK_SLACK);
    ops->resize_rows(rows.data, rows.stride, source->data + v.begin * source->stride + (size_t)3 * h.begin,
                     source->stride, rows.h, &h);
    ops->resize_columns(out.data, out.stride, rows.data, rows.stride, (size_t)3 * out.w, &v);
    assert_guards(&rows);
    assert_guards(&out);
    free(rows.memory);
    free(h_memory);
    free(v_memory);
    return out;
}

static struct bitmap resize_whole(const struct imk_image_ops *ops, const struct bitmap *source, uint32_t w,
                                  uint32_t h)
{
    struct imk_axis h_axis = {source->w, w, 0, w, false}, v_axis = {source->h, h, 0, h, false};

    return resize(ops, source, &h_axis, &v_axis);
}

static uint32_t read_u16(FILE *f, int *ret_end)
{
    int low = fgetc(f), high = fgetc(f);

    *ret_end = low == EOF;
    return (uint32_t)low | (uint32_t)high << 8;
}

/* Runs all cases of the golden file through one table of functions. */
static void assert_pillow(const struct imk_image_ops *ops)
{
    FILE *f = fopen(GOLDEN_DIR "/resize.bin", "rb");
    int end, cases = 0;

    assert_non_null(f);
    for (;;) {
        uint32_t field[5];

        for (int i = 0; i < 5; i++)
            field[i] = read_u16(f, &end);
        if (end)
            break;
        struct bitmap source = pattern_bitmap(field[0], field[1], field[2]);
        struct bitmap out = resize_whole(ops, &source, field[3], field[4]);
        size_t bytes = (size_t)3 * out.w * out.h;
        unsigned char *expected = malloc(bytes);

        assert_non_null(expected);
        assert_int_equal(fread(expected, 1, bytes, f), bytes);
        assert_memory_equal(out.data, expected, bytes);
        free(expected);
        free(source.memory);
        free(out.memory);
        cases++;
    }
    fclose(f);
    assert_int_equal(cases, 20);
}

static void reference_resizes_as_pillow(void **state)
{
    struct imk_image_ops ops;

    (void)state;
    imk_image_ops_init(&ops, 0);
    assert_string_equal(ops.name, "ref");
    assert_pillow(&ops);
}

/* The SIMD versions, by what they ask of the CPU. One that this CPU cannot run is not tested, which is said. */
static const struct {
    const char *name;
    unsigned flags;
} versions[] = {{"avx2", IMK_CPU_AVX2}, {"avx512", IMK_CPU_AVX2 | IMK_CPU_AVX512}};

enum { VERSIONS = IM_COUNT(versions) };

static bool version_init(struct imk_image_ops *ops, size_t version)
{
    if ((versions[version].flags & ~imk_cpu_flags()) != 0) {
        print_message("not tested: this CPU has no %s\n", versions[version].name);
        return false;
    }
    imk_image_ops_init(ops, versions[version].flags);
    assert_string_equal(ops->name, versions[version].name);
    return true;
}

static void all_versions_resize_as_pillow(void **state)
{
    struct imk_image_ops ops;

    (void)state;
    for (size_t version = 0; version < VERSIONS; version++)
        if (version_init(&ops, version))
            assert_pillow(&ops);
}

/* Source sizes from tiny to many taps, so that every remainder of rows, columns and taps comes up. */
static void assert_equals_reference(const struct imk_image_ops *simd)
{
    struct imk_image_ops ref;
    uint32_t seed = 1;

    imk_image_ops_init(&ref, 0);
    for (int i = 0; i < 400; i++) {
        uint32_t side[4];

        for (int k = 0; k < 4; k++) {
            seed = seed * 1664525 + 1013904223;
            side[k] = 1 + (seed >> 8) % (i % 8 == 0 ? 700 : 90);
        }
        struct bitmap source = pattern_bitmap(i % 5 == 4, side[0], side[1]);
        struct imk_axis h = {side[0], side[2], side[2] / 3, side[2] - side[2] / 3, i % 2 == 0};
        struct imk_axis v = {side[1], side[3], side[3] / 4, side[3] - side[3] / 4, i % 3 == 0};
        struct bitmap a = resize(&ref, &source, &h, &v), b = resize(simd, &source, &h, &v);

        assert_memory_equal(a.data, b.data, a.stride * a.h);
        free(a.memory);
        free(b.memory);
        free(source.memory);
    }
}

static void simd_equals_reference_bit_for_bit(void **state)
{
    struct imk_image_ops simd;

    (void)state;
    for (size_t version = 0; version < VERSIONS; version++)
        if (version_init(&simd, version))
            assert_equals_reference(&simd);
}

/* White stays white where the weights' rounding makes their sum larger than one. */
static void white_stays_white(void **state)
{
    struct imk_image_ops simd;

    (void)state;
    for (size_t version = 0; version < VERSIONS; version++) {
        if (!version_init(&simd, version))
            continue;
        for (uint32_t side = 1; side < 200; side += 7) {
            struct bitmap source = pattern_bitmap(2, side, 211 - side), out;

            out = resize_whole(&simd, &source, 97, 61);
            for (size_t i = 0; i < out.stride * out.h; i++)
                assert_int_equal(out.data[i], 255);
            free(source.memory);
            free(out.memory);
        }
    }
}

static void part_of_a_resize_equals_that_part_of_the_whole(void **state)
{
    struct bitmap source = pattern_bitmap(0, 123, 77);
    struct imk_axis h = {123, 50, 11, 20, false}, v = {77, 90, 33, 41, false};
    struct imk_image_ops ops;
    struct bitmap whole, part;

    (void)state;
    imk_image_ops_init(&ops, imk_cpu_flags());
    whole = resize_whole(&ops, &source, 50, 90);
    part = resize(&ops, &source, &h, &v);
    for (uint32_t y = 0; y < part.h; y++)
        assert_memory_equal(part.data + y * part.stride, whole.data + (y + 33) * whole.stride + 33,
                            part.stride);
    free(source.memory);
    free(whole.memory);
    free(part.memory);
}

static void mirrored_axis_reverses_the_columns(void **state)
{
    struct bitmap source = pattern_bitmap(0, 60, 40);
    struct imk_axis h = {60, 33, 0, 33, true}, v = {40, 20, 0, 20, false};
    struct imk_image_ops ops;
    struct bitmap whole, mirrored;
    unsigned char row[99];

    (void)state;
    imk_image_ops_init(&ops, imk_cpu_flags());
    whole = resize_whole(&ops, &source, 33, 20);
    mirrored = resize(&ops, &source, &h, &v);
    for (uint32_t y = 0; y < 20; y++) {
        ops.mirror_rgb(row, whole.data + y * whole.stride, 33);
        assert_memory_equal(mirrored.data + y * mirrored.stride, row, sizeof row);
    }
    free(source.memory);
    free(whole.memory);
    free(mirrored.memory);
}

static void identity_table_has_one_tap_each(void **state)
{
    struct imk_axis axis = {100, 100, 30, 40, false};
    void *memory = malloc(imk_taps_bytes(&axis));
    struct imk_image_ops ops;
    struct imk_taps taps;

    (void)state;
    assert_non_null(memory);
    imk_image_ops_init(&ops, imk_cpu_flags());
    imk_taps_fill(&taps, &axis, 0.0, (double)axis.in, &ops, memory);
    assert_int_equal(taps.begin, 30);
    assert_int_equal(taps.end, 70);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(taps.n[i], 1);
        assert_int_equal(taps.start[i], i);
        assert_int_equal(taps.weight[i * taps.stride], 1 << IMK_WEIGHT_BITS);
    }
    free(memory);
}

static void extreme_reduction_stays_within_its_table(void **state)
{
    struct imk_axis axis = {65500, 3, 0, 3, false};
    void *memory = malloc(imk_taps_bytes(&axis));
    struct imk_image_ops ops;
    struct imk_taps taps;

    (void)state;
    assert_non_null(memory);
    imk_image_ops_init(&ops, imk_cpu_flags());
    imk_taps_fill(&taps, &axis, 0.0, (double)axis.in, &ops, memory);
    assert_int_equal(taps.end, 65500);
    for (uint32_t i = 0; i < 3; i++) {
        int64_t sum = 0;

        assert_true(taps.n[i] <= taps.stride);
        for (uint32_t t = 0; t < taps.n[i]; t++)
            sum += taps.weight[i * taps.stride + t];
        assert_in_range(sum, (1 << IMK_WEIGHT_BITS) - 40000, (1 << IMK_WEIGHT_BITS) + 40000);
    }
    free(memory);
}

static void cmyk_extremes_are_pure_colours(void **state)
{
    /* As stored by Adobe: 255 = no ink. */
    static const unsigned char cmyk[5][4] = {
        {255, 255, 255, 255}, {255, 255, 255, 0}, {0, 255, 255, 255}, {0, 0, 0, 255}, {128, 64, 255, 200}};
    /* The last: white 200; (255-128)*200/255 = 99.6, (255-64)*200/255 = 149.8, 0. */
    static const unsigned char rgb[5][3] = {
        {255, 255, 255}, {0, 0, 0}, {0, 255, 255}, {0, 0, 0}, {100, 50, 200}};
    unsigned char out[15];
    struct imk_image_ops ops;

    (void)state;
    imk_image_ops_init(&ops, imk_cpu_flags());
    ops.cmyk_to_rgb(out, cmyk[0], 5);
    assert_memory_equal(out, rgb, sizeof out);
}

/* Coefficients and multipliers of up to `bits` bits, 1 in `share` not 0. */
static void random_block(int16_t block[64], uint16_t quant[64], uint32_t bits, uint32_t share, uint32_t *seed)
{
    for (int k = 0; k < 64; k++) {
        *seed = *seed * 1664525 + 1013904223;
        block[k] = (int16_t)((*seed >> 8) % share > 0 ? 0 : (int32_t)*seed >> (32 - bits));
        *seed = *seed * 1664525 + 1013904223;
        quant[k] = (uint16_t)(1 + (*seed >> 16) % (bits > 12 ? 65535 : 40));
    }
}

enum { DCT_ROW = 40 };

static bool transform_at(const struct imk_image_ops *ops, unsigned char samples[8 * DCT_ROW],
                         int16_t block[64], const uint16_t quant[64])
{
    unsigned char *rows[8];

    memset(samples, GUARD, 8 * DCT_ROW);
    for (int y = 0; y < 8; y++)
        rows[y] = samples + y * DCT_ROW;
    return ops->idct(rows, 16, block, quant);
}

/* What libjpeg-turbo makes of them is compared in unit_augment_decode_blocks. */
static void inverse_dct_equals_reference_and_clears_its_block(void **state)
{
    static const int16_t zeros[64];
    struct imk_image_ops ref, simd;
    uint32_t seed = 3, refused = 0, done = 0;

    (void)state;
    imk_image_ops_init(&ref, 0);
    imk_image_ops_init(&simd, imk_cpu_flags());
    for (uint32_t i = 0; i < 20000; i++) {
        unsigned char a[8 * DCT_ROW], b[8 * DCT_ROW];
        int16_t block[64], copy[64], before[64];
        uint16_t quant[64];
        bool is_done;

        random_block(block, quant, 1 + i % 16, 1 + i % 9, &seed);
        memcpy(copy, block, sizeof copy);
        memcpy(before, block, sizeof before);
        is_done = transform_at(&ref, a, block, quant);
        assert_int_equal(transform_at(&simd, b, copy, quant), is_done);
        assert_memory_equal(a, b, sizeof a);
        assert_memory_equal(block, is_done ? zeros : before, sizeof block);
        assert_memory_equal(copy, block, sizeof copy);
        for (int k = 0; k < 8 * DCT_ROW; k++)
            if (!is_done || k % DCT_ROW < 16 || k % DCT_ROW >= 24)
                assert_int_equal(a[k], GUARD);
        done += is_done;
        refused += !is_done;
    }
    assert_true(done > 8000 && refused > 2000);
}

/* What is a limit of pass 2 is made by one DC coefficient, which pass 1 takes times 4. */
static void inverse_dct_refuses_from_its_limit_on(void **state)
{
    static const struct {
        int16_t dc;
        bool is_done;
    } cases[] = {{4095, true}, {4096, false}, {-4096, true}, {-4097, false}};
    const unsigned flags[] = {0, imk_cpu_flags()};

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        unsigned char samples[8 * DCT_ROW];
        int16_t block[64] = {cases[i / 2].dc};
        uint16_t quant[64] = {1};
        struct imk_image_ops ops;

        imk_image_ops_init(&ops, flags[i % 2]);
        assert_int_equal(transform_at(&ops, samples, block, quant), cases[i / 2].is_done);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_resizes_as_pillow),
        cmocka_unit_test(all_versions_resize_as_pillow),
        cmocka_unit_test(simd_equals_reference_bit_for_bit),
        cmocka_unit_test(white_stays_white),
        cmocka_unit_test(part_of_a_resize_equals_that_part_of_the_whole),
        cmocka_unit_test(mirrored_axis_reverses_the_columns),
        cmocka_unit_test(identity_table_has_one_tap_each),
        cmocka_unit_test(extreme_reduction_stays_within_its_table),
        cmocka_unit_test(cmyk_extremes_are_pure_colours),
        cmocka_unit_test(inverse_dct_equals_reference_and_clears_its_block),
        cmocka_unit_test(inverse_dct_refuses_from_its_limit_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
