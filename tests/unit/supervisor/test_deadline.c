/* Processor time decides about work, the clock about hangs, and a busy machine about neither. */
#include "supervisor/deadline.h"
#include "tests/unit/ipc/base/unit.h"

#define TICK (50 * IM_MS)
#define DEADLINE (10 * IM_SECOND)

/* Looks once a tick at one image for so long, while the process gets `share` of a core. The verdict, and when. */
static enum sv_work_verdict look(double seconds, double share, bool wants_cpu, double *ret_seconds)
{
    struct sv_work w = {0};
    enum sv_work_verdict verdict = SV_WORK_GOES_ON;
    double at = 0;

    for (int i = 0; verdict == SV_WORK_GOES_ON && at < seconds; i++) {
        im_ns now = IM_SECOND + (im_ns)i * TICK;

        at = (double)i * TICK / 1e9;
        verdict =
            sv_work_judge(&w, 77, 5 * IM_SECOND + (uint64_t)(share * at * 1e9), wants_cpu, now, DEADLINE);
    }
    *ret_seconds = at;
    return verdict;
}

static void processor_time_is_what_counts(void **state)
{
    static const struct {
        double share;
        bool wants_cpu;
        double seconds;
        enum sv_work_verdict verdict;
    } rows[] = {
        {1, true, 10, SV_WORK_TOO_MUCH},
        {0.5, true, 20, SV_WORK_TOO_MUCH},     /* a busy machine gives it as much */
        {0.01, true, 1000, SV_WORK_TOO_MUCH},  /* a very busy one */
        {0.0001, false, 1e9, SV_WORK_GOES_ON}, /* a slow disk: it moves */
        {0, true, 1e9, SV_WORK_GOES_ON},       /* it would if it were let */
        {0, false, 10, SV_WORK_HANGS},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        double at;
        enum sv_work_verdict verdict = look(2000, rows[i].share, rows[i].wants_cpu, &at);

        if (verdict != rows[i].verdict)
            fail_msg("row %zu: verdict %d", i, verdict);
        if (verdict != SV_WORK_GOES_ON)
            assert_true(at >= rows[i].seconds - 1e-6 && at <= rows[i].seconds + 0.2);
    }
}

static void the_next_image_begins_anew(void **state)
{
    struct sv_work w = {0};

    (void)state;
    for (uint64_t i = 0; i < 10000; i++) /* 9 s of each second image */
        assert_int_equal(sv_work_judge(&w, 1 + i / 180, i * TICK, true, i * TICK, DEADLINE), SV_WORK_GOES_ON);
    for (uint64_t i = 0; i < 10000; i++) /* none between images */
        assert_int_equal(sv_work_judge(&w, 0, 0, false, i * TICK, DEADLINE), SV_WORK_GOES_ON);
}

/* The whole run was stopped for an hour (a frozen container, a sleeping laptop), nobody looked meanwhile. */
static void time_that_nobody_saw_is_no_hang(void **state)
{
    struct sv_work w = {0};
    im_ns now = IM_SECOND;

    (void)state;
    assert_int_equal(sv_work_judge(&w, 3, 100, false, now, DEADLINE), SV_WORK_GOES_ON);
    for (int i = 0; i < 5; i++) {
        now += 3600 * IM_SECOND;
        assert_int_equal(sv_work_judge(&w, 3, 100, false, now, DEADLINE), SV_WORK_GOES_ON);
    }
    assert_int_equal(sv_work_judge(&w, 3, 101, false, now + TICK, DEADLINE), SV_WORK_GOES_ON);
    assert_true(w.still == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(processor_time_is_what_counts),
        cmocka_unit_test(the_next_image_begins_anew),
        cmocka_unit_test(time_that_nobody_saw_is_no_hang),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
