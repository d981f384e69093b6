/* Which deaths count against a process, how long it waits, and when the run is given up: by tables. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/exit.h"
#include "supervisor/policy.h"

#define EXITED(status) ((status) << 8)

static void charged_are_deaths_that_say_something(void **state)
{
    static const struct {
        const char *what;
        struct sv_death death;
        bool charged;
    } rows[] = {
        {"a worker that is not ready", {.was_ready = false}, true},
        {"a worker that is not ready, with work in its hands", {.held_ticket = true}, true},
        {"a ready worker without work", {.was_ready = true}, true},
        {"a worker killed over a sample", {.was_ready = true, .held_ticket = true}, false},
        {"an idle worker during a long step", {.was_ready = true, .run_goes_on = true}, false},
        {"an unready worker during a long step", {.run_goes_on = true}, false},
        {"a worker that left with an error during a long step",
         {.own_error = true, .run_goes_on = true},
         false},
        {"a worker that the supervisor killed", {.by_supervisor = true, .was_ready = true}, false},
        {"an unready one that somebody killed", {.by_somebody = true}, false},
        {"a trainer that somebody killed in its first step", {.trainer = true, .by_somebody = true}, false},
        {"an unready one that the supervisor killed", {.by_supervisor = true}, false},
        {"a trainer", {.trainer = true, .was_ready = true}, true},
        {"a trainer that is not ready", {.trainer = true}, true},
        {"a trainer, while the others have input",
         {.trainer = true, .was_ready = true, .run_goes_on = true},
         true},
        {"a stuck trainer that the supervisor killed", {.trainer = true, .by_supervisor = true}, false},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (sv_is_charged(&rows[i].death) != rows[i].charged)
            fail_msg("%s is %scharged", rows[i].what, rows[i].charged ? "not " : "");
}

/* How many deaths of one kind, with so much progress between two, a slot survives; 1000 stand for all. */
static unsigned survives(struct sv_death death, uint64_t progress, uint32_t deaths_max)
{
    struct sv_tally tally = {0};
    im_ns delay;

    for (unsigned n = 0; n < 1000; n++) {
        death.progress += progress;
        if (sv_tally_death(&tally, &death, deaths_max, &delay) == SV_GIVE_UP)
            return n;
    }
    return 1000;
}

static void only_charged_deaths_in_a_row_end_a_run(void **state)
{
    static const struct {
        const char *what;
        struct sv_death death;
        uint64_t progress;
        uint32_t deaths_max;
        unsigned survived;
    } rows[] = {
        {"never ready", {0}, 0, 10, 10},
        {"never ready, no restart allowed", {0}, 0, 0, 0},
        {"never ready, others move on", {0}, 1, 10, 1000},
        {"an error of its own", {.own_error = true}, 0, 10, 1},
        {"an error that no retry mends", {.own_error = true, .permanent = true}, 0, 10, 0},
        {"an error of its own, no restart allowed", {.own_error = true}, 0, 0, 0},
        {"an error of its own, others move on", {.own_error = true}, 1, 10, 1000},
        {"idle in a long step", {.was_ready = true, .run_goes_on = true}, 0, 10, 1000},
        {"many bad images", {.was_ready = true, .held_ticket = true}, 0, 10, 1000},
        {"killed by the supervisor", {.by_supervisor = true, .was_ready = true}, 0, 0, 1000},
        {"a trainer in its first step", {.trainer = true, .was_ready = true}, 0, 10, 10},
        {"a trainer once a second", {.trainer = true, .was_ready = true}, 1, 0, 0},
        {"a trainer once a second, with restarts", {.trainer = true, .was_ready = true}, 1, 1, 1000},
        {"a trainer with an error at one step",
         {.trainer = true, .was_ready = true, .own_error = true},
         0,
         10,
         1},
        {"a trainer with errors here and there",
         {.trainer = true, .was_ready = true, .own_error = true},
         3,
         10,
         1000},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        unsigned survived = survives(rows[i].death, rows[i].progress, rows[i].deaths_max);

        if (survived != rows[i].survived)
            fail_msg("%s: %u deaths were survived, not %u", rows[i].what, survived, rows[i].survived);
    }
}

static void kills_from_outside_wait_shortly_until_they_are_many(void **state)
{
    struct sv_death kill = {.was_ready = true, .trainer = true, .by_somebody = true, .progress = 5};
    struct sv_tally tally = {0};
    im_ns delay;

    (void)state;
    for (unsigned i = 0; i < SV_KILLS_WITHOUT_BACKOFF; i++) {
        assert_int_equal(sv_tally_death(&tally, &kill, 0, &delay), SV_RESTART);
        assert_true(delay == (i == 0 ? 0 : i == 1 ? 50 * IM_MS : SV_BACKOFF_KILL_NS));
    }
    assert_int_equal(sv_tally_death(&tally, &kill, 0, &delay), SV_RESTART);
    assert_true(delay == SV_BACKOFF_MAX_NS);
}

static void waits_grow_to_a_bound_and_progress_forgives_them(void **state)
{
    static const im_ns waits[] = {0,
                                  50 * IM_MS,
                                  200 * IM_MS,
                                  IM_SECOND,
                                  2 * IM_SECOND,
                                  SV_BACKOFF_MAX_NS,
                                  SV_BACKOFF_MAX_NS,
                                  SV_BACKOFF_MAX_NS};
    struct sv_death death = {.was_ready = true, .held_ticket = true, .progress = 5};
    struct sv_tally tally = {0};
    im_ns delay;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(waits); i++) {
        assert_int_equal(sv_tally_death(&tally, &death, 0, &delay), SV_RESTART);
        assert_true(delay == waits[i]);
    }
    death.progress++;
    assert_int_equal(sv_tally_death(&tally, &death, 0, &delay), SV_RESTART);
    assert_true(delay == 0);
    assert_int_equal(tally.in_row, 1);
}

/* Kills of the supervisor between charged deaths do not make these fewer. */
static void uncharged_deaths_forgive_nothing(void **state)
{
    struct sv_death own = {0}, ours = {.by_supervisor = true};
    struct sv_tally tally = {0};
    im_ns delay;

    (void)state;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(sv_tally_death(&tally, &own, 3, &delay), SV_RESTART);
        assert_int_equal(sv_tally_death(&tally, &ours, 3, &delay), SV_RESTART);
    }
    assert_int_equal(sv_tally_death(&tally, &own, 3, &delay), SV_GIVE_UP);
}

static void kills_from_outside_are_told_from_want_of_memory(void **state)
{
    static const struct {
        int wait_status;
        uint64_t before, now;
        bool somebodys;
    } rows[] = {
        {SIGKILL, 3, 3, true},
        {SIGKILL, 3, 4, false},
        {SIGKILL, UINT64_MAX, UINT64_MAX, false},
        {SIGTERM, 3, 4, true},
        {SIGHUP, UINT64_MAX, UINT64_MAX, true},
        {SIGSEGV, 3, 3, false},
        {SIGBUS, 3, 3, false},
        {SIGABRT, 3, 3, false},
        {SIGXFSZ, 3, 3, false},
        {EXITED(0), 3, 3, false},
        {EXITED(7), 3, 3, false},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++)
        if (sv_is_somebodys_kill(rows[i].wait_status, rows[i].before, rows[i].now) != rows[i].somebodys)
            fail_msg("row %zu", i);
}

static void a_run_ends_with_documented_statuses_only(void **state)
{
    static const int listed[] = {IM_EXIT_FAILED, IM_EXIT_USAGE, IM_EXIT_BAD_DATA, IM_EXIT_UNAVAILABLE};

    (void)state;
    for (int status = 0; status < 256; status++) {
        int ends = sv_exit_status_for(EXITED(status));
        bool same = false;

        for (size_t i = 0; i < IM_COUNT(listed); i++)
            same |= status == listed[i];
        assert_int_equal(ends, same ? status : IM_EXIT_FAILED);
    }
    assert_int_equal(sv_exit_status_for(SIGKILL), IM_EXIT_FAILED);
    assert_int_equal(sv_exit_status_for(SIGSEGV), IM_EXIT_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(charged_are_deaths_that_say_something),
        cmocka_unit_test(only_charged_deaths_in_a_row_end_a_run),
        cmocka_unit_test(kills_from_outside_wait_shortly_until_they_are_many),
        cmocka_unit_test(waits_grow_to_a_bound_and_progress_forgives_them),
        cmocka_unit_test(uncharged_deaths_forgive_nothing),
        cmocka_unit_test(kills_from_outside_are_told_from_want_of_memory),
        cmocka_unit_test(a_run_ends_with_documented_statuses_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
