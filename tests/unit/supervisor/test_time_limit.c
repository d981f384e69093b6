/* When --time-limit stops a run. */
#include "supervisor/time_limit.h"

#include "ipc/base/count.h"
#include "tests/unit/ipc/base/unit.h"

static const struct {
    struct sv_time_limit_seen seen; /* without elapsed */
    double reserve;
} cases[] = {
    {{.limit = 3600, .save = 4, .step = 0.5}, 2 * 4 + 0.5 + 2},
    {{.limit = 3600, .save = 4, .state_bytes = 1e9, .step = 0.5},
     2 * 4 + 0.5 + 2}, /* what was measured counts */
    {{.limit = 3600, .state_bytes = 400e6}, 2 * 8 + 2},
    {{.limit = 3600}, 2},
    {{.limit = 10, .save = 60, .step = 1}, 5}, /* a run that hardly begins: half of it */
};

static void test_what_is_kept_for_the_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct sv_time_limit_seen seen = cases[i].seen;
        double reserve = sv_time_limit_reserve(&seen);

        assert_true(reserve > cases[i].reserve - 1e-9 && reserve < cases[i].reserve + 1e-9);
        seen.elapsed = seen.limit - reserve - 0.01;
        assert_false(sv_time_limit_is_near(&seen));
        seen.elapsed += 0.02;
        assert_true(sv_time_limit_is_near(&seen));
    }
}

static void test_without_a_limit_it_is_never_near(void **state)
{
    (void)state;
    assert_false(sv_time_limit_is_near(&(struct sv_time_limit_seen){.elapsed = 1e9, .save = 100}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_kept_for_the_end),
        cmocka_unit_test(test_without_a_limit_it_is_never_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
