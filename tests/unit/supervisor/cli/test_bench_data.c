/* What bench data makes of numbers that were measured elsewhere. */
#include "supervisor/cli/bench_data.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/ipc/base/unit.h"

/* 1,000 images/s for 10 s: 2 readers of 0.1 ms, 4 augmenters of 2 ms an image, on 8 cores. */
static struct sv_bench measured(int limit, double idle_cores)
{
    struct sv_bench b = {.readers = 2,
                         .augmenters = 4,
                         .trainers = 2,
                         .cores = 8,
                         .rate = {.n = 5, .mean = 1000},
                         .seconds = 10,
                         .idle_seconds = 10 * idle_cores,
                         .limit = limit};

    b.stage[0] = (struct sv_bench_stage){.processes = 2, .samples = 10000, .cpu_seconds = 1};
    b.stage[1] = (struct sv_bench_stage){.processes = 4, .samples = 10000, .cpu_seconds = 20};
    return b;
}

static void numbers(void **state)
{
    const struct sv_bench b = measured(1, 3);

    (void)state;
    assert_float_equal(sv_bench_cpu_ms(&b, 0), 0.1, 1e-9);
    assert_float_equal(sv_bench_cpu_ms(&b, 1), 2, 1e-9);
    assert_float_equal(sv_bench_cpu_ms_all(&b), 2.1, 1e-9);
    assert_float_equal(sv_bench_cores_used(&b), 2.1, 1e-9);
    assert_float_equal(sv_bench_cores_free(&b), 3, 1e-9);
}

/* One more augmenter does as much as one of the four, or what the free cores can do; none where no core is free. */
static void one_more(void **state)
{
    struct sv_bench b = measured(1, 3);
    struct im_text said = {""};

    (void)state;
    assert_float_equal(sv_bench_verdict(&b, 0, &said), 1250, 1e-6);
    assert_non_null(strstr(said.s, "decoding and augmenting limits: 4 of --augmenters"));
    assert_non_null(strstr(said.s, "1250 images/s (3.0 cores are free)"));
    b = measured(1, 0.3); /* 0.3 cores of 2 ms an image are 150 */
    assert_float_equal(sv_bench_verdict(&b, 0, &said), 1150, 1e-6);
    b = measured(1, 0.1);
    assert_float_equal(sv_bench_verdict(&b, 0, &said), 0, 0);
    assert_non_null(strstr(said.s, "all 8 cores are in use (5.8 by other programs)"));
    b = measured(0, 3);
    assert_float_equal(sv_bench_verdict(&b, 0, &said), 1500, 1e-6);
    assert_non_null(strstr(said.s, "reading limits: 2 of --readers"));
}

/* Readers that wait for objects are not helped by more of them. */
static void the_network_limits(void **state)
{
    struct sv_bench b = measured(0, 3);
    struct im_text said = {""};

    (void)state;
    assert_string_equal(sv_bench_limit_name(&b), "read");
    b.stage[0].busy = 0.02;
    b.stage[0].wait_input = 0.98;
    assert_float_equal(sv_bench_verdict(&b, 0, &said), 0, 0);
    assert_non_null(strstr(said.s, "the network limits: readers waited 98% of the time"));
    assert_string_equal(sv_bench_limit_name(&b), "network");
    b.limit = 1;
    assert_string_equal(sv_bench_limit_name(&b), "augment");
    b.limit = -1;
    assert_string_equal(sv_bench_limit_name(&b), "unknown");
}

static void nothing_limits(void **state)
{
    const struct sv_bench b = measured(2, 3), short_one = measured(-1, 3);
    struct im_text said = {""};

    (void)state;
    assert_float_equal(sv_bench_verdict(&b, 500, &said), 0, 0);
    assert_non_null(strstr(said.s, "the trainers limit: they get the 1000 images/s"));
    assert_float_equal(sv_bench_verdict(&b, 0, &said), 0, 0);
    assert_non_null(strstr(said.s, "nothing of the data path limits"));
    assert_float_equal(sv_bench_verdict(&short_one, 0, &said), 0, 0);
    assert_non_null(strstr(said.s, "too short to tell"));
}

static void scans(void **state)
{
    static const char *const bad[] = {"",
                                      "augmenters",
                                      "augmenters=4",
                                      "augmenters=1..",
                                      "augmenters=0..4",
                                      "trainers=1..2",
                                      "augmenters=5..4",
                                      "readers=1..513",
                                      "readers=1..2x"};
    struct sv_scan scan;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(sv_bench_scan_parse("augmenters=2..16", &scan, &text), 0);
    assert_false(scan.readers);
    assert_int_equal(scan.low, 2);
    assert_int_equal(scan.high, 16);
    assert_int_equal(sv_bench_scan_parse("readers=1..1", &scan, &text), 0);
    assert_true(scan.readers);
    for (size_t i = 0; i < IM_COUNT(bad); i++) {
        assert_int_equal(sv_bench_scan_parse(bad[i], &scan, &text), -EINVAL);
        assert_begins(text.s, "--scan");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),        cmocka_unit_test(one_more), cmocka_unit_test(the_network_limits),
        cmocka_unit_test(nothing_limits), cmocka_unit_test(scans),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
