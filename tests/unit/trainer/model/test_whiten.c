/* Whitening filters: of the patches they were made of, their outputs are uncorrelated and of mean square 1. */
#include <math.h>
#include <stdlib.h>

#include "ipc/base/rng.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/model/whiten.h"

enum { IMAGES = 40, SIZE = 9, SIDE = 2, NUMBERS = 12 };

static uint8_t pixels[IMAGES * SIZE * SIZE * 3];

/* Neighbours and colours are alike, as in pictures. */
static int draw(void **state)
{
    struct im_rng r = im_rng_at(5, IM_RNG_TEST, 7, 0);

    (void)state;
    for (size_t n = 0; n < IMAGES; n++) {
        const double level = im_rng_uniform(&r, 60, 200), tilt = im_rng_uniform(&r, -8, 8);

        for (size_t i = 0; i < SIZE * SIZE; i++)
            for (size_t c = 0; c < 3; c++)
                pixels[(n * SIZE * SIZE + i) * 3 + c] =
                    (uint8_t)(level + tilt * (double)(i % SIZE) + 5 * (double)c +
                              im_rng_uniform(&r, -12, 12));
    }
    return 0;
}

static struct tr_patch_images images_from(int first, int n)
{
    return (struct tr_patch_images){.pixels = pixels + (size_t)first * SIZE * SIZE * 3,
                                    .n = n,
                                    .size = SIZE,
                                    .mean = {0.5F, 0.4F, 0.45F},
                                    .std = {0.2F, 0.25F, 0.3F}};
}

static struct tr_patches patches_of(int n)
{
    struct tr_patches p = {.side = SIDE, .numbers = NUMBERS};
    const struct tr_patch_images images = images_from(0, n);

    tr_patches_add(&p, &images);
    return p;
}

/* The number of a patch that a filter's weight is for. */
static double number_of(const struct tr_patch_images *im, int n, int row, int column, int i)
{
    const int c = i / (SIDE * SIDE), r = i / SIDE % SIDE, s = i % SIDE;
    const size_t at = (((size_t)n * SIZE + (size_t)(row + r)) * SIZE + (size_t)(column + s)) * 3 + (size_t)c;

    return (im->pixels[at] / 255.0 - (double)im->mean[c]) / (double)im->std[c];
}

static void outputs_are_uncorrelated(void **state)
{
    const struct tr_patches p = patches_of(IMAGES);
    const struct tr_patch_images images = images_from(0, IMAGES);
    double products[NUMBERS][NUMBERS] = {{0}};
    float filters[2 * NUMBERS * NUMBERS];
    int count = 0;

    (void)state;
    tr_whiten(&p, filters);
    for (int n = 0; n < IMAGES; n++)
        for (int row = 0; row + SIDE <= SIZE; row++)
            for (int column = 0; column + SIDE <= SIZE; column++, count++) {
                double y[NUMBERS] = {0};

                for (int k = 0; k < NUMBERS; k++)
                    for (int i = 0; i < NUMBERS; i++)
                        y[k] += (double)filters[k * NUMBERS + i] * number_of(&images, n, row, column, i);
                for (int k = 0; k < NUMBERS; k++)
                    for (int j = 0; j < NUMBERS; j++)
                        products[k][j] += y[k] * y[j];
            }
    assert_true((double)count == p.count);
    /* The squares are 1 but for what is added to them before the root. */
    for (int k = 0; k < NUMBERS; k++)
        for (int j = 0; j < NUMBERS; j++)
            assert_true(fabs(products[k][j] / count - (k == j)) < (k == j ? 0.1 : 1e-5));
    for (int i = 0; i < NUMBERS * NUMBERS; i++)
        assert_true(filters[NUMBERS * NUMBERS + i] == -filters[i]);
}

/* The first filter has the least weights: what it sees varies most. */
static void the_largest_deviation_comes_first(void **state)
{
    const struct tr_patches p = patches_of(IMAGES);
    float filters[2 * NUMBERS * NUMBERS];
    double last = 0;

    (void)state;
    tr_whiten(&p, filters);
    for (int k = 0; k < NUMBERS; k++) {
        double squares = 0;

        for (int i = 0; i < NUMBERS; i++)
            squares += (double)filters[k * NUMBERS + i] * (double)filters[k * NUMBERS + i];
        assert_true(squares >= last * (1 - 1e-6));
        last = squares;
    }
}

/* Several ranks add up what each has seen. */
static void parts_add_up(void **state)
{
    const struct tr_patches all = patches_of(IMAGES);
    struct tr_patches sum = patches_of(10);
    struct tr_patches rest = {.side = SIDE, .numbers = NUMBERS};
    const struct tr_patch_images others = images_from(10, IMAGES - 10);

    (void)state;
    tr_patches_add(&rest, &others);
    for (int i = 0; i < NUMBERS * NUMBERS; i++)
        assert_true(fabs(sum.products[i] + rest.products[i] - all.products[i]) <=
                    1e-9 * fabs(all.products[i]));
    assert_true(sum.count + rest.count == all.count);
}

static void unusable_images_do_not_count(void **state)
{
    const struct tr_patches ten = patches_of(10);
    struct tr_patches some = {.side = SIDE, .numbers = NUMBERS};
    struct tr_patch_images images = images_from(0, IMAGES);
    uint8_t valid[IMAGES] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

    (void)state;
    images.valid = valid;
    tr_patches_add(&some, &images);
    assert_memory_equal(some.products, ten.products, sizeof ten.products);
}

/* Images of one colour, or none at all, leave finite filters. */
static void what_does_not_vary_is_not_blown_up(void **state)
{
    struct tr_patches p = {.side = SIDE, .numbers = NUMBERS};
    float filters[2 * NUMBERS * NUMBERS];

    (void)state;
    for (int k = 0; k < 2; k++) {
        tr_whiten(&p, filters);
        for (int i = 0; i < 2 * NUMBERS * NUMBERS; i++)
            assert_true(fabsf(filters[i]) <= 1 / sqrtf(5e-4F));
        p.count = 1000; /* all products 0 */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_are_uncorrelated),
        cmocka_unit_test(the_largest_deviation_comes_first),
        cmocka_unit_test(parts_add_up),
        cmocka_unit_test(unusable_images_do_not_count),
        cmocka_unit_test(what_does_not_vary_is_not_blown_up),
    };

    return cmocka_run_group_tests(tests, draw, NULL);
}
