/* The SIMD versions of the augmentation kernels against the reference, bit for bit, on random shapes, strides
 * and parameters and on extreme images; and what must hold for any version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "kernels/ops.h"
#include "tests/unit/kernels/ops_help.h"

struct pair {
    struct imk_ops ref, simd;
};

static int setup(void **state)
{
    static struct pair pair;

    imk_ops_init(&pair.ref, 0);
    imk_ops_init(&pair.simd, imk_cpu_flags());
    assert_string_equal(pair.ref.name, "ref");
    *state = &pair;
    return 0;
}

static const struct pair *versions(void **state)
{
    const struct pair *pair = *state;

    if (strcmp(pair->simd.name, "ref") == 0)
        skip();
    return pair;
}

/* A number below n, from a generator of the test's own. */
static uint32_t below(uint32_t *seed, uint32_t n)
{
    *seed = *seed * 1664525 + 1013904223;
    return (uint32_t)(((uint64_t)(*seed >> 4) * n) >> 28);
}

static double between(uint32_t *seed, double low, double high)
{
    return low + (high - low) * below(seed, 1u << 28) / (1u << 28);
}

static struct test_image random_image(uint32_t *seed)
{
    uint32_t width = 1 + below(seed, 70), height = 1 + below(seed, 20);
    struct test_image image = test_image_new(width, height, below(seed, 3) ? below(seed, 40) : 0);
    unsigned pattern = below(seed, TEST_PATTERNS + 3);

    test_image_pattern(&image, pattern < TEST_PATTERNS ? pattern : 0);
    if (pattern >= TEST_PATTERNS)
        for (uint32_t y = 0; y < height; y++)
            for (size_t i = 0; i < (size_t)3 * width; i++)
                image.image.pixels[y * image.image.stride + i] = (unsigned char)below(seed, 256);
    return image;
}

static void assert_same(const struct test_image *a, const struct test_image *b)
{
    assert_int_equal(test_image_difference(a, b), 0);
    assert_true(test_image_intact(a));
    assert_true(test_image_intact(b));
}

static struct imk_step random_step(uint32_t *seed)
{
    static const float factor[] = {0, 1, -0.5F, 1e9F, -1e9F, 2};
    uint32_t which = below(seed, 20);

    return (struct imk_step){(enum imk_step_kind)below(seed, 3), (unsigned char)below(seed, 256),
                             which < 6 ? factor[which] : (float)between(seed, 0, 2)};
}

static void colour_steps_equal_the_reference(void **state)
{
    const struct pair *v = versions(state);
    uint32_t seed = 1;

    for (int i = 0; i < 3000; i++) {
        struct test_image a = random_image(&seed), b = test_image_copy(&a);
        struct imk_step steps[4];
        unsigned count = below(&seed, 5);
        uint64_t sum_a = 1, sum_b = 2;

        for (unsigned k = 0; k < count; k++)
            steps[k] = random_step(&seed);
        v->ref.steps(&a.image, steps, count, &sum_a);
        v->simd.steps(&b.image, steps, count, i % 2 ? &sum_b : NULL);
        assert_same(&a, &b);
        assert_true(imk_luma_sum(&v->simd, &a.image) == sum_a);
        if (i % 2)
            assert_true(sum_a == sum_b);
        test_image_free(&a);
        test_image_free(&b);
    }
}

/* A step with every colour, for the two that mix channels; goldens do this for a few parameters only. */
static void every_colour_turns_and_fades_as_in_the_reference(void **state)
{
    const struct pair *v = versions(state);
    struct test_image a = test_image_new(4096, 4096, 0), b;
    struct imk_step steps[2] = {{IMK_STEP_SATURATION, 0, 0.37F}, {IMK_STEP_HUE, 119, 0}};

    test_image_pattern(&a, TEST_ALL_COLOURS);
    b = test_image_copy(&a);
    v->ref.steps(&a.image, steps, 2, NULL);
    v->simd.steps(&b.image, steps, 2, NULL);
    assert_same(&a, &b);
    test_image_free(&a);
    test_image_free(&b);
}

static void sharpness_equals_the_reference(void **state)
{
    const struct pair *v = versions(state);
    uint32_t seed = 2;

    for (int i = 0; i < 2000; i++) {
        struct test_image a = random_image(&seed), b = test_image_copy(&a);
        double factor = between(&seed, -0.5, 2.5);
        void *scratch = malloc(imk_sharpness_bytes(a.image.width));

        assert_non_null(scratch);
        v->ref.sharpness(&a.image, factor, scratch);
        v->simd.sharpness(&b.image, factor, scratch);
        assert_same(&a, &b);
        free(scratch);
        test_image_free(&a);
        test_image_free(&b);
    }
}

static void tables_and_histograms_equal_the_reference(void **state)
{
    const struct pair *v = versions(state);
    uint32_t seed = 3;

    for (int i = 0; i < 1000; i++) {
        struct test_image a = random_image(&seed), b = test_image_copy(&a);
        struct imk_histogram of_a, of_b;
        struct imk_lut lut;

        for (size_t k = 0; k < sizeof lut; k++)
            ((unsigned char *)&lut)[k] = (unsigned char)below(&seed, 256);
        v->ref.histogram(&a.image, &of_a);
        v->simd.histogram(&a.image, &of_b);
        assert_memory_equal(&of_a, &of_b, sizeof of_a);
        v->ref.apply_lut(&a.image, &a.image, &lut);
        v->simd.apply_lut(&b.image, &b.image, &lut);
        assert_same(&a, &b);
        test_image_free(&a);
        test_image_free(&b);
    }
}

/* Mostly near the identity, some far out, some without sense. */
static struct imk_affine random_affine(uint32_t *seed, const struct imk_image *src)
{
    struct imk_affine a = {.filter = (enum imk_filter)below(seed, 2),
                           .border = (enum imk_border)below(seed, 3),
                           .fill = {3, 250, 99}};
    uint32_t kind = below(seed, 8);
    double reach = kind < 5 ? 1 : kind < 7 ? 5 : 1e7;

    imk_affine_shift_scale_rotate(&a, src->width, src->height, between(seed, -180, 180),
                                  between(seed, 0.5, 1.5), between(seed, -0.5, 0.5) * reach,
                                  between(seed, -0.5, 0.5) * reach);
    if (kind == 4)
        a.m[1] = a.m[3] = 0;
    if (kind == 6)
        for (int i = 0; i < 6; i++)
            a.m[i] = between(seed, -300, 300);
    return a;
}

typedef void affine_op(const struct imk_image *dst, const struct imk_image *src, const struct imk_affine *a);

static void compare_affine(affine_op *ref, affine_op *simd, uint32_t seed)
{
    for (int i = 0; i < 6000; i++) {
        struct test_image src = random_image(&seed);
        struct test_image a = test_image_new(1 + below(&seed, 70), 1 + below(&seed, 20), below(&seed, 9));
        struct test_image b = test_image_copy(&a);
        struct imk_affine affine = random_affine(&seed, &src.image);

        ref(&a.image, &src.image, &affine);
        simd(&b.image, &src.image, &affine);
        assert_same(&a, &b);
        test_image_free(&src);
        test_image_free(&a);
        test_image_free(&b);
    }
}

static void affine_of_opencv_equals_the_reference(void **state)
{
    const struct pair *v = versions(state);

    compare_affine(v->ref.affine_opencv, v->simd.affine_opencv, 4);
}

static void affine_of_pillow_equals_the_reference(void **state)
{
    const struct pair *v = versions(state);

    compare_affine(v->ref.affine_pillow, v->simd.affine_pillow, 5);
}

/* More columns than the fast version takes at a time. */
static void wide_affine_equals_the_reference(void **state)
{
    const struct pair *v = versions(state);
    struct test_image src = test_image_new(1303, 40, 3), a = test_image_new(1301, 44, 0);
    struct test_image b = test_image_copy(&a);
    struct imk_affine affine = {.filter = IMK_BILINEAR, .border = IMK_BORDER_REFLECT_101};

    test_image_pattern(&src, 0);
    imk_affine_shift_scale_rotate(&affine, 1303, 40, 1.5, 1.01, 0.001, 0.02);
    v->ref.affine_opencv(&a.image, &src.image, &affine);
    v->simd.affine_opencv(&b.image, &src.image, &affine);
    assert_same(&a, &b);
    test_image_free(&src);
    test_image_free(&a);
    test_image_free(&b);
}

/* ---- Of any version ---- */

static void identity_affine_copies(void **state)
{
    const struct pair *v = *state;

    for (int i = 0; i < 4; i++) {
        const struct imk_ops *ops = i % 2 ? &v->simd : &v->ref;
        struct test_image src = test_image_new(61, 33, 1), dst = test_image_new(61, 33, 1);
        struct imk_affine a = {.filter = i / 2 ? IMK_BILINEAR : IMK_NEAREST};

        test_image_pattern(&src, 0);
        imk_affine_shift_scale_rotate(&a, 61, 33, 0, 1, 0, 0);
        ops->affine_opencv(&dst.image, &src.image, &a);
        assert_same(&src, &dst);
        imk_affine_rotate(&a, 61, 33, 360);
        ops->affine_pillow(&dst.image, &src.image, &a);
        assert_same(&src, &dst);
        test_image_free(&src);
        test_image_free(&dst);
    }
}

static void composed_table_equals_one_operation_after_the_other(void **state)
{
    const struct pair *v = *state;
    struct test_image a = test_image_new(50, 40, 0), b = test_image_new(50, 40, 0);
    struct imk_histogram first, second, mapped;
    struct imk_lut lut, step;

    test_image_pattern(&a, 1);
    test_image_pattern(&b, 1);
    v->ref.histogram(&a.image, &first);
    imk_lut_identity(&lut);
    imk_lut_posterize(&lut, 5);
    imk_lut_solarize(&lut, 90);
    imk_histogram_map(&mapped, &first, &lut);
    imk_lut_equalize(&lut, &mapped);
    v->ref.apply_lut(&a.image, &a.image, &lut);

    imk_lut_identity(&step);
    imk_lut_posterize(&step, 5);
    v->ref.apply_lut(&b.image, &b.image, &step);
    imk_lut_identity(&step);
    imk_lut_solarize(&step, 90);
    v->ref.apply_lut(&b.image, &b.image, &step);
    v->ref.histogram(&b.image, &second);
    assert_memory_equal(&second, &mapped, sizeof mapped);
    imk_lut_identity(&step);
    imk_lut_equalize(&step, &second);
    v->ref.apply_lut(&b.image, &b.image, &step);
    assert_same(&a, &b);
    test_image_free(&a);
    test_image_free(&b);
}

static void contrast_equals_its_table(void **state)
{
    const struct pair *v = *state;
    uint32_t seed = 6;

    for (int i = 0; i < 500; i++) {
        struct test_image a = random_image(&seed), b = test_image_copy(&a);
        unsigned mean = below(&seed, 256);
        double factor = between(&seed, -0.2, 2.2);
        struct imk_lut lut;

        imk_lut_identity(&lut);
        imk_lut_contrast(&lut, mean, factor);
        v->ref.apply_lut(&a.image, &a.image, &lut);
        v->simd.steps(&b.image, &(struct imk_step){IMK_STEP_BLEND, (unsigned char)mean, (float)factor}, 1,
                      NULL);
        assert_same(&a, &b);
        test_image_free(&a);
        test_image_free(&b);
    }
}

static void posterize_to_no_bits_is_black(void **state)
{
    struct imk_lut lut;

    (void)state;
    imk_lut_identity(&lut);
    imk_lut_posterize(&lut, 0);
    for (int i = 0; i < 256; i++)
        assert_int_equal(lut.channel[1][i], 0);
}

/* The box with the colour, around it the pattern, whatever part of the box is inside. */
static void rectangles_are_filled_and_clipped(void **state)
{
    const struct imk_box boxes[] = {{3, 4, 5, 6},   {0, 0, 40, 30},       {35, 20, 99, 1},
                                    {39, 29, 9, 9}, {40, 0, 1, 1},        {5, 30, 1, 1},
                                    {5, 5, 0, 9},   {5, 5, 9, 0},         {1, 1, UINT32_MAX, UINT32_MAX},
                                    {7, 9, 1, 1},   {UINT32_MAX, 0, 9, 9}};
    const unsigned char colour[3] = {1, 2, 3};

    (void)state;
    for (size_t k = 0; k < IM_COUNT(boxes); k++) {
        struct test_image a = test_image_new(40, 30, 7), before = test_image_new(40, 30, 7);
        struct imk_box box = boxes[k];

        test_image_pattern(&a, 0);
        test_image_pattern(&before, 0);
        imk_fill(&a.image, box, colour);
        assert_true(test_image_intact(&a));
        for (uint32_t y = 0; y < 30; y++)
            for (uint32_t x = 0; x < 40; x++) {
                bool in = x >= box.x && y >= box.y && x - box.x < box.w && y - box.y < box.h;
                size_t at = y * a.image.stride + (size_t)3 * x;

                assert_memory_equal(a.image.pixels + at, in ? colour : before.image.pixels + at, 3);
            }
        test_image_free(&a);
        test_image_free(&before);
    }
}

static void rectangle_of_bytes_keeps_its_rows(void **state)
{
    struct test_image a = test_image_new(10, 8, 2);
    unsigned char bytes[3 * 6 * 5];

    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i + 1);
    test_image_pattern(&a, 3);
    imk_fill_bytes(&a.image, (struct imk_box){7, 6, 6, 5}, bytes);
    assert_true(test_image_intact(&a));
    assert_memory_equal(a.image.pixels + 6 * a.image.stride + 21, bytes, 9);
    assert_memory_equal(a.image.pixels + 7 * a.image.stride + 21, bytes + 18, 9);
    assert_int_equal(a.image.pixels[6 * a.image.stride + 20], 0);
    assert_int_equal(a.image.pixels[5 * a.image.stride + 21], 0);
    test_image_free(&a);
}

static void hue_factor_becomes_a_shift_as_torchvision_does_it(void **state)
{
    (void)state;
    assert_int_equal(imk_hue_shift(0.5), 127);
    assert_int_equal(imk_hue_shift(-0.5), 129);
    assert_int_equal(imk_hue_shift(0), 0);
    assert_int_equal(imk_hue_shift(-0.001), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(colour_steps_equal_the_reference),
        cmocka_unit_test(every_colour_turns_and_fades_as_in_the_reference),
        cmocka_unit_test(sharpness_equals_the_reference),
        cmocka_unit_test(tables_and_histograms_equal_the_reference),
        cmocka_unit_test(affine_of_opencv_equals_the_reference),
        cmocka_unit_test(affine_of_pillow_equals_the_reference),
        cmocka_unit_test(wide_affine_equals_the_reference),
        cmocka_unit_test(identity_affine_copies),
        cmocka_unit_test(composed_table_equals_one_operation_after_the_other),
        cmocka_unit_test(contrast_equals_its_table),
        cmocka_unit_test(posterize_to_no_bits_is_black),
        cmocka_unit_test(rectangles_are_filled_and_clipped),
        cmocka_unit_test(rectangle_of_bytes_keeps_its_rows),
        cmocka_unit_test(hue_factor_becomes_a_shift_as_torchvision_does_it),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
