/* The augmentation kernels against what Pillow, torchvision and albumentations made of the same images
 * (tests/golden/make_ops.py): bit for bit, for the reference and for the fastest version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ops.h"
#include "tests/unit/kernels/ops_help.h"

/* Operations of the golden file. */
enum {
    POSTERIZE,
    SOLARIZE,
    INVERT,
    BRIGHTNESS,
    CONTRAST,
    AUTOCONTRAST,
    EQUALIZE,
    SATURATION,
    HUE,
    SHARPNESS,
    JITTER,
    ROTATE,
    SHEAR,
    TRANSLATE,
    PILLOW_NEAREST,
    PILLOW_BILINEAR,
    SHIFT_SCALE_ROTATE,
    OPERATIONS,
};

struct record {
    unsigned op, pattern, width, height;
    double p[6];
    uint32_t bytes;
    unsigned char expected[1000];
};

static uint64_t read_number(FILE *f, int bytes, bool *ret_end)
{
    uint64_t value = 0;

    for (int i = 0; i < bytes; i++) {
        int byte = fgetc(f);

        if (byte == EOF)
            *ret_end = true;
        value |= (uint64_t)(byte & 255) << 8 * i;
    }
    return value;
}

static bool read_record(FILE *f, struct record *r)
{
    bool end = false;

    r->op = (unsigned)read_number(f, 2, &end);
    r->pattern = (unsigned)read_number(f, 2, &end);
    r->width = (unsigned)read_number(f, 2, &end);
    r->height = (unsigned)read_number(f, 2, &end);
    for (int i = 0; i < 6; i++) {
        uint64_t bits = read_number(f, 8, &end);

        memcpy(&r->p[i], &bits, sizeof bits);
    }
    r->bytes = (uint32_t)read_number(f, 4, &end);
    if (end)
        return false;
    assert_true(r->bytes <= sizeof r->expected);
    assert_int_equal(fread(r->expected, 1, r->bytes, f), r->bytes);
    return true;
}

static void run_table(const struct imk_ops *ops, const struct record *r, const struct imk_image *image)
{
    struct imk_histogram histogram;
    struct imk_lut lut;

    imk_lut_identity(&lut);
    ops->histogram(image, &histogram);
    switch (r->op) {
    case POSTERIZE:
        imk_lut_posterize(&lut, (unsigned)r->p[0]);
        break;
    case SOLARIZE:
        imk_lut_solarize(&lut, r->p[0]);
        break;
    case INVERT:
        imk_lut_invert(&lut);
        break;
    case BRIGHTNESS:
        imk_lut_brightness(&lut, r->p[0]);
        break;
    case CONTRAST:
        imk_lut_contrast(&lut, imk_luma_mean(imk_luma_sum(ops, image), image->width, image->height), r->p[0]);
        break;
    case AUTOCONTRAST:
        imk_lut_autocontrast(&lut, &histogram);
        break;
    default:
        imk_lut_equalize(&lut, &histogram);
    }
    ops->apply_lut(image, image, &lut);
}

static void run_jitter(const struct imk_ops *ops, const struct record *r, const struct imk_image *image)
{
    struct imk_jitter jitter = {.brightness = r->p[1],
                                .contrast = r->p[2],
                                .saturation = r->p[3],
                                .hue_shift = imk_hue_shift(r->p[4])};

    for (int order = (int)r->p[0]; order > 0; order /= 10)
        jitter.order[jitter.count++] = (enum imk_jitter_step)(order % 10 - 1);
    imk_jitter(ops, image, &jitter);
}

static void run_colour(const struct imk_ops *ops, const struct record *r, const struct imk_image *image)
{
    void *scratch = malloc(imk_sharpness_bytes(image->width));

    assert_non_null(scratch);
    if (r->op == SATURATION)
        imk_saturation(ops, image, r->p[0]);
    else if (r->op == HUE)
        ops->steps(image, &(struct imk_step){IMK_STEP_HUE, imk_hue_shift(r->p[0]), 0}, 1, NULL);
    else if (r->op == SHARPNESS)
        ops->sharpness(image, r->p[0], scratch);
    else
        run_jitter(ops, r, image);
    free(scratch);
}

static void run_affine(const struct imk_ops *ops, const struct record *r, const struct imk_image *dst,
                       const struct imk_image *src)
{
    struct imk_affine a = {.fill = {10, 200, 90}};

    switch (r->op) {
    case ROTATE:
        imk_affine_rotate(&a, src->width, src->height, r->p[0]);
        a.filter = r->p[1] != 0 ? IMK_BILINEAR : IMK_NEAREST;
        break;
    case SHEAR:
        imk_affine_shear(&a, r->p[0], r->p[1]);
        a.filter = r->p[2] != 0 ? IMK_BILINEAR : IMK_NEAREST;
        break;
    case TRANSLATE:
        imk_affine_translate(&a, (int32_t)r->p[0], (int32_t)r->p[1]);
        a.filter = r->p[2] != 0 ? IMK_BILINEAR : IMK_NEAREST;
        break;
    case SHIFT_SCALE_ROTATE:
        imk_affine_shift_scale_rotate(&a, src->width, src->height, r->p[0], r->p[1], r->p[2], r->p[3]);
        a.filter = (int)r->p[4] % 2 ? IMK_BILINEAR : IMK_NEAREST;
        a.border = (enum imk_border)((int)r->p[4] / 2);
        ops->affine_opencv(dst, src, &a);
        return;
    default:
        memcpy(a.m, r->p, sizeof a.m);
        a.filter = r->op == PILLOW_BILINEAR ? IMK_BILINEAR : IMK_NEAREST;
    }
    ops->affine_pillow(dst, src, &a);
}

static void assert_record(const struct imk_ops *ops, const struct record *r)
{
    struct test_image src = test_image_new(r->width, r->height, 0), out = src;

    test_image_pattern(&src, r->pattern);
    if (r->op >= ROTATE) {
        out = test_image_new(r->width, r->height, 5);
        run_affine(ops, r, &out.image, &src.image);
    } else if (r->op >= SATURATION) {
        run_colour(ops, r, &out.image);
    } else {
        run_table(ops, r, &out.image);
    }

    struct test_image expected = test_image_new(r->width, r->height, 0);
    bool same;

    if (r->bytes == 4) {
        uint32_t crc = test_image_crc(&out);
        unsigned char bytes[4] = {(unsigned char)crc, (unsigned char)(crc >> 8), (unsigned char)(crc >> 16),
                                  (unsigned char)(crc >> 24)};

        same = memcmp(bytes, r->expected, 4) == 0;
    } else {
        memcpy(expected.image.pixels, r->expected, r->bytes);
        same = test_image_difference(&out, &expected) == 0;
    }
    if (!same)
        print_error("op %u pattern %u %ux%u (%g %g %g %g %g %g), difference %d\n", r->op, r->pattern,
                    r->width, r->height, r->p[0], r->p[1], r->p[2], r->p[3], r->p[4], r->p[5],
                    r->bytes == 4 ? -1 : test_image_difference(&out, &expected));
    assert_true(same);
    assert_true(test_image_intact(&out));
    test_image_free(&expected);
    if (out.memory != src.memory)
        test_image_free(&out);
    test_image_free(&src);
}

/* All records of operations first .. last, and that there is one of each. */
static void assert_golden(unsigned cpu_flags, unsigned first, unsigned last)
{
    FILE *f = fopen(GOLDEN_DIR "/ops.bin", "rb");
    unsigned seen[OPERATIONS] = {0};
    struct imk_ops ops;
    struct record r;

    assert_non_null(f);
    imk_ops_init(&ops, cpu_flags);
    while (read_record(f, &r)) {
        assert_true(r.op < OPERATIONS);
        seen[r.op]++;
        if (r.op >= first && r.op <= last)
            assert_record(&ops, &r);
    }
    fclose(f);
    for (unsigned op = first; op <= last; op++)
        assert_true(seen[op] > 0);
}

static void reference_tables_are_pillows(void **state)
{
    (void)state;
    assert_golden(0, POSTERIZE, EQUALIZE);
}

static void fastest_tables_are_pillows(void **state)
{
    (void)state;
    assert_golden(imk_cpu_flags(), POSTERIZE, EQUALIZE);
}

/* Hue and saturation over all 2^24 colours are among these. */
static void reference_colours_are_torchvisions(void **state)
{
    (void)state;
    assert_golden(0, SATURATION, JITTER);
}

static void fastest_colours_are_torchvisions(void **state)
{
    (void)state;
    assert_golden(imk_cpu_flags(), SATURATION, JITTER);
}

static void reference_geometry_is_torchvisions(void **state)
{
    (void)state;
    assert_golden(0, ROTATE, PILLOW_BILINEAR);
}

static void fastest_geometry_is_torchvisions(void **state)
{
    (void)state;
    assert_golden(imk_cpu_flags(), ROTATE, PILLOW_BILINEAR);
}

static void reference_shift_scale_rotate_is_albumentations(void **state)
{
    (void)state;
    assert_golden(0, SHIFT_SCALE_ROTATE, SHIFT_SCALE_ROTATE);
}

static void fastest_shift_scale_rotate_is_albumentations(void **state)
{
    (void)state;
    assert_golden(imk_cpu_flags(), SHIFT_SCALE_ROTATE, SHIFT_SCALE_ROTATE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_tables_are_pillows),
        cmocka_unit_test(fastest_tables_are_pillows),
        cmocka_unit_test(reference_colours_are_torchvisions),
        cmocka_unit_test(fastest_colours_are_torchvisions),
        cmocka_unit_test(reference_geometry_is_torchvisions),
        cmocka_unit_test(fastest_geometry_is_torchvisions),
        cmocka_unit_test(reference_shift_scale_rotate_is_albumentations),
        cmocka_unit_test(fastest_shift_scale_rotate_is_albumentations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
