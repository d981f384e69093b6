/* What the ranks' pages say about their GPUs, as one. */
#include <math.h>

#include "ipc/telemetry.h"
#include "tests/unit/ipc/small_run.h"

struct gpu {
    double samples, busy, memory, power, temperature, clock, memory_clock, throttled, energy;
};

static void say(struct small_run *s, uint32_t rank, const struct gpu *g)
{
    struct im_stats *page = &s->run.stats[im_run_slot(&s->run, IM_ROLE_TRAINER, rank)];

    im_stats_gauge(page, IM_G_GPU_SAMPLES, g->samples);
    im_stats_gauge(page, IM_G_GPU_BUSY, g->busy);
    im_stats_gauge(page, IM_G_GPU_MEMORY, g->memory);
    im_stats_gauge(page, IM_G_GPU_POWER, g->power);
    im_stats_gauge(page, IM_G_GPU_TEMPERATURE, g->temperature);
    im_stats_gauge(page, IM_G_GPU_CLOCK, g->clock);
    im_stats_gauge(page, IM_G_GPU_MEMORY_CLOCK, g->memory_clock);
    im_stats_gauge(page, IM_G_GPU_THROTTLED, g->throttled);
    im_stats_gauge(page, IM_G_GPU_ENERGY, g->energy);
}

static void a_run_on_cpus_says_nothing(void **state)
{
    struct small_run *s = *state;
    struct im_telemetry t;

    im_telemetry_read(&s->run, &t);
    assert_int_equal(t.gpus, 0);
    assert_true(isnan(t.busy) && isnan(t.power_w));
}

static void gpus_are_added_up_by_what_each_number_means(void **state)
{
    struct small_run *s = *state;
    struct im_telemetry t;

    say(s, 0, &(struct gpu){5, 0.9, 100, 600, 60, 1700, 3200, IM_THROTTLE_POWER, 50});
    say(s, 1, &(struct gpu){4, 0.7, 200, 650, 70, 1500, 3100, IM_THROTTLE_THERMAL, 70});
    im_stats_gauge(&s->run.stats[im_run_slot(&s->run, IM_ROLE_TRAINER, 0)], IM_G_GPU_IDEAL, 0.25);
    im_telemetry_read(&s->run, &t);
    assert_int_equal(t.gpus, 2);
    assert_true(fabs(t.busy - 0.8) < 1e-12);
    assert_true(t.memory_bytes == 200 && t.temperature_c == 70);
    assert_true(t.power_w == 1250 && t.energy_j == 120);
    assert_true(t.sm_mhz == 1500 && t.memory_mhz == 3100);
    assert_int_equal(t.throttled, IM_THROTTLE_POWER | IM_THROTTLE_THERMAL);
    assert_true(t.ideal_s == 0.25);
}

static void what_one_does_not_say_is_the_others(void **state)
{
    const double none = (double)NAN;
    struct small_run *s = *state;
    struct im_telemetry t;

    say(s, 0, &(struct gpu){1, none, none, none, none, none, none, none, none});
    say(s, 1, &(struct gpu){1, 0.5, 7, 300, 40, 1000, none, 0, none});
    im_telemetry_read(&s->run, &t);
    assert_int_equal(t.gpus, 2);
    assert_true(t.busy == 0.5 && t.power_w == 300 && t.sm_mhz == 1000);
    assert_true(isnan(t.energy_j) && isnan(t.memory_mhz));
    assert_int_equal(t.throttled, 0);
}

static void a_gpu_that_is_gone_does_not_count(void **state)
{
    struct small_run *s = *state;
    struct im_telemetry t;

    say(s, 0, &(struct gpu){0, 0.9, 100, 600, 60, 1700, 3200, 7, 50});
    say(s, 1, &(struct gpu){1, 0.5, 7, 300, 40, 1000, 3000, 1e300, 5}); /* shared memory may hold anything */
    im_telemetry_read(&s->run, &t);
    assert_int_equal(t.gpus, 1);
    assert_true(t.power_w == 300);
    assert_int_equal(t.throttled, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_run_on_cpus_says_nothing, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(gpus_are_added_up_by_what_each_number_means, small_setup,
                                        small_teardown),
        cmocka_unit_test_setup_teardown(what_one_does_not_say_is_the_others, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(a_gpu_that_is_gone_does_not_count, small_setup, small_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
