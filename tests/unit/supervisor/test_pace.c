/* When a trainer counts as stuck, and the clock by which that is measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "supervisor/pace.h"

#define TICK (50 * IM_MS)

static void the_clock_stands_while_its_owner_does(void **state)
{
    struct sv_clock clock = {0};
    im_ns now = 77 * IM_SECOND;

    (void)state;
    assert_true(sv_clock_turn(&clock, now, 200 * IM_MS) == 0);
    for (int i = 0; i < 20; i++)
        sv_clock_turn(&clock, now += TICK, 200 * IM_MS);
    assert_true(clock.now == IM_SECOND);
    assert_true(sv_clock_turn(&clock, now += 3600 * IM_SECOND, 200 * IM_MS) == 1200 * IM_MS);
    assert_true(sv_clock_turn(&clock, now - IM_SECOND, 200 * IM_MS) == 1200 * IM_MS);
}

/* Lets a trainer take steps of so many seconds each, from where it is. Returns the time at the end. */
static im_ns take_steps(struct sv_pace *pace, struct sv_pace_seen *seen, im_ns now, int steps, im_ns step)
{
    sv_pace_see(pace, seen, now);
    for (int i = 0; i < steps; i++) {
        now += step;
        seen->position++;
        seen->progress++;
        assert_true(sv_pace_see(pace, seen, now) == 0);
    }
    return now;
}

static void the_bound_comes_from_the_slowest_of_the_last_steps(void **state)
{
    static const struct {
        int steps;
        im_ns step;
        double seconds;
        bool saving;
        im_ns bound, stop_bound;
    } rows[] = {
        {0, 0, -1, false, SV_PACE_FIRST_NS, SV_PACE_LEAST_NS},
        {1, IM_SECOND / 10, -1, false, SV_PACE_LEAST_NS, SV_PACE_LEAST_NS},
        {9, 3 * IM_SECOND, -1, false, SV_PACE_LEAST_NS, SV_PACE_LEAST_NS},
        {9, 30 * IM_SECOND, -1, false, 600 * IM_SECOND, 600 * IM_SECOND},
        {9, 30 * IM_SECOND, -1, true, SV_PACE_FIRST_NS, 600 * IM_SECOND},
        {9, 300 * IM_SECOND, -1, true, 6000 * IM_SECOND, 6000 * IM_SECOND},
        {0, 0, 2, false, 20 * IM_SECOND, 2 * IM_SECOND},
        {9, 30 * IM_SECOND, 2, false, 2 * IM_SECOND, 2 * IM_SECOND},
        {9, 30 * IM_SECOND, 2, true, 20 * IM_SECOND, 2 * IM_SECOND},
        {9, IM_SECOND, 0, false, UINT64_MAX, SV_PACE_LEAST_NS},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct sv_pace_seen seen = {.incarnation = 5, .position = 1, .has_work = true};
        struct sv_pace pace = {0};

        take_steps(&pace, &seen, IM_SECOND, rows[i].steps, rows[i].step);
        if (sv_pace_bound(&pace, rows[i].seconds, rows[i].saving) != rows[i].bound)
            fail_msg("row %zu: the bound is %.1f s", i,
                     (double)sv_pace_bound(&pace, rows[i].seconds, rows[i].saving) / 1e9);
        if (sv_pace_stop_bound(&pace, rows[i].seconds) != rows[i].stop_bound)
            fail_msg("row %zu: the bound of a stop is %.1f s", i,
                     (double)sv_pace_stop_bound(&pace, rows[i].seconds) / 1e9);
    }
}

static void a_slow_step_is_forgotten_in_time(void **state)
{
    struct sv_pace_seen seen = {.incarnation = 5, .position = 1, .has_work = true};
    struct sv_pace pace = {0};
    im_ns now = take_steps(&pace, &seen, 0, 1, 100 * IM_SECOND);

    (void)state;
    now = take_steps(&pace, &seen, now, SV_PACE_STEPS - 1, IM_SECOND);
    assert_true(sv_pace_slowest(&pace) == 100 * IM_SECOND);
    take_steps(&pace, &seen, now, 1, IM_SECOND);
    assert_true(sv_pace_slowest(&pace) == IM_SECOND);
}

static void only_time_with_work_counts(void **state)
{
    struct sv_pace_seen seen = {.incarnation = 5, .position = 1, .has_work = true};
    struct sv_pace pace = {0};
    im_ns now = take_steps(&pace, &seen, 0, 3, IM_SECOND);

    (void)state;
    assert_true(sv_pace_see(&pace, &seen, now += IM_SECOND) == IM_SECOND);
    seen.has_work = false; /* the input is gone: an outage */
    assert_true(sv_pace_see(&pace, &seen, now += 500 * IM_SECOND) == 0);
    seen.has_work = true;
    assert_true(sv_pace_see(&pace, &seen, now += IM_SECOND) == IM_SECOND);
    seen.progress++; /* a plan was made */
    assert_true(sv_pace_see(&pace, &seen, now += IM_SECOND) == 0);
    assert_true(sv_pace_see(&pace, &seen, now + 7 * IM_SECOND) == 7 * IM_SECOND);
}

static void another_process_begins_anew(void **state)
{
    struct sv_pace_seen seen = {.incarnation = 5, .position = 1, .has_work = true};
    struct sv_pace pace = {0};
    im_ns now = take_steps(&pace, &seen, 0, 3, IM_SECOND);

    (void)state;
    seen = (struct sv_pace_seen){.incarnation = 6, .has_work = true};
    assert_true(sv_pace_see(&pace, &seen, now += 90 * IM_SECOND) == 0);
    assert_true(pace.steps == 0);
    seen.position = 1; /* it has said where it begins: no step */
    sv_pace_see(&pace, &seen, now += IM_SECOND);
    assert_true(pace.steps == 0);
    seen.position = 2;
    sv_pace_see(&pace, &seen, now + 2 * IM_SECOND);
    assert_true(pace.steps == 1 && sv_pace_slowest(&pace) == 2 * IM_SECOND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_clock_stands_while_its_owner_does),
        cmocka_unit_test(the_bound_comes_from_the_slowest_of_the_last_steps),
        cmocka_unit_test(a_slow_step_is_forgotten_in_time),
        cmocka_unit_test(only_time_with_work_counts),
        cmocka_unit_test(another_process_begins_anew),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
