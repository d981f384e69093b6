/* The order of an epoch: a permutation, the same everywhere, different each epoch, and uniform also where n
 * is small. Bounds are quantiles of chi-square (Wilson-Hilferty) at about one in a million, with fixed seeds,
 * so the test cannot be flaky. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/shuffle.h"

static double chi_square_limit(double degrees)
{
    double z = 4.75, a = 2.0 / (9.0 * degrees), root = 1.0 - a + z * sqrt(a);

    return degrees * root * root * root;
}

static void check_chi_square(const uint32_t *counts, size_t cells, double expected, double degrees)
{
    double sum = 0;

    for (size_t i = 0; i < cells; i++)
        sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    if (sum > chi_square_limit(degrees))
        fail_msg("chi-square %.1f over the limit %.1f", sum, chi_square_limit(degrees));
}

static void every_item_comes_once(void **state)
{
    static const uint64_t large[] = {255, 256, 257, 1000, 4095, 4097, 50000, 65537, 200003};
    uint8_t *seen = malloc(200003);

    (void)state;
    assert_non_null(seen);
    for (uint64_t i = 0; i < 300 + IM_COUNT(large); i++) {
        uint64_t n = i < 300 ? i + 1 : large[i - 300];
        struct im_shuffle order = im_shuffle_at(7, (uint32_t)i, n);

        memset(seen, 0, n);
        for (uint64_t position = 0; position < n; position++) {
            uint64_t item = im_shuffle_item(&order, position);

            assert_true(item < n);
            assert_int_equal(seen[item]++, 0);
        }
    }
    free(seen);
}

static void each_place_sees_each_item_equally_often(void **state)
{
    static const uint64_t sizes[] = {2, 3, 5, 10, 16, 100};

    (void)state;
    for (size_t s = 0; s < IM_COUNT(sizes); s++) {
        uint64_t n = sizes[s], epochs = 100 * n;
        uint32_t *counts = calloc(n * n, sizeof *counts);

        assert_non_null(counts);
        for (uint32_t epoch = 0; epoch < epochs; epoch++) {
            struct im_shuffle order = im_shuffle_at(42, epoch, n);

            for (uint64_t position = 0; position < n; position++)
                counts[position * n + im_shuffle_item(&order, position)]++;
        }
        check_chi_square(counts, n * n, (double)epochs / (double)n, (double)((n - 1) * (n - 1)));
        free(counts);
    }
}

static void each_pair_of_neighbours_comes_equally_often(void **state)
{
    static const uint64_t sizes[] = {5, 10, 100};

    (void)state;
    for (size_t s = 0; s < IM_COUNT(sizes); s++) {
        uint64_t n = sizes[s], epochs = 100 * n;
        uint32_t *counts = calloc(n * n, sizeof *counts);
        double sum = 0, expected = (double)epochs * (double)(n - 1) / (double)(n * (n - 1));

        assert_non_null(counts);
        for (uint32_t epoch = 0; epoch < epochs; epoch++) {
            struct im_shuffle order = im_shuffle_at(43, epoch, n);
            uint64_t before = im_shuffle_item(&order, 0);

            for (uint64_t position = 1; position < n; position++) {
                uint64_t item = im_shuffle_item(&order, position);

                counts[before * n + item]++;
                before = item;
            }
        }
        for (uint64_t i = 0; i < n * n; i++)
            if (i / n != i % n)
                sum += (counts[i] - expected) * (counts[i] - expected) / expected;
        assert_true(sum < chi_square_limit((double)(n * (n - 1))));
        free(counts);
    }
}

/* Rank of a permutation of n items in lexicographic order (Lehmer code). */
static uint32_t rank_of(const struct im_shuffle *order)
{
    uint32_t rank = 0;

    for (uint64_t i = 0; i < order->n; i++) {
        uint32_t smaller = 0;

        for (uint64_t j = i + 1; j < order->n; j++)
            smaller += im_shuffle_item(order, j) < im_shuffle_item(order, i);
        rank = rank * (uint32_t)(order->n - i) + smaller;
    }
    return rank;
}

static void all_permutations_of_five_are_equally_likely(void **state)
{
    uint32_t counts[120] = {0}, epochs = 120 * 500;

    (void)state;
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        struct im_shuffle order = im_shuffle_at(44, epoch, 5);

        counts[rank_of(&order)]++;
    }
    check_chi_square(counts, 120, 500, 119);
}

/* The seed must matter as much as the epoch: neighbouring seeds at epoch 0. */
static void neighbouring_seeds_are_independent(void **state)
{
    uint32_t counts[120] = {0};

    (void)state;
    for (uint64_t seed = 0; seed < 120 * 500; seed++) {
        struct im_shuffle order = im_shuffle_at(seed, 0, 5);

        counts[rank_of(&order)]++;
    }
    check_chi_square(counts, 120, 500, 119);
}

/* Samples are sorted by class; a batch of a shuffled epoch must look like a draw from all of them. */
static void a_batch_of_a_large_set_is_spread_over_it(void **state)
{
    uint64_t n = 1281167;
    uint32_t counts[100] = {0};

    (void)state;
    for (uint32_t epoch = 0; epoch < 40; epoch++) {
        struct im_shuffle order = im_shuffle_at(1, epoch, n);

        for (uint64_t position = 0; position < 5000; position++)
            counts[im_shuffle_item(&order, position) * 100 / n]++;
    }
    check_chi_square(counts, 100, 2000, 99);
}

static void the_order_is_part_of_the_results(void **state)
{
    /* Golden values: a change here changes every run's results and must be a decision. */
    static const uint64_t golden[] = {691300, 949808, 517426, 180978, 363270, 971811};

    (void)state;
    for (uint64_t i = 0; i < IM_COUNT(golden); i++)
        assert_int_equal(im_shuffle(42, 3, 1281167, i), golden[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_comes_once),
        cmocka_unit_test(each_place_sees_each_item_equally_often),
        cmocka_unit_test(each_pair_of_neighbours_comes_equally_often),
        cmocka_unit_test(all_permutations_of_five_are_equally_likely),
        cmocka_unit_test(neighbouring_seeds_are_independent),
        cmocka_unit_test(a_batch_of_a_large_set_is_spread_over_it),
        cmocka_unit_test(the_order_is_part_of_the_results),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
