/* The line on the screen of a run on GPUs. */
#include <math.h>

#include "supervisor/report/screen.h"
#include "tests/unit/ipc/base/unit.h"

static const char *line_of(const struct sv_view *view, int columns)
{
    static const struct im_phase phase = {
        .split = IM_TRAIN, .steps = 100, .batch_size = 256, .image_size = 224};
    static char line[1024];
    const struct sv_screen screen = {0};
    const struct sv_progress p = {
        .view = view, .phase = &phase, .epochs = 90, .step = 50, .eta_epoch = 8, .eta_run = 3600};

    sv_format_line(&screen, &p, columns, line, sizeof line);
    return line;
}

static struct sv_view gpu_view(void)
{
    return (struct sv_view){.limit = SV_STAGE_TRAIN,
                            .samples_per_second = 13400,
                            .gpus = {.gpus = 2,
                                     .busy = 0.97,
                                     .power_w = 1283,
                                     .temperature_c = 62,
                                     .sm_mhz = 1755,
                                     .throttled = IM_THROTTLE_POWER},
                            .per_gpu = 6700,
                            .mfu = 0.164};
}

static void gpus_are_one_segment(void **state)
{
    const struct sv_view view = gpu_view();

    (void)state;
    assert_non_null(strstr(line_of(&view, 300), "  gpu 97% 1283W 62C mfu 16% power-throttled  eta 8s"));
}

static void what_is_unknown_is_left_out(void **state)
{
    struct sv_view view = gpu_view();

    (void)state;
    view.gpus.power_w = view.gpus.busy = (double)NAN;
    view.gpus.throttled = 0;
    view.mfu = 0;
    assert_non_null(strstr(line_of(&view, 300), "  gpu 62C  eta 8s"));
}

static void a_range_test_counts_steps(void **state)
{
    static const struct im_phase phase = {
        .split = IM_TRAIN, .steps = 38, .batch_size = 16, .image_size = 32, .epoch = 1};
    const struct sv_view view = {.samples_per_second = 100};
    const struct sv_progress p = {.view = &view,
                                  .phase = &phase,
                                  .epochs = 3,
                                  .step = 40,
                                  .steps = 100,
                                  .eta_epoch = -1,
                                  .eta_run = 12};
    const struct sv_screen screen = {0};
    char line[200];

    (void)state;
    sv_format_line(&screen, &p, 120, line, sizeof line);
    assert_non_null(strstr(line, " 40% step 40/100  16x32 px"));
    assert_non_null(strstr(line, "  eta 12s |"));
    assert_null(strstr(line, "2/3"));
}

static void planning_is_seen(void **state)
{
    struct sv_view view = gpu_view();
    const struct sv_screen screen = {0};
    const struct sv_progress starting = {.view = &view, .state = "starting"};
    char line[200];

    (void)state;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting");
    view.gauge[IM_G_PLANS] = 12;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting  cuDNN: plan 12");
    view.gauge[IM_G_PLANS_OF] = 61;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting  cuDNN: plan 12 of 61");
    assert_non_null(strstr(line_of(&view, 300), "step 50/100  cuDNN: plan 12 of 61  256x224 px"));
    view.gauge[IM_G_PLANS_OF] = -1;
    sv_format_line(&screen, &starting, 100, line, sizeof line);
    assert_string_equal(line, "starting  cuDNN: another process makes the plans");
}

static void a_run_on_cpus_has_none(void **state)
{
    const struct sv_view view = {.limit = SV_STAGE_TRAIN, .samples_per_second = 400};

    (void)state;
    assert_null(strstr(line_of(&view, 300), "gpu"));
}

static void a_narrow_screen_goes_without(void **state)
{
    const struct sv_view view = gpu_view();

    (void)state;
    assert_null(strstr(line_of(&view, 79), "gpu"));
    assert_true(strlen(line_of(&view, 79)) <= 79);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gpus_are_one_segment),      cmocka_unit_test(what_is_unknown_is_left_out),
        cmocka_unit_test(a_range_test_counts_steps), cmocka_unit_test(planning_is_seen),
        cmocka_unit_test(a_run_on_cpus_has_none),    cmocka_unit_test(a_narrow_screen_goes_without),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
