/* Golden vectors of Philox4x32-10 (Random123's kat_vectors) and the statistics of what is drawn from it. */
#include <math.h>

#include "ipc/base/rng.h"
#include "tests/unit/ipc/base/unit.h"

static void assert_block(struct im_rng r, const uint32_t want[4])
{
    for (int i = 0; i < 4; i++)
        assert_int_equal(im_rng_u32(&r), want[i]);
}

static void philox_of_zeros_is_the_known_answer(void **state)
{
    (void)state;
    assert_block((struct im_rng){.used = 4}, (uint32_t[]){0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
}

static void philox_of_ones_is_the_known_answer(void **state)
{
    struct im_rng r = {.used = 4};

    (void)state;
    memset(r.key, 0xff, sizeof r.key);
    memset(r.counter, 0xff, sizeof r.counter);
    assert_block(r, (uint32_t[]){0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
}

static void philox_of_pi_is_the_known_answer(void **state)
{
    struct im_rng r = {.used = 4,
                       .key = {0xa4093822, 0x299f31d0},
                       .counter = {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}};

    (void)state;
    assert_block(r, (uint32_t[]){0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

static void streams_differ_in_each_coordinate(void **state)
{
    struct im_rng streams[] = {
        im_rng_at(1, IM_RNG_TEST, 1, 1),          im_rng_at(2, IM_RNG_TEST, 1, 1),
        im_rng_at(1ULL << 40, IM_RNG_TEST, 1, 1), im_rng_at(1, IM_RNG_ORDER, 1, 1),
        im_rng_at(1, IM_RNG_TEST, 2, 1),          im_rng_at(1, IM_RNG_TEST, 1, 2),
        im_rng_at(1, IM_RNG_TEST, 1, 1ULL << 40),
    };
    uint64_t first[IM_COUNT(streams)];

    (void)state;
    for (size_t i = 0; i < IM_COUNT(streams); i++) {
        first[i] = im_rng_u64(&streams[i]);
        for (size_t k = 0; k < i; k++)
            assert_int_not_equal(first[i], first[k]);
    }
}

static void a_copy_draws_the_same_numbers(void **state)
{
    struct im_rng a = im_rng_at(42, IM_RNG_TEST, 3, 5), b;

    (void)state;
    im_rng_u32(&a);
    b = a;
    for (int i = 0; i < 100; i++)
        assert_int_equal(im_rng_u64(&a), im_rng_u64(&b));
}

/* Chi-square of 13 bins over 130,000 draws: 12 degrees of freedom, 99.99 % of fair generators stay
 * below 39.1. */
static void below_is_uniform(void **state)
{
    struct im_rng r = im_rng_at(42, IM_RNG_TEST, 0, 0);
    double counts[13] = {0}, chi_square = 0;

    (void)state;
    for (int i = 0; i < 130000; i++) {
        uint64_t value = im_rng_below(&r, 13);

        assert_in_range(value, 0, 12);
        counts[value]++;
    }
    for (int i = 0; i < 13; i++)
        chi_square += (counts[i] - 10000) * (counts[i] - 10000) / 10000;
    assert_true(chi_square < 39.1);
}

/* With n = 3 * 2^62, plain multiplication would give a third of the values twice the chance of the rest:
 * residues of the drawn value's place in a triple would be 1/2, 1/4, 1/4. */
static void below_is_unbiased_for_large_ranges(void **state)
{
    struct im_rng r = im_rng_at(42, IM_RNG_TEST, 0, 1);
    uint64_t n = 3ULL << 62;
    int counts[3] = {0};

    (void)state;
    for (int i = 0; i < 30000; i++)
        counts[im_rng_below(&r, n) % 3]++;
    for (int i = 0; i < 3; i++)
        assert_in_range(counts[i], 9600, 10400); /* 5 sigma = 408 */
}

static void below_one_is_zero(void **state)
{
    struct im_rng r = im_rng_at(1, IM_RNG_TEST, 0, 0);

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_int_equal(im_rng_below(&r, 1), 0);
}

static void unit_lies_in_the_half_open_interval(void **state)
{
    struct im_rng r = im_rng_at(42, IM_RNG_TEST, 0, 2);
    double sum = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        double value = im_rng_unit(&r);

        assert_true(value >= 0 && value < 1);
        sum += value;
    }
    assert_true(fabs(sum / 100000 - 0.5) < 0.0046); /* 5 sigma of a mean of 1e5 */
}

static void normal_has_mean_zero_and_variance_one(void **state)
{
    struct im_rng r = im_rng_at(42, IM_RNG_TEST, 0, 3);
    double sum = 0, sum_squares = 0;

    (void)state;
    for (int i = 0; i < 100000; i++) {
        double value = im_rng_normal(&r);

        assert_true(isfinite(value));
        sum += value;
        sum_squares += value * value;
    }
    assert_true(fabs(sum / 100000) < 0.016);
    assert_true(fabs(sum_squares / 100000 - 1) < 0.023);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_of_zeros_is_the_known_answer),
        cmocka_unit_test(philox_of_ones_is_the_known_answer),
        cmocka_unit_test(philox_of_pi_is_the_known_answer),
        cmocka_unit_test(streams_differ_in_each_coordinate),
        cmocka_unit_test(a_copy_draws_the_same_numbers),
        cmocka_unit_test(below_is_uniform),
        cmocka_unit_test(below_is_unbiased_for_large_ranges),
        cmocka_unit_test(below_one_is_zero),
        cmocka_unit_test(unit_lies_in_the_half_open_interval),
        cmocka_unit_test(normal_has_mean_zero_and_variance_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
