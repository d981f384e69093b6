/* The emulation finds what a GPU leaves undefined. */
#include "tests/cuda/emulator/help.h"

#include <errno.h>
#include <string.h>

#include "tests/cuda/emulator/bad_kernels.h"

/* Whatever the order, the launch fails and says so. */
static void check_found(enum bad_kernel which, const char *sentence)
{
    _Alignas(16) float out[64] = {0};

    EACH_ORDER(order)
    {
        const char *error;

        assert_int_equal(run_bad_kernel(which, out), -EIO);
        error = emulation_error();
        if (!strstr(error, sentence))
            fail_msg("said: %s", error);
    }
}

static void threads_that_miss_a_barrier_are_found(void **state)
{
    (void)state;
    check_found(SOME_LEAVE_BEFORE_THE_BARRIER, "wait at barriers");
    check_found(TWO_BARRIERS_IN_BRANCHES, "wait at barriers");
    check_found(HALF_A_WARP_SHUFFLES, "at shuffles");
}

static void reads_of_what_nobody_wrote_are_found(void **state)
{
    (void)state;
    check_found(READS_WHAT_NOBODY_WROTE, "that nobody wrote");
}

static void missing_barriers_are_found(void **state)
{
    _Alignas(16) float out[64];

    (void)state;
    emulation_seed(0); /* as numbered: what thread 0 reads, nobody has written yet */
    assert_int_equal(run_bad_kernel(FORGETS_THE_BARRIER, out), -EIO);
    assert_non_null(strstr(emulation_error(), "nobody wrote"));
    emulation_seed(5);
    assert_int_equal(run_bad_kernel(FORGETS_THE_BARRIER, out), -EIO);
    check_found(WRITES_AGAIN_TOO_EARLY, "no barrier in between");
    check_found(TWO_WRITE_ONE_NUMBER, "two threads write one number");
}

static void shared_memory_out_of_bounds_or_too_much_is_found(void **state)
{
    (void)state;
    check_found(WRITES_PAST_THE_END, "out of bounds");
    check_found(HAS_TOO_MUCH_SHARED_MEMORY, "48 KiB");
}

static void accesses_that_are_not_aligned_are_found(void **state)
{
    (void)state;
    check_found(READS_ACROSS_16_BYTES, "not aligned");
}

static void launches_that_no_gpu_takes_fail(void **state)
{
    (void)state;
    assert_int_equal(run_grid(1, 1, 1, 1025), -EIO);
    assert_int_equal(run_grid(1, 1, 1, 0), -EIO);
    assert_int_equal(run_grid(0, 1, 1, 32), -EIO);
    assert_int_equal(run_grid(1, 65536, 1, 32), -EIO);
    assert_int_equal(run_grid(0x80000000u, 1, 1, 32), -EIO);
    assert_non_null(strstr(emulation_error(), "no GPU takes"));
    assert_int_equal(run_grid(3, 2, 1, 1024), 0);
}

static void a_good_kernel_runs_in_any_order_and_after_a_bad_one(void **state)
{
    _Alignas(16) float out[64];

    (void)state;
    (void)emulation_count();
    EACH_ORDER(order)
    {
        assert_int_equal(run_bad_kernel(SOME_LEAVE_BEFORE_THE_BARRIER, out), -EIO);
        RUN(run_bad_kernel(SUMS_WELL, out));
        for (int i = 0; i < 64; i++)
            assert_true(out[i] == 63 * 32);
    }
    assert_int_equal(emulation_count().launches, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_miss_a_barrier_are_found),
        cmocka_unit_test(reads_of_what_nobody_wrote_are_found),
        cmocka_unit_test(missing_barriers_are_found),
        cmocka_unit_test(shared_memory_out_of_bounds_or_too_much_is_found),
        cmocka_unit_test(accesses_that_are_not_aligned_are_found),
        cmocka_unit_test(launches_that_no_gpu_takes_fail),
        cmocka_unit_test(a_good_kernel_runs_in_any_order_and_after_a_bad_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
