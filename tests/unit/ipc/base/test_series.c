/* The published values are those of scipy.stats.ttest_ind(equal_var=False), SciPy 1.17. */
#include "ipc/base/series.h"

#include <math.h>

#include "tests/unit/ipc/base/unit.h"

static void quantiles_are_values(void **state)
{
    double v[] = {5, 1, 4, 2, 3};

    (void)state;
    im_series_sort(v, 5);
    assert_float_equal(im_series_quantile(v, 5, 0.5), 3, 0);
    assert_float_equal(im_series_quantile(v, 5, 0.99), 5, 0);
    assert_float_equal(im_series_quantile(v, 5, 0), 1, 0);
    assert_float_equal(im_series_quantile(v, 5, 1), 5, 0);
    assert_float_equal(im_series_quantile(v, 0, 0.5), 0, 0);
}

static void summaries(void **state)
{
    double v[] = {4, 2, 8, 6};
    struct im_summary s = im_series_summary(v, 4), none = im_series_summary(v, 0);

    (void)state;
    assert_float_equal(s.mean, 5, 0);
    assert_float_equal(s.sigma, sqrt(20.0 / 3), 1e-15);
    assert_float_equal(s.median, 5, 0);
    assert_float_equal(s.least, 2, 0);
    assert_float_equal(s.most, 8, 0);
    assert_float_equal(none.mean, 0, 0);
}

static double test(double *a, size_t na, double *b, size_t nb)
{
    struct im_summary x = im_series_summary(a, na), y = im_series_summary(b, nb);

    return im_series_welch(&x, &y);
}

static void welch_is_scipys(void **state)
{
    double a[] = {100, 102, 98, 101, 99}, b[] = {104, 107, 101, 103, 110}, c[] = {100, 101, 99.5};

    (void)state;
    assert_float_equal(test(a, 5, b, 5), 0.03047423565637641, 1e-9);
    assert_float_equal(test(a, 5, c, 3), 0.8481690206128697, 1e-9);
    assert_float_equal(test(b, 5, a, 5), 0.03047423565637641, 1e-9);
}

static void welch_without_spread(void **state)
{
    double a[] = {3, 3}, b[] = {3, 3, 3}, c[] = {4, 4}, one[] = {9};

    (void)state;
    assert_float_equal(test(a, 2, b, 3), 1, 0);
    assert_float_equal(test(a, 2, c, 2), 0, 0);
    assert_float_equal(test(a, 2, one, 1), 1, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_values),
        cmocka_unit_test(summaries),
        cmocka_unit_test(welch_is_scipys),
        cmocka_unit_test(welch_without_spread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
