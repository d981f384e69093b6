#include "supervisor/limits.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/sysinfo.h"

#define MIB ((uint64_t)1 << 20)
#define STACK_LEAST MIB        /* the configuration, paths and sentences lie there */
#define STACK_USUAL (8 * MIB)  /* what libraries expect */
#define DATA_LEAST (128 * MIB) /* a trainer with its libraries and the smallest network */
#define ADDRESS_SPACE_LEAST (512 * MIB)
#define FILE_SIZE_LEAST (16 * MIB) /* rings, snapshots and checkpoints of the smallest network */
#define FILES_OF_ANY 32            /* segments, pipes, logs, the control socket, what a library opens */
#define FILES_USUAL 64             /* a small run takes less */
#define FILES_OF_GPU 256           /* a driver's */
#define FILES_OF_PEER 8            /* connections to another trainer */
#define THREADS_OF_SUPERVISOR 8
#define THREADS_OF_WORKER 4
#define THREADS_OF_TRAINER 8 /* beside those that compute */
#define PROCESSES_LEAST (1 + THREADS_OF_SUPERVISOR + 2 * THREADS_OF_WORKER + THREADS_OF_TRAINER + 1)
#define LARGE (64 * 1024 * MIB) /* a limit of memory above this is nobody's suspect */
#define CPU_TIME_LARGE 100000   /* seconds */
#define PROCESSES_LARGE 1024    /* then those that run already are not counted */

static const struct limit {
    int resource;
    const char *flag, *what, *service; /* of ulimit; in words; of a unit of systemd */
    uint64_t unit;                     /* of ulimit's numbers */
} limits[] = {
    {RLIMIT_NOFILE, "-n", "files that a process may have open", "LimitNOFILE", 1},
    {RLIMIT_NPROC, "-u", "processes and threads of this user", "LimitNPROC", 1},
    {RLIMIT_DATA, "-d", "memory of a process (data segment)", "LimitDATA", 1024},
    {RLIMIT_AS, "-v", "address space of a process", "LimitAS", 1024},
    {RLIMIT_STACK, "-s", "stack of a process", "LimitSTACK", 1024},
    {RLIMIT_FSIZE, "-f", "size of a file, of shared memory too", "LimitFSIZE", 1024},
    {RLIMIT_CPU, "-t", "processor time of a process", "LimitCPU", 1},
};
enum { FILES, PROCESSES, DATA, ADDRESS_SPACE, STACK, FILE_SIZE, CPU_TIME };

static int limit_error(const struct limit *l, uint64_t is, uint64_t need, const char *more,
                       struct im_text *text)
{
    const char *unit = l->unit > 1 ? " KiB" : "";

    is /= l->unit;
    need = (need + l->unit - 1) / l->unit;
    if (l->resource == RLIMIT_FSIZE) /* shells count it in different units */
        return im_fail(text, -EAGAIN,
                       "the limit of %s is %" PRIu64 "%s, and at least %" PRIu64
                       "%s are needed%s: `ulimit -f unlimited` in this shell before the start (%s= in a "
                       "service, limits.conf(5) for a login)",
                       l->what, is, unit, need, unit, more, l->service);
    return im_fail(
        text, -EAGAIN,
        "the limit of %s is %" PRIu64 "%s, and at least %" PRIu64 "%s are needed%s: `ulimit %s %" PRIu64
        "` in this shell before the start, or `ulimit -H%s` where that is refused (%s= in a service, "
        "limits.conf(5) for a login)",
        l->what, is, unit, need, unit, more, l->flag, need, l->flag + 1, l->service);
}

/* The limit as it is once it was raised as far as `raise_to`. A limit of memory that somebody set is kept. */
static uint64_t limit_of(const struct limit *l, uint64_t raise_to)
{
    struct rlimit r;

    if (getrlimit((__rlimit_resource_t)l->resource, &r) < 0)
        return UINT64_MAX;
    if (r.rlim_cur != RLIM_INFINITY && r.rlim_cur < raise_to && r.rlim_cur < r.rlim_max) {
        const struct rlimit more = {.rlim_cur = r.rlim_max < raise_to ? r.rlim_max : raise_to,
                                    .rlim_max = r.rlim_max};

        if (setrlimit((__rlimit_resource_t)l->resource, &more) == 0)
            r = more;
    }
    return r.rlim_cur == RLIM_INFINITY ? UINT64_MAX : r.rlim_cur;
}

bool sv_limits_stack(void)
{
    static const char sentence[] =
        "imsuper: the stack of a process is limited to less than 1024 KiB (ulimit -s), which is too little: "
        "`ulimit -s 8192` in this shell before the start, or `ulimit -Hs` where that is refused (LimitSTACK= "
        "in a "
        "service)\n";

    if (limit_of(&limits[STACK], STACK_USUAL) >= STACK_LEAST)
        return true;
    /* Without stdio, which may need more of it than there is. */
    return write(STDERR_FILENO, sentence, sizeof sentence - 1) < 0 && false;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

struct sv_limits_need sv_limits_need(const struct im_conf *conf, const struct im_geometry *g)
{
    const uint64_t children = g->readers_max + g->augmenters_max + g->ranks;
    const bool gpus = strcmp(conf->gpus, "0") != 0 && conf->backend != IM_BACKEND_REF &&
                      conf->backend != IM_BACKEND_ONEDNN && im_conf_gpu(conf, 0) >= 0;
    const uint64_t of_warden = FILES_OF_ANY + 2 * (uint64_t)g->ranks + children,
                   of_trainer = FILES_OF_ANY + FILES_OF_PEER * (uint64_t)g->ranks + (gpus ? FILES_OF_GPU : 0);
    const uint64_t of_reader = FILES_OF_ANY + (uint64_t)conf->queue_depth;
    struct im_offsets o;
    struct sv_limits_need need = {.stack = STACK_LEAST,
                                  .data = DATA_LEAST,
                                  .address_space = ADDRESS_SPACE_LEAST,
                                  .file_size = FILE_SIZE_LEAST};

    need.files = of_warden > of_trainer ? of_warden : of_trainer;
    need.files_wanted = need.files > of_reader ? need.files : of_reader;
    need.processes = 1 + THREADS_OF_SUPERVISOR +
                     THREADS_OF_WORKER * (uint64_t)(conf->readers + conf->augmenters) +
                     (THREADS_OF_TRAINER + (uint64_t)conf->trainer_threads) * (uint64_t)g->ranks;
    /* An augmenter maps all batch rings, and a worker the encoded one. */
    if (im_offsets_compute(g, &o) == 0) {
        need.address_space += o.control_bytes + o.encoded_bytes + o.batch_bytes * g->ranks;
        need.file_size = most(need.file_size, most(o.control_bytes, most(o.encoded_bytes, o.batch_bytes)));
    }
    return need;
}

/* Threads of this user. */
static uint64_t count_threads(void)
{
    DIR *d = opendir("/proc");
    const uid_t self = getuid();
    struct dirent *entry;
    uint64_t count = 0;
    char path[300];
    struct stat st;

    while (d && (entry = readdir(d))) {
        snprintf(path, sizeof path, "/proc/%s/task", entry->d_name);
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && stat(path, &st) == 0 && st.st_uid == self)
            count += st.st_nlink > 2 ? st.st_nlink - 2 : 1;
    }
    if (d)
        closedir(d);
    return count;
}

/* Of a container, a unit of systemd, a job: root's count, too. */
static int check_cgroup(uint64_t need, const struct im_pids *pids, struct im_text *text)
{
    if (need <= pids->limit - pids->used)
        return 0;
    return im_fail(text, -EAGAIN,
                   "the limit of processes and threads of this container or cgroup (pids.max) is %" PRIu64
                   ", and at least %" PRIu64 " are needed (%" PRIu64 " for this run, and %" PRIu64
                   " are there): raise --pids-limit of docker or podman, TasksMax= of a systemd unit, or the "
                   "limit of the pod or job",
                   pids->limit, pids->used + need, need, pids->used);
}

/* The kernel counts no process of root's. */
static int check_processes(uint64_t need, struct im_text *text)
{
    const uint64_t is = limit_of(&limits[PROCESSES], UINT64_MAX);
    const struct im_pids pids = im_pids();
    int err = check_cgroup(need, &pids, text);
    char more[80];
    uint64_t running;

    if (err < 0)
        return err;
    if (need == 0 || is >= PROCESSES_LARGE || getuid() == 0)
        return 0;
    running = count_threads();
    if (running + need <= is)
        return 0;
    snprintf(more, sizeof more, " (%" PRIu64 " for this run, and %" PRIu64 " are there)", need, running);
    return limit_error(&limits[PROCESSES], is, running + need, more, text);
}

int sv_limits_check(const struct sv_limits_need *need, struct im_text *text)
{
    const struct {
        int limit;
        uint64_t need, raise_to;
        const char *more;
    } rows[] = {
        {FILES, need->files, need->files_wanted, ""},
        {DATA, need->data, 0, " (more for larger networks and batches)"},
        {ADDRESS_SPACE, need->address_space, 0, " (more for larger networks and batches)"},
        {STACK, need->stack, STACK_USUAL, ""},
        {FILE_SIZE, need->file_size, UINT64_MAX, " (more for larger networks)"},
        {CPU_TIME, 0, UINT64_MAX, ""},
    };

    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        const uint64_t is = limit_of(&limits[rows[i].limit], rows[i].raise_to);

        if (is < rows[i].need)
            return limit_error(&limits[rows[i].limit], is, rows[i].need, rows[i].more, text);
    }
    return check_processes(need->processes, text);
}

int sv_limits_first(struct im_text *text)
{
    const bool few = limit_of(&limits[FILES], FILES_USUAL) < FILES_OF_ANY;
    const struct sv_limits_need need = {
        .files = few ? FILES_USUAL : 0, .processes = PROCESSES_LEAST, .file_size = FILE_SIZE_LEAST};

    return sv_limits_check(&need, text);
}

uint64_t sv_limits_cpu_time(void)
{
    const uint64_t is = limit_of(&limits[CPU_TIME], 0);

    return is == UINT64_MAX ? 0 : is;
}

const char *sv_limits_suspects(char *buffer, size_t n)
{
    static const struct {
        int limit;
        uint64_t below;
    } rows[] = {{DATA, LARGE},
                {ADDRESS_SPACE, LARGE},
                {STACK, STACK_USUAL},
                {PROCESSES, PROCESSES_LARGE},
                {CPU_TIME, CPU_TIME_LARGE}};
    const struct im_pids pids = im_pids();
    size_t used = 0;

    buffer[0] = 0;
    if (pids.limit < PROCESSES_LARGE)
        used = (size_t)snprintf(
            buffer, n,
            "; a limit may be the cause: the processes and threads of this cgroup (pids.max %" PRIu64 ")",
            pids.limit);
    for (size_t i = 0; i < IM_COUNT(rows) && used < n; i++) {
        const struct limit *l = &limits[rows[i].limit];
        const uint64_t is = limit_of(l, 0);

        if (is < rows[i].below && !(rows[i].limit == PROCESSES && getuid() == 0))
            used +=
                (size_t)snprintf(buffer + used, n - used, "%s the %s (ulimit %s %" PRIu64 ")",
                                 used ? "," : "; a limit may be the cause:", l->what, l->flag, is / l->unit);
    }
    return buffer;
}
