/* Each check of `imsuper doctor` on a machine where it fails: files below a root, and limits, that are not this one's. */
#include "supervisor/cli/doctor.h"

#include <string.h>

#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"

#define GIB ((rlim_t)1 << 30)

/* A machine without a fault. */
static const char *const healthy[][2] = {
    {"/proc/cpuinfo",
     "processor\t: 0\nmodel name\t: Test CPU\nflags\t\t: fpu sse2 fma avx avx2 f16c avx512f\n"},
    {"/proc/meminfo", "MemTotal: 33554432 kB\nMemAvailable: 25165824 kB\n"},
    {"/proc/self/cgroup", "0::/box\n"},
    {"/proc/sys/vm/overcommit_memory", "0\n"},
    {"/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"},
    {"/proc/sys/kernel/io_uring_disabled", "0\n"},
    {"/sys/kernel/security/lsm", "lockdown,capability,landlock,yama\n"},
    {"/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc\n"},
    {"/sys/devices/system/cpu/online", "0-7\n"},
    {"/sys/devices/system/node/online", "0\n"},
    {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n"},
    {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "acpi-cpufreq\n"},
    {"/sys/fs/cgroup/pids.max", "max\n"},
    {"/sys/fs/cgroup/box/cpu.max", "max 100000\n"},
    {"/dev/shm/.here", ""},
};

static void put(const char *root, const char *path, const char *text)
{
    char whole[4096], *slash;
    FILE *file;

    snprintf(whole, sizeof whole, "%s%s", root, path);
    slash = strrchr(whole, '/');
    *slash = '\0';
    if (access(whole, F_OK) < 0)
        assert_int_equal(im_mkdirs(whole, 0777, NULL), 0);
    *slash = '/';
    file = fopen(whole, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct sv_host host_at(const char *root)
{
    struct sv_host host = {.root = root, .affinity = 8, .clock_ns = 30};

    for (size_t i = 0; i < IM_COUNT(host.limits); i++)
        host.limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    for (size_t i = 0; i < IM_COUNT(healthy); i++)
        put(root, healthy[i][0], healthy[i][1]);
    return host;
}

static const struct sv_check *find(const struct sv_checks *checks, const char *name)
{
    int i = 0;

    while (i + 1 < checks->count && strcmp(checks->check[i].name, name) != 0)
        i++;
    assert_string_equal(checks->check[i].name, name);
    return &checks->check[i];
}

/* The named check has this grade, says these words and how to fix it; all others are well. */
static void expect(const struct sv_host *host, const char *name, enum sv_grade grade, const char *words)
{
    struct sv_checks checks = {.count = 0};

    sv_doctor_host(host, &checks);
    for (int i = 0; i < checks.count; i++) {
        const struct sv_check *c = &checks.check[i];

        if (strcmp(c->name, name) != 0 && c->grade != SV_CHECK_OK)
            fail_msg("%s: %s", c->name, c->found.s);
    }
    if (find(&checks, name)->grade != grade || !strstr(find(&checks, name)->found.s, words))
        fail_msg("%s: grade %d, %s", name, (int)find(&checks, name)->grade, find(&checks, name)->found.s);
    assert_true((find(&checks, name)->fix != NULL) == (grade >= SV_CHECK_WARN));
}

static void a_healthy_machine(void **state)
{
    const struct sv_host host = host_at(*state);

    expect(&host, "cpu", SV_CHECK_OK, "Test CPU: avx2 fma f16c avx512f");
    expect(&host, "cores", SV_CHECK_OK, "8 CPUs may be used (online: 0-7; NUMA nodes: 0)");
    expect(&host, "memory", SV_CHECK_OK, "24.0 of 32.0 GiB");
}

static void other_files(void **state)
{
    static const struct {
        const char *path, *text, *name;
        enum sv_grade grade;
        const char *words;
    } cases[] = {
        {"/proc/cpuinfo", "model name : Old\nflags : fpu sse2 avx2x\n", "cpu", SV_CHECK_WARN,
         "no avx2 fma f16c"},
        {"/proc/cpuinfo", "Features : asimd\n", "cpu", SV_CHECK_WARN, "not an x86-64"},
        {"/sys/fs/cgroup/box/cpu.max", "150000 100000\n", "cores", SV_CHECK_WARN, "allows 2 of 8"},
        {"/proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 262144 kB\n", "memory", SV_CHECK_FAIL,
         "0.25 GiB of 2.0"},
        {"/proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 1048576 kB\n", "memory", SV_CHECK_WARN,
         "1.00 GiB"},
        {"/proc/sys/vm/overcommit_memory", "2\n", "memory", SV_CHECK_WARN, "overcommit_memory=2"},
        {"/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n", "clock", SV_CHECK_WARN,
         "hpet"},
        {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n", "governor", SV_CHECK_WARN,
         "powersave"},
        {"/proc/sys/kernel/osrelease", "5.2.0\n", "kernel", SV_CHECK_FAIL, "pidfd_open"},
        {"/sys/kernel/security/lsm", "capability,yama\n", "kernel", SV_CHECK_WARN, "Landlock"},
        {"/sys/fs/cgroup/pids.max", "64\n", "processes", SV_CHECK_WARN, "pids.max"},
    };

    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        const struct sv_host host = host_at(*state);

        put(*state, cases[i].path, cases[i].text);
        expect(&host, cases[i].name, cases[i].grade, cases[i].words);
    }
}

/* powersave of these drivers reaches full speed. */
static void powersave_that_is_fast(void **state)
{
    const struct sv_host host = host_at(*state);

    put(*state, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
    put(*state, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", "intel_pstate\n");
    expect(&host, "governor", SV_CHECK_OK, "powersave");
}

static void other_limits(void **state)
{
    static const struct {
        int limit;
        rlim_t value;
        const char *name;
        enum sv_grade grade;
        const char *words;
    } cases[] = {
        {RLIMIT_NOFILE, 32, "nofile", SV_CHECK_FAIL, "32 open files"},
        {RLIMIT_NOFILE, 256, "nofile", SV_CHECK_WARN, "some 64 processes"},
        {RLIMIT_NOFILE, 4096, "nofile", SV_CHECK_OK, "4096"},
        {RLIMIT_NPROC, 50, "processes", SV_CHECK_WARN, "ulimit -u"},
        {RLIMIT_MEMLOCK, 65536, "memlock", SV_CHECK_OK, "64 KiB"},
        {RLIMIT_FSIZE, 1 << 20, "limits", SV_CHECK_FAIL, "ulimit -f"},
        {RLIMIT_FSIZE, 8 * GIB, "limits", SV_CHECK_WARN, "ulimit -f"},
        {RLIMIT_AS, 2 * GIB, "limits", SV_CHECK_FAIL, "ulimit -v"},
        {RLIMIT_CPU, 3600, "limits", SV_CHECK_WARN, "3600 s"},
    };

    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct sv_host host = host_at(*state);

        host.limits[cases[i].limit] = (struct rlimit){cases[i].value, cases[i].value};
        expect(&host, cases[i].name, cases[i].grade, cases[i].words);
    }
}

/* An old kernel takes io_uring's rings from the locked memory. */
static void locked_memory_of_old_kernels(void **state)
{
    struct sv_host host = host_at(*state);
    struct sv_checks checks = {.count = 0};

    host.limits[RLIMIT_MEMLOCK] = (struct rlimit){65536, 65536};
    put(*state, "/proc/sys/kernel/osrelease", "5.10.0-28-amd64\n");
    sv_doctor_host(&host, &checks);
    assert_int_equal(find(&checks, "memlock")->grade, SV_CHECK_WARN);
    assert_int_equal(find(&checks, "kernel")->grade, SV_CHECK_WARN);
}

static void slow_clock_and_one_cpu(void **state)
{
    struct sv_host host = host_at(*state);

    host.clock_ns = 900;
    expect(&host, "clock", SV_CHECK_WARN, "900 ns");
    host.clock_ns = 30, host.affinity = 1;
    expect(&host, "cores", SV_CHECK_WARN, "1 CPU");
}

static void no_shm(void **state)
{
    struct sv_host host = host_at(*state);
    char path[4096];

    snprintf(path, sizeof path, "%s/dev/shm/.here", (char *)*state);
    assert_int_equal(unlink(path), 0);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0);
    expect(&host, "shm", SV_CHECK_WARN, "no /dev/shm");
}

static void expect_io(const struct sv_host *host, int status, const char *answer, enum sv_grade grade,
                      const char *fix)
{
    struct sv_checks checks = {.count = 0};

    sv_doctor_io(host, status, answer, &checks);
    assert_int_equal(checks.check[0].grade, grade);
    if (fix)
        assert_non_null(strstr(checks.check[0].fix, fix));
}

#define PREAD(why) "{\"schema\":\"imsuper.io/1\",\"engine\":\"pread\",\"why\":\"" why "\"}"

static void io_uring_and_why_not(void **state)
{
    const struct sv_host host = host_at(*state);

    expect_io(&host, 0, "{\"engine\":\"uring\",\"why\":\"\"}", SV_CHECK_OK, NULL);
    expect_io(&host, 0, PREAD("by seccomp"), SV_CHECK_WARN, "seccomp=unconfined");
    expect_io(&host, 0, PREAD("ENOMEM; ulimit -l is 64 KiB"), SV_CHECK_WARN, "memlock=-1");
    expect_io(&host, 0, PREAD("EMFILE; see ulimit -n"), SV_CHECK_WARN, "nofile=65536");
    expect_io(&host, 127, "", SV_CHECK_FAIL, "install imsuper again");
    expect_io(&host, 0, "no JSON", SV_CHECK_FAIL, "install imsuper again");
    put(*state, "/proc/sys/kernel/osrelease", "5.4.0\n");
    expect_io(&host, 0, PREAD("too old"), SV_CHECK_WARN, "Linux 5.15");
    put(*state, "/proc/sys/kernel/io_uring_disabled", "2\n");
    expect_io(&host, 0, PREAD("forbidden"), SV_CHECK_WARN, "sysctl kernel.io_uring_disabled=0");
}

static void libraries(void **state)
{
    struct sv_checks checks = {.count = 0};

    (void)state;
    sv_doctor_libraries("a", "\tlinux-vdso.so.1 (0x7f)\n\tlibz.so.1 => /nowhere/libz.so.1 (0x7f)\n", &checks);
    sv_doctor_libraries("b", "\tlibjpeg.so.62 => not found\n\tlibwebp.so.7 => not found\n", &checks);
    assert_int_equal(checks.check[0].grade, SV_CHECK_OK);
    assert_int_equal(checks.check[1].grade, SV_CHECK_FAIL);
    assert_string_equal(checks.check[1].found.s, "libraries are missing: libjpeg.so.62, libwebp.so.7");
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        TEST(a_healthy_machine),
        TEST(other_files),
        TEST(powersave_that_is_fast),
        TEST(other_limits),
        TEST(no_shm),
        TEST(locked_memory_of_old_kernels),
        TEST(slow_clock_and_one_cpu),
        TEST(io_uring_and_why_not),
        cmocka_unit_test(libraries),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
