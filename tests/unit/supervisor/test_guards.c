/* Who is ended, and why: a process that gives no sign of life, a read that hangs while others are read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "supervisor/super.h"

static void only_who_gives_no_sign_of_life_is_stuck(void **state)
{
    static const struct {
        struct sv_stall_view view; /* quiet, timeout, has_turned, trainers_starve */
        bool stuck;
    } cases[] = {
        {{59, 60, true, true}, false},     {{60, 60, true, false}, true},  {{60, 60, true, true}, true},
        {{1000, 60, false, false}, false}, {{59, 60, false, true}, false}, {{60, 60, false, true}, true},
        {{0, 60, true, true}, false}, /* it waits, as the trainers do */
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++)
        assert_int_equal(sv_is_stuck(&cases[i].view), cases[i].stuck);
}

static void a_read_hangs_when_the_storage_works_meanwhile(void **state)
{
    static const struct {
        im_ns now, began, probed, works, deadline;
        enum sv_read_state state;
    } cases[] = {
        {129, 100, 0, 0, 30, SV_READ_LONG},
        {129, 100, 128, 0, 30, SV_READ_LONG},
        {130, 100, 0, 0, 30, SV_READ_UNPROVEN},
        {130, 100, 99, 0, 30, SV_READ_UNPROVEN},
        {130, 100, 114, 0, 30, SV_READ_UNPROVEN}, /* in its first half: it was not late then */
        {130, 100, 115, 0, 30, SV_READ_HANGS},
        {500, 100, 499, 0, 30, SV_READ_HANGS},
        {500, 100, 114, 0, 30, SV_READ_UNPROVEN},
        {90, 100, 80, 0, 30, SV_READ_LONG},
        /* The storage was away, and reads come back. */
        {500, 100, 499, 499, 30, SV_READ_UNPROVEN},
        {514, 100, 510, 500, 30, SV_READ_UNPROVEN},
        {515, 100, 510, 500, 30, SV_READ_HANGS},
        {515, 490, 510, 500, 30, SV_READ_LONG},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++)
        assert_int_equal(
            sv_judge_read(cases[i].now, cases[i].began, cases[i].probed, cases[i].works, cases[i].deadline),
            cases[i].state);
}

static void missing_files_are_awaited_as_long_as_the_outage_lasted(void **state)
{
    (void)state;
    assert_int_equal(sv_settling_time(2 * IM_SECOND), 30 * IM_SECOND);
    assert_int_equal(sv_settling_time(90 * IM_SECOND), 90 * IM_SECOND);
    assert_int_equal(sv_settling_time(86400 * IM_SECOND), IM_SETTLE_MAX_NS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_gives_no_sign_of_life_is_stuck),
        cmocka_unit_test(a_read_hangs_when_the_storage_works_meanwhile),
        cmocka_unit_test(missing_files_are_awaited_as_long_as_the_outage_lasted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
