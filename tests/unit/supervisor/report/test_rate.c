/* Rates of counters that grow by batches. */
#include <math.h>

#include "ipc/base/count.h"
#include "supervisor/report/rate.h"
#include "tests/unit/ipc/base/unit.h"

#define WINDOW (5 * IM_SECOND)
#define TURN (100 * IM_MS)

/* Looks each turn until `until`, while a batch comes each `step`; the rate's bounds from `from` on. */
static void look(struct sv_rate *r, im_ns begin, im_ns until, im_ns step, uint64_t batch, im_ns from,
                 double *low, double *high)
{
    *low = INFINITY;
    *high = 0;
    for (im_ns t = begin; t < until; t += TURN) {
        const double rate = sv_rate_take(r, t, (uint64_t)((t - begin) / step) * batch, WINDOW);

        if (t >= from) {
            *low = fmin(*low, rate);
            *high = fmax(*high, rate);
        }
    }
}

static void steps_of_seconds_have_one_rate(void **state)
{
    static const im_ns steps[] = {2600 * IM_MS, 4900 * IM_MS, 30 * IM_SECOND,
                                  700 * IM_MS,  130 * IM_MS,  20 * IM_MS};
    double low, high;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(steps); i++) {
        struct sv_rate r = {.count = 0};
        const double true_rate = 128e9 / (double)steps[i];

        look(&r, IM_SECOND, IM_SECOND + 10 * steps[i] + 30 * IM_SECOND, steps[i], 128,
             IM_SECOND + 3 * steps[i] + 10 * IM_SECOND, &low, &high);
        /* A turn is a tenth of a second: of a step that begins within it, at most so much is wrong. */
        assert_true(low > 0.93 * true_rate && high < 1.07 * true_rate);
    }
}

static void before_two_steps_there_is_none(void **state)
{
    struct sv_rate r = {.count = 0};

    (void)state;
    assert_true(sv_rate_take(&r, 1 * IM_SECOND, 0, WINDOW) == 0);
    assert_true(sv_rate_take(&r, 9 * IM_SECOND, 128, WINDOW) == 0);
    assert_true(sv_rate_take(&r, 10 * IM_SECOND, 128, WINDOW) == 0);
    assert_true(fabs(sv_rate_take(&r, 11 * IM_SECOND, 256, WINDOW) - 64) < 1e-6);
}

static void it_falls_when_nothing_comes_and_is_zero_then(void **state)
{
    struct sv_rate r = {.count = 0};
    double low, high;

    (void)state;
    look(&r, 0, 20 * IM_SECOND, IM_SECOND, 100, 10 * IM_SECOND, &low, &high);
    assert_true(low > 93 && high < 107);
    assert_true(sv_rate_take(&r, 22500 * IM_MS, 1900, WINDOW) < 93);
    assert_true(sv_rate_take(&r, 30 * IM_SECOND, 1900, WINDOW) == 0);
}

static void a_counter_that_falls_begins_anew(void **state)
{
    struct sv_rate r = {.count = 0};
    double low, high;

    (void)state;
    look(&r, 0, 20 * IM_SECOND, IM_SECOND, 100, 10 * IM_SECOND, &low, &high);
    assert_true(sv_rate_take(&r, 21 * IM_SECOND, 0, WINDOW) == 0);
    assert_true(sv_rate_take(&r, 22 * IM_SECOND, 50, WINDOW) == 0);
    assert_true(fabs(sv_rate_take(&r, 23 * IM_SECOND, 100, WINDOW) - 50) < 1e-6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_seconds_have_one_rate),
        cmocka_unit_test(before_two_steps_there_is_none),
        cmocka_unit_test(it_falls_when_nothing_comes_and_is_zero_then),
        cmocka_unit_test(a_counter_that_falls_begins_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
