/* The GPU's numbers through the driver's library, of which a made-up one is in LD_LIBRARY_PATH. Argument:
 * which one, "new" or "old" (that lacks what drivers before 2018 lack), or "none". */
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <poll.h>

#include "ipc/base/clock.h"
#include "ipc/telemetry.h"
#include "tests/unit/ipc/base/unit.h"
#include "trainer/backends/cuda/nvml.h"
#include "trainer/backends/cuda/telemetry.h"

#define UUID "GPU-00000000-0000-0000-0000-000000000000"
#define WAIT_NS (20 * IM_SECOND)

static void all_numbers_of_a_current_driver(void **state)
{
    struct im_text text = {""};
    struct tr_gpu_sample s;
    struct tr_nvml *n;

    (void)state;
    unsetenv("FAKE_NVML");
    assert_int_equal(tr_nvml_open(UUID, &n, &text), 0);
    assert_int_equal(tr_nvml_sample(n, &s, &text), 0);
    assert_true(fabs(s.busy - 0.97) < 1e-9);
    assert_true(s.memory_bytes == 5e10);
    assert_true(fabs(s.power_w - 641.5) < 1e-9);
    assert_true(s.temperature_c == 62);
    assert_true(s.sm_mhz == 1755 && s.memory_mhz == 3201);
    assert_true(s.throttle == IM_THROTTLE_POWER); /* its other bits slow nothing down */
    assert_true(fabs(s.energy_j - 7100) < 1e-9);
    tr_nvml_close(n);
}

static void what_an_old_driver_lacks_is_unknown(void **state)
{
    struct im_text text = {""};
    struct tr_gpu_sample s;
    struct tr_nvml *n;

    (void)state;
    unsetenv("FAKE_NVML");
    assert_int_equal(tr_nvml_open(UUID, &n, &text), 0);
    assert_int_equal(tr_nvml_sample(n, &s, &text), 0);
    assert_true(isnan(s.energy_j) && isnan(s.power_w));
    assert_true(fabs(s.busy - 0.97) < 1e-9);
    assert_true(s.throttle == (IM_THROTTLE_THERMAL | IM_THROTTLE_HARDWARE)); /* by the function's old name */
    tr_nvml_close(n);
}

static void refuses(const char *how, const char *uuid, int err, const char *words)
{
    struct im_text text = {""};
    struct tr_nvml *n = NULL;

    setenv("FAKE_NVML", how, 1);
    assert_int_equal(tr_nvml_open(uuid, &n, &text), err);
    if (!strstr(text.s, words))
        fail_msg("\"%s\" lacks \"%s\"", text.s, words);
}

static void a_driver_or_gpu_that_is_not_there_is_said(void **state)
{
    (void)state;
    refuses("dead", UUID, -ENODEV, "cannot initialise NVML: Driver Not Loaded");
    refuses("unknown", UUID, -ENODEV, "does not find GPU " UUID ": Not Found");
    refuses("", "MIG-1", -ENODEV, "does not find GPU MIG-1");
}

static void a_gpu_that_falls_off_the_bus_is_said(void **state)
{
    struct im_text text = {""};
    struct tr_gpu_sample s;
    struct tr_nvml *n;

    (void)state;
    setenv("FAKE_NVML", "lost:2", 1);
    assert_int_equal(tr_nvml_open(UUID, &n, &text), 0);
    assert_int_equal(tr_nvml_sample(n, &s, &text), 0);
    assert_int_equal(tr_nvml_sample(n, &s, &text), -ENODEV);
    assert_string_equal(text.s, "the GPU is lost: GPU is lost");
    assert_true(isnan(s.busy) && isnan(s.temperature_c));
    assert_int_equal(tr_nvml_sample(n, &s, NULL), -ENODEV);
    tr_nvml_close(n);
}

static double gauge(const struct im_stats *stats, enum im_gauge g)
{
    struct im_stats_view v;

    im_stats_read(stats, im_now(), &v);
    return v.gauge[g];
}

static bool reaches(const struct im_stats *stats, enum im_gauge g, double value)
{
    im_ns until = im_now() + WAIT_NS;

    while (!(gauge(stats, g) >= value)) /* unknown at first */
        if (im_now() > until)
            return false;
        else
            poll(NULL, 0, 1);
    return true;
}

static void telemetry_fills_the_page_until_it_is_closed(void **state)
{
    static struct im_stats stats;
    struct tr_telemetry *t;
    double samples;

    (void)state;
    unsetenv("FAKE_NVML");
    im_stats_gauge(&stats, IM_G_GPU_POWER, 12); /* a predecessor's */
    assert_int_equal(tr_telemetry_open(&stats, UUID, 2 * IM_MS, &t), 0);
    assert_non_null(t);
    assert_true(reaches(&stats, IM_G_GPU_ENERGY, 200)); /* since the first; the last word of a look */
    assert_true(gauge(&stats, IM_G_GPU_SAMPLES) >= 3);
    assert_true(gauge(&stats, IM_G_GPU_CLOCK) == 1755);
    assert_true(fabs(gauge(&stats, IM_G_GPU_POWER) - 641.5) < 1e-9);
    assert_true(gauge(&stats, IM_G_GPU_ENERGY) < 1e6);
    tr_telemetry_close(t);
    samples = gauge(&stats, IM_G_GPU_SAMPLES);
    poll(NULL, 0, 20);
    assert_true(gauge(&stats, IM_G_GPU_SAMPLES) == samples);
}

static void telemetry_of_a_lost_gpu_becomes_unknown(void **state)
{
    static struct im_stats stats;
    im_ns until = im_now() + WAIT_NS;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    struct tr_telemetry *t;
    int (*looks)(void);

    (void)state;
    assert_non_null(library);
    *(void **)&looks = dlsym(library, "fake_nvml_looks");
    assert_non_null(looks);
    setenv("FAKE_NVML", "lost:3", 1);
    assert_int_equal(tr_telemetry_open(&stats, UUID, 2 * IM_MS, &t), 0);
    while (looks() < 3 && im_now() < until)
        poll(NULL, 0, 1);
    assert_int_equal(looks(), 3);
    while (gauge(&stats, IM_G_GPU_SAMPLES) != 0 && im_now() < until)
        poll(NULL, 0, 1);
    assert_true(gauge(&stats, IM_G_GPU_SAMPLES) == 0);
    assert_true(isnan(gauge(&stats, IM_G_GPU_POWER)));
    tr_telemetry_close(t);
    dlclose(library);
}

static void no_telemetry_is_no_error(void **state)
{
    static struct im_stats stats;
    struct tr_telemetry *t = (struct tr_telemetry *)&stats;

    (void)state;
    setenv("FAKE_NVML", "dead", 1);
    im_stats_gauge(&stats, IM_G_GPU_SAMPLES, 12);
    assert_int_equal(tr_telemetry_open(&stats, UUID, IM_SECOND, &t), 0);
    assert_null(t);
    assert_true(gauge(&stats, IM_G_GPU_SAMPLES) == 0);
    tr_telemetry_close(t);
}

/* The thread stays behind: the last test of its process. */
static void a_driver_that_hangs_holds_up_nobody(void **state)
{
    static struct im_stats stats;
    struct tr_telemetry *t;
    im_ns began = im_now();

    (void)state;
    setenv("FAKE_NVML", "hang:1", 1);
    assert_int_equal(tr_telemetry_open(&stats, UUID, 2 * IM_MS, &t), 0);
    tr_telemetry_close(t);
    assert_true(im_now() - began < WAIT_NS);
    assert_true(gauge(&stats, IM_G_GPU_SAMPLES) == 0);
}

static void a_machine_without_the_library_says_so(void **state)
{
    struct im_text text = {""};
    struct tr_nvml *n = NULL;

    (void)state;
    if (tr_nvml_open(UUID, &n, &text) != -ENOENT)
        skip(); /* this machine has a driver */
    assert_non_null(strstr(text.s, "libnvidia-ml.so.1"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest current[] = {
        cmocka_unit_test(all_numbers_of_a_current_driver),
        cmocka_unit_test(a_driver_or_gpu_that_is_not_there_is_said),
        cmocka_unit_test(a_gpu_that_falls_off_the_bus_is_said),
        cmocka_unit_test(telemetry_fills_the_page_until_it_is_closed),
        cmocka_unit_test(telemetry_of_a_lost_gpu_becomes_unknown),
        cmocka_unit_test(no_telemetry_is_no_error),
        cmocka_unit_test(a_driver_that_hangs_holds_up_nobody),
    };
    const struct CMUnitTest old[] = {cmocka_unit_test(what_an_old_driver_lacks_is_unknown)};
    const struct CMUnitTest none[] = {cmocka_unit_test(a_machine_without_the_library_says_so)};
    const char *which = argc > 1 ? argv[1] : "none";

    if (strcmp(which, "new") == 0)
        return cmocka_run_group_tests(current, NULL, NULL);
    if (strcmp(which, "old") == 0)
        return cmocka_run_group_tests(old, NULL, NULL);
    return cmocka_run_group_tests(none, NULL, NULL);
}
