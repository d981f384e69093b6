/* The machine's side of `imsuper doctor`: /proc, /sys and limits. */
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "ipc/base/json.h"
#include "ipc/base/sysinfo.h"
#include "supervisor/cli/doctor.h"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

enum {
    FILE_BYTES_MAX = 1 << 20,
    CLOCK_CALLS = 1000,
    CLOCK_ROUNDS = 20,
    CLOCK_SLOW_NS = 300, /* a system call; the vDSO takes 20 to 60 */
    CPUS_MAX = 8192,
    NOFILE_LEAST = 64,
    NOFILE_ENOUGH = 1024,
    PROCESSES_ENOUGH = 256
};

void sv_check_add(struct sv_checks *checks, const char *name, enum sv_grade grade, const char *fix,
                  const char *format, ...)
{
    struct sv_check *c = &checks->check[checks->count];
    va_list args;

    im_assert(checks->count < SV_CHECKS_MAX);
    checks->count++;
    *c = (struct sv_check){.name = name, .grade = grade, .fix = grade >= SV_CHECK_WARN ? fix : NULL};
    va_start(args, format);
    vsnprintf(c->found.s, sizeof c->found.s, format, args);
    va_end(args);
}

/* The fastest of several rounds: in others this process may have had no processor. */
static double time_clock(void)
{
    double least = 1e9;

    for (int round = 0; round < CLOCK_ROUNDS; round++) {
        const im_ns began = im_now();
        double ns;

        for (int i = 0; i < CLOCK_CALLS; i++)
            im_now();
        ns = (double)(im_now() - began) / CLOCK_CALLS;
        least = ns < least ? ns : least;
    }
    return least;
}

void sv_host_look(struct sv_host *ret)
{
    size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);

    *ret = (struct sv_host){.root = "", .affinity = 1, .clock_ns = time_clock()};
    if (set && sched_getaffinity(0, size, set) == 0)
        ret->affinity = CPU_COUNT_S(size, set);
    CPU_FREE(set);
    for (int i = 0; i < (int)RLIM_NLIMITS; i++)
        if (getrlimit((__rlimit_resource_t)i, &ret->limits[i]) < 0)
            ret->limits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
}

/* The file's text, the caller's; "" when it cannot be read; NULL without memory. */
static char *read_text(const struct sv_host *host, const char *path)
{
    char whole[PATH_MAX], *text = NULL;
    size_t n;

    snprintf(whole, sizeof whole, "%s%s", host->root, path);
    if (im_read_file(whole, FILE_BYTES_MAX, &text, &n, NULL) < 0)
        text = strdup("");
    return text;
}

/* The first line of a file; "" when it cannot be read. */
static const char *read_line(const struct sv_host *host, const char *path, char *line, size_t n)
{
    char *text = read_text(host, path);

    snprintf(line, n, "%.*s", text ? (int)strcspn(text, "\n") : 0, text ? text : "");
    free(text);
    return line;
}

/* The value of "key : value" in a text of such lines, cut to n; "" where there is none. */
static void take_value(const char *text, const char *key, char *value, size_t n)
{
    const size_t length = strlen(key);

    value[0] = '\0';
    for (const char *at = text; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        const char *colon = at + length + strspn(at + strnlen(at, length), " \t");

        if (strncmp(at, key, length) != 0 || *colon != ':')
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(value, n, "%.*s", (int)strcspn(colon, "\n"), colon);
        return;
    }
}

static bool has_word(const char *words, const char *word)
{
    const size_t n = strlen(word);

    for (const char *at = words; (at = strstr(at, word)); at += n)
        if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
            return true;
    return false;
}

static void check_cpu(const struct sv_host *host, struct sv_checks *checks)
{
    static const char *const wanted[] = {"avx2", "fma", "f16c"};
    static const char *const more[] = {"avx512f", "avx512_bf16", "amx_bf16"};
    char *text = read_text(host, "/proc/cpuinfo"), model[128], flags[8192], list[256] = "", lacks[64] = "";

    take_value(text, "model name", model, sizeof model);
    take_value(text, "flags", flags, sizeof flags);
    free(text);
    if (!flags[0]) {
        sv_check_add(checks, "cpu", SV_CHECK_WARN,
                     "use a machine with an x86-64 processor with AVX2; others run the portable code",
                     "%s: not an x86-64 processor; pixels and tensors are computed by portable code",
                     model[0] ? model : "unknown");
        return;
    }
    for (size_t i = 0; i < IM_COUNT(wanted); i++)
        snprintf(has_word(flags, wanted[i]) ? list + strlen(list) : lacks + strlen(lacks), 32, " %s",
                 wanted[i]);
    for (size_t i = 0; i < IM_COUNT(more); i++)
        if (has_word(flags, more[i]))
            snprintf(list + strlen(list), 32, " %s", more[i]);
    if (lacks[0])
        sv_check_add(
            checks, "cpu", SV_CHECK_WARN,
            "choose another machine type, or let the virtual machine show the host's CPU (qemu -cpu host)",
            "%s has no%s: several times slower", model, lacks);
    else
        sv_check_add(checks, "cpu", SV_CHECK_OK, NULL, "%s:%s", model, list);
}

static void check_cores(const struct sv_host *host, struct sv_checks *checks)
{
    const int usable = im_cpu_count_at(host->root, host->affinity);
    char online[64], nodes[64];

    read_line(host, "/sys/devices/system/cpu/online", online, sizeof online);
    read_line(host, "/sys/devices/system/node/online", nodes, sizeof nodes);
    if (usable < host->affinity)
        sv_check_add(checks, "cores", SV_CHECK_WARN,
                     "docker run --cpus=N, Kubernetes: resources.limits.cpu, systemd: CPUQuota=, Slurm: "
                     "--cpus-per-task",
                     "a cgroup (cpu.max) allows %d of %d CPUs: processes are stopped when they use more",
                     usable, host->affinity);
    else if (usable < 2)
        sv_check_add(checks, "cores", SV_CHECK_WARN,
                     "taskset -c 0-7 imsuper ..., Slurm: --cpus-per-task=8, or a machine with more cores",
                     "1 CPU: reading, decoding and training share it (online: %s)", online);
    else
        sv_check_add(checks, "cores", SV_CHECK_OK, NULL, "%d CPUs may be used (online: %s; NUMA nodes: %s)",
                     usable, online[0] ? online : "?", nodes[0] ? nodes : "0");
}

static void check_memory(const struct sv_host *host, struct sv_checks *checks)
{
    const uint64_t total = im_memory_total_at(host->root), left = im_memory_available_at(host->root);
    char overcommit[16];

    read_line(host, "/proc/sys/vm/overcommit_memory", overcommit, sizeof overcommit);
    if (left < 512 * MIB)
        sv_check_add(
            checks, "memory", SV_CHECK_FAIL,
            "stop other programs, raise the container's limit (docker run --memory=16g), or add memory",
            "%.2f GiB of %.1f are left; a run needs 0.5 at least", (double)left / (double)GIB,
            (double)total / (double)GIB);
    else if (left < 2 * GIB)
        sv_check_add(
            checks, "memory", SV_CHECK_WARN,
            "stop other programs, raise the container's limit (docker run --memory=16g), or add memory",
            "%.2f GiB of %.1f are left: small models and batches only", (double)left / (double)GIB,
            (double)total / (double)GIB);
    else if (strcmp(overcommit, "2") == 0)
        sv_check_add(checks, "memory", SV_CHECK_WARN, "sudo sysctl vm.overcommit_memory=0",
                     "%.1f GiB are left, but vm.overcommit_memory=2 refuses reservations early",
                     (double)left / (double)GIB);
    else
        sv_check_add(checks, "memory", SV_CHECK_OK, NULL, "%.1f of %.1f GiB are left",
                     (double)left / (double)GIB, (double)total / (double)GIB);
}

/* "6.1" is 601. */
static int kernel_version(const char *release)
{
    int major = 0, minor = 0;

    if (sscanf(release, "%d.%d", &major, &minor) != 2) /* NOLINT(cert-err34-c) what is no number stays 0 */
        return 0;
    return 100 * major + (minor < 99 ? minor : 99);
}

static int kernel_of(const struct sv_host *host, char *release, size_t n)
{
    return kernel_version(read_line(host, "/proc/sys/kernel/osrelease", release, n));
}

static void check_kernel(const struct sv_host *host, struct sv_checks *checks)
{
    char release[128], lsm[256];
    const int version = kernel_of(host, release, sizeof release);
    const bool known = read_line(host, "/sys/kernel/security/lsm", lsm, sizeof lsm)[0] != '\0';

    if (version < 503)
        sv_check_add(checks, "kernel", SV_CHECK_FAIL, "use Linux 5.10 or newer (Debian 11, Ubuntu 22.04)",
                     "Linux %s has no pidfd_open(), by which deaths of processes are seen", release);
    else if (version < 513 || (known && !strstr(lsm, "landlock")))
        sv_check_add(
            checks, "kernel", SV_CHECK_WARN,
            "use Linux 5.13 or newer and add landlock to the boot option lsm=",
            "Linux %s restricts no paths (Landlock): decoders of images could read any file of yours",
            release);
    else
        sv_check_add(checks, "kernel", SV_CHECK_OK, NULL, "Linux %s", release);
}

static void check_clock(const struct sv_host *host, struct sv_checks *checks)
{
    char source[64];

    read_line(host, "/sys/devices/system/clocksource/clocksource0/current_clocksource", source,
              sizeof source);
    if (host->clock_ns > CLOCK_SLOW_NS || strcmp(source, "hpet") == 0 || strcmp(source, "acpi_pm") == 0)
        sv_check_add(
            checks, "clock", SV_CHECK_WARN,
            "echo tsc | sudo tee /sys/devices/system/clocksource/clocksource0/current_clocksource",
            "clock source %s, %.0f ns a reading: measurements are disturbed, and each wait costs more",
            source, host->clock_ns);
    else
        sv_check_add(checks, "clock", SV_CHECK_OK, NULL, "clock source %s, %.0f ns a reading",
                     source[0] ? source : "unknown", host->clock_ns);
}

static void check_governor(const struct sv_host *host, struct sv_checks *checks)
{
    char governor[64], driver[64];

    read_line(host, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", governor, sizeof governor);
    read_line(host, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_driver", driver, sizeof driver);
    /* powersave of these two drivers is the processor's own choice, and reaches full speed. */
    if (strcmp(governor, "powersave") == 0 && strcmp(driver, "intel_pstate") != 0 &&
        strncmp(driver, "amd-pstate-epp", 14) != 0)
        sv_check_add(checks, "governor", SV_CHECK_WARN, "sudo cpupower frequency-set -g performance",
                     "powersave of %s: the CPUs stay at their lowest speed",
                     driver[0] ? driver : "its driver");
    else if (governor[0])
        sv_check_add(checks, "governor", SV_CHECK_OK, NULL, "%s%s%s", governor, driver[0] ? " of " : "",
                     driver);
    else
        sv_check_add(checks, "governor", SV_CHECK_SKIP, NULL, "this machine does not show its CPUs' speed");
}

static void check_files(const struct sv_host *host, struct sv_checks *checks)
{
    const struct rlimit *l = &host->limits[RLIMIT_NOFILE];

    if (l->rlim_max < NOFILE_LEAST)
        sv_check_add(checks, "nofile", SV_CHECK_FAIL,
                     "ulimit -Hn 65536 as root, docker run --ulimit nofile=65536, or LimitNOFILE= of systemd",
                     "%" PRIu64 " open files at most (ulimit -Hn); a run needs %d at least",
                     (uint64_t)l->rlim_max, NOFILE_LEAST);
    else if (l->rlim_max < NOFILE_ENOUGH)
        sv_check_add(checks, "nofile", SV_CHECK_WARN,
                     "ulimit -Hn 65536 as root, docker run --ulimit nofile=65536, or LimitNOFILE= of systemd",
                     "%" PRIu64 " open files at most (ulimit -Hn): enough for some %" PRIu64
                     " processes, and io_uring may need more",
                     (uint64_t)l->rlim_max, (uint64_t)l->rlim_max / 4);
    else if (l->rlim_max == RLIM_INFINITY)
        sv_check_add(checks, "nofile", SV_CHECK_OK, NULL, "no limit of open files");
    else
        sv_check_add(checks, "nofile", SV_CHECK_OK, NULL, "%" PRIu64 " open files (ulimit -Hn)",
                     (uint64_t)l->rlim_max);
}

static void check_processes(const struct sv_host *host, struct sv_checks *checks)
{
    const struct rlimit *l = &host->limits[RLIMIT_NPROC];
    char pids[32];
    uint64_t most = l->rlim_cur == RLIM_INFINITY ? UINT64_MAX : l->rlim_cur, in_cgroup;

    read_line(host, "/sys/fs/cgroup/pids.max", pids, sizeof pids);
    in_cgroup = pids[0] >= '0' && pids[0] <= '9' ? strtoull(pids, NULL, 10) : UINT64_MAX;
    if (in_cgroup < most)
        most = in_cgroup;
    if (most < PROCESSES_ENOUGH)
        sv_check_add(checks, "processes", SV_CHECK_WARN,
                     in_cgroup == most ? "docker run --pids-limit=4096, or TasksMax= of systemd"
                                       : "ulimit -u 4096, or LimitNPROC= of systemd",
                     "%" PRIu64 " processes and threads at most (%s): a run may not start all of its own",
                     most, in_cgroup == most ? "pids.max" : "ulimit -u");
    else if (most == UINT64_MAX)
        sv_check_add(checks, "processes", SV_CHECK_OK, NULL, "no limit of processes");
    else
        sv_check_add(checks, "processes", SV_CHECK_OK, NULL, "%" PRIu64 " processes and threads", most);
}

static void check_memlock(const struct sv_host *host, struct sv_checks *checks)
{
    const struct rlimit *l = &host->limits[RLIMIT_MEMLOCK];
    char release[128];
    const bool counts = kernel_of(host, release, sizeof release) < 512;

    if (l->rlim_cur == RLIM_INFINITY)
        sv_check_add(checks, "memlock", SV_CHECK_OK, NULL, "no limit of locked memory");
    else if (counts && l->rlim_cur < 8 * MIB)
        sv_check_add(checks, "memlock", SV_CHECK_WARN,
                     "ulimit -l unlimited as root, docker run --ulimit memlock=-1, or LimitMEMLOCK=infinity "
                     "of systemd",
                     "%" PRIu64
                     " KiB of locked memory (ulimit -l), from which this kernel takes io_uring's rings",
                     (uint64_t)l->rlim_cur / 1024);
    else
        sv_check_add(checks, "memlock", SV_CHECK_OK, NULL,
                     "%" PRIu64 " KiB of locked memory: enough, as io_uring of this kernel takes none",
                     (uint64_t)l->rlim_cur / 1024);
}

/* Limits that nobody needs and that end a run in its middle. */
static void check_other_limits(const struct sv_host *host, struct sv_checks *checks)
{
    const rlim_t *size = &host->limits[RLIMIT_FSIZE].rlim_cur, *space = &host->limits[RLIMIT_AS].rlim_cur;
    const rlim_t *time = &host->limits[RLIMIT_CPU].rlim_cur;

    if (*size != RLIM_INFINITY)
        sv_check_add(checks, "limits", *size < GIB ? SV_CHECK_FAIL : SV_CHECK_WARN, "ulimit -f unlimited",
                     "files may have %" PRIu64 " KiB at most (ulimit -f): checkpoints and rings are larger",
                     (uint64_t)*size / 1024);
    else if (*space != RLIM_INFINITY)
        sv_check_add(checks, "limits", *space < 4 * GIB ? SV_CHECK_FAIL : SV_CHECK_WARN,
                     "ulimit -v unlimited",
                     "a process may map %.1f GiB (ulimit -v); CUDA maps more than it uses",
                     (double)*space / (double)GIB);
    else if (*time != RLIM_INFINITY)
        sv_check_add(checks, "limits", SV_CHECK_WARN, "ulimit -t unlimited",
                     "each process is killed after %" PRIu64 " s of processor time (ulimit -t)",
                     (uint64_t)*time);
    else
        sv_check_add(checks, "limits", SV_CHECK_OK, NULL,
                     "none of file size, address space and processor time");
}

static void check_shm(const struct sv_host *host, struct sv_checks *checks)
{
    char path[PATH_MAX];
    struct statvfs fs;
    uint64_t bytes;

    snprintf(path, sizeof path, "%s/dev/shm", host->root);
    if (statvfs(path, &fs) < 0) {
        sv_check_add(checks, "shm", SV_CHECK_WARN, "sudo mount -t tmpfs tmpfs /dev/shm",
                     "there is no /dev/shm: rings lie in memory files, and NCCL cannot work");
        return;
    }
    bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes < 256 * MIB)
        sv_check_add(
            checks, "shm", SV_CHECK_WARN,
            "docker run --shm-size=8g, Kubernetes: an emptyDir with medium: Memory at /dev/shm, or "
            "sudo mount -o remount,size=50% /dev/shm",
            "%.0f MiB are free in /dev/shm: rings lie in memory files, but NCCL needs more for several GPUs",
            (double)bytes / (double)MIB);
    else
        sv_check_add(checks, "shm", SV_CHECK_OK, NULL, "%.1f GiB are free in /dev/shm",
                     (double)bytes / (double)GIB);
}

void sv_doctor_host(const struct sv_host *host, struct sv_checks *checks)
{
    check_cpu(host, checks);
    check_cores(host, checks);
    check_governor(host, checks);
    check_memory(host, checks);
    check_shm(host, checks);
    check_kernel(host, checks);
    check_clock(host, checks);
    check_files(host, checks);
    check_processes(host, checks);
    check_memlock(host, checks);
    check_other_limits(host, checks);
}

/* What to do about io_uring, by what the kernel says of itself and how it refused. */
static const char *mend_io(const struct sv_host *host, const char *why)
{
    char disabled[16], release[128];

    if (strcmp(read_line(host, "/proc/sys/kernel/io_uring_disabled", disabled, sizeof disabled), "0") > 0)
        return "sudo sysctl kernel.io_uring_disabled=0";
    if (kernel_of(host, release, sizeof release) < 511)
        return "use Linux 5.15 or newer (Debian 12, Ubuntu 22.04)";
    if (strstr(why, "ulimit -l"))
        return "ulimit -l unlimited as root, docker run --ulimit memlock=-1, or LimitMEMLOCK=infinity of "
               "systemd";
    if (strstr(why, "ulimit -n"))
        return "ulimit -n 65536, docker run --ulimit nofile=65536, or LimitNOFILE= of systemd";
    return "docker run --security-opt seccomp=unconfined, or a seccomp profile with io_uring_setup, "
           "io_uring_enter "
           "and io_uring_register";
}

/* "files are read by threads instead of io_uring: WHY". */
static const char *after_colon(const char *why)
{
    const char *colon = strstr(why, ": ");

    return colon ? colon + 2 : why;
}

void sv_doctor_io(const struct sv_host *host, int status, const char *answer, struct sv_checks *checks)
{
    struct im_json *j = NULL;
    const char *engine = "", *why = "";

    if (status == 0 && im_json_parse(answer, strlen(answer), &j, NULL) == 0) {
        engine = im_json_str_or(j, "engine", "");
        why = im_json_str_or(j, "why", "");
    }
    if (strcmp(engine, "uring") == 0)
        sv_check_add(checks, "io_uring", SV_CHECK_OK, NULL, "works");
    else if (strcmp(engine, "pread") == 0)
        sv_check_add(checks, "io_uring", SV_CHECK_WARN, mend_io(host, why), "%s", after_colon(why));
    else
        sv_check_add(checks, "io_uring", SV_CHECK_FAIL, "install imsuper again: imsuper-reader does not work",
                     "imsuper-reader did not say whether it works");
    im_json_free(&j);
}
