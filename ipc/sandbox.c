/* See sandbox.h. Landlock comes first: the filter forbids its calls. Of Landlock's interface only what
 * restricts is used, as far as the kernel has it: reading of paths that are not listed, all changes of files
 * (version 1, Linux 5.13), connections (4), signals and abstract sockets of others (6). */
#include "ipc/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <seccomp.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/log.h"

/* The kernel's numbers, for headers older than the kernel that will run this. The calls have the same on all
 * architectures. */
enum { CREATE_RULESET = 444, ADD_RULE = 445, RESTRICT_SELF = 446, GET_VERSION = 1, PATH_BENEATH = 1 };
enum { EXECUTE = 1 << 0, READ_FILE = 1 << 2, READ_DIR = 1 << 3, IOCTL_DEV = 1 << 15 };
enum { BIND_TCP = 1 << 0, CONNECT_TCP = 1 << 1 };

#define FOLDER_WAIT_NS (2 * IM_SECOND)

struct ruleset {
    uint64_t handled_files, handled_net, scoped;
};

struct path_beneath {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

/* Of every sandbox, whatever their arguments are. The list is what strace shows of the loops, and what the allocator,
 * stdio, time and abort of other C libraries use: harmless calls are listed generously, for a missing one would make
 * every file look like a killer. */
static const int harmless[] = {
    /* waiting and time */
    SYS_futex,
#ifdef SYS_futex_waitv
    SYS_futex_waitv,
#endif
#ifdef SYS_poll
    SYS_poll,
#endif
    SYS_ppoll,
    SYS_nanosleep,
    SYS_clock_nanosleep,
    SYS_clock_gettime,
    SYS_clock_getres,
    SYS_gettimeofday,
#ifdef SYS_time
    SYS_time,
#endif
    SYS_sched_yield,
    SYS_restart_syscall,
    /* reading what is open, and what a descriptor is */
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_lseek,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
    SYS_statx,
    SYS_fadvise64,
    SYS_readahead,
    /* writing what is open: the log; the rings are mapped writable all the same */
    SYS_write,
    SYS_writev,
    /* memory, apart from mmap and mprotect */
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    /* who and where we are */
    SYS_getpid,
    SYS_gettid,
    SYS_getppid,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_uname,
    SYS_sysinfo,
    SYS_getcpu,
    SYS_sched_getaffinity,
    SYS_getrusage,
#ifdef SYS_getrlimit
    SYS_getrlimit,
#endif
    SYS_getrandom,
    SYS_membarrier,
    /* our own signals, and the end */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_exit,
    SYS_exit_group,
};

/* Flags of open(2) that change a file or make one. O_TMPFILE includes O_DIRECTORY, which alone is harmless. */
#define OPEN_WRITES ((uint64_t)(O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)))

/* What the sanitizers' run time does on its own: threads and ptrace of the leak check, links of
 * /proc for reports. */
static const int sanitizer_needs[] = {
    SCMP_SYS(clone),      SCMP_SYS(clone3),     SCMP_SYS(ptrace),
    SCMP_SYS(wait4),      SCMP_SYS(prctl),      SCMP_SYS(arch_prctl),
    SCMP_SYS(readlink),   SCMP_SYS(readlinkat), SCMP_SYS(getdents),
    SCMP_SYS(getdents64), SCMP_SYS(rseq),       SCMP_SYS(set_robust_list),
    SCMP_SYS(getrlimit),  SCMP_SYS(prlimit64),  SCMP_SYS(process_vm_readv),
    SCMP_SYS(tkill),      SCMP_SYS(ioctl),      SCMP_SYS(fcntl),
    SCMP_SYS(stat),       SCMP_SYS(dup),        SCMP_SYS(pipe2),
};

static bool sanitizer_uses(int call)
{
    for (size_t i = 0; i < IM_COUNT(sanitizer_needs); i++) {
        if (IM_SANITIZED && sanitizer_needs[i] == call)
            return true;
    }
    return false;
}

/* ---- paths ---- */

static uint64_t handled_files(long version)
{
    unsigned rights = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;

    return ((uint64_t)1 << rights) - 1;
}

/* ---- a folder that may not answer: opened by a thread that nobody waits for too long ---- */

enum { OPENING, OPENED, ABANDONED };

struct opening {
    _Atomic int
        state; /* W thread: OPENING -> OPENED. W who waits: OPENING -> ABANDONED. Who comes second frees. */
    int fd;    /* or negative errno */
    char path[];
};

static void *open_folder(void *arg)
{
    struct opening *o = arg;
    int before = OPENING;

    o->fd = open(o->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (o->fd < 0)
        o->fd = -errno;
    if (!atomic_compare_exchange_strong_explicit(&o->state, &before, OPENED, memory_order_acq_rel,
                                                 memory_order_acquire)) {
        if (o->fd >= 0)
            close(o->fd);
        free(o);
    }
    return NULL;
}

/* A descriptor, or negative errno. */
static int open_in_time(const char *path)
{
    const struct timespec nap = {.tv_nsec = 100000};
    size_t n = strlen(path) + 1;
    struct opening *o = malloc(sizeof *o + n);
    im_ns until = im_now() + FOLDER_WAIT_NS;
    int before = OPENING, fd;
    pthread_t thread;

    if (!o)
        return -ENOMEM;
    atomic_init(&o->state, OPENING);
    memcpy(o->path, path, n);
    fd = -pthread_create(&thread, NULL, open_folder, o);
    if (fd < 0) {
        free(o);
        return fd;
    }
    pthread_detach(thread);
    while (atomic_load_explicit(&o->state, memory_order_acquire) == OPENING && im_now() < until)
        nanosleep(&nap, NULL);
    if (atomic_compare_exchange_strong_explicit(&o->state, &before, ABANDONED, memory_order_acq_rel,
                                                memory_order_acquire))
        return -ETIMEDOUT;
    fd = o->fd;
    free(o);
    return fd;
}

/* ---- rules ---- */

static int allow(int ruleset, int fd, uint64_t rights)
{
    const struct path_beneath rule = {.allowed = rights, .fd = fd};
    int err = syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0) < 0 ? -errno : 0;

    close(fd);
    return err;
}

static int allow_path(int ruleset, const char *path, uint64_t rights)
{
    int fd = open(path, O_PATH | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        rights |= READ_DIR;
    return fd < 0 ? 0 : allow(ruleset, fd, rights);
}

/* What the kernel has without asking a server. */
static bool identify(int fd, const char *path, struct im_sandbox_state *state)
{
    struct statx st;

    if (statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
        return false;
    state->device = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
    state->inode = st.stx_ino;
    return true;
}

static int allow_folder(int ruleset, const char *folder, uint64_t rights, struct im_sandbox_state *state)
{
    int fd = *folder ? open_in_time(folder) : -ENOENT;

    if (fd >= 0 && identify(fd, "", state)) {
        state->below = true;
        return allow(ruleset, fd, rights);
    }
    if (fd >= 0)
        close(fd);
    return allow_path(ruleset, "/", READ_FILE | READ_DIR);
}

/* What is done to files and folders, without starting programs and, of device files, their own commands. */
static uint64_t rights_of_writers(uint64_t handled)
{
    return handled & ~(uint64_t)(EXECUTE | IOCTL_DEV);
}

static int allow_paths(int ruleset, const struct im_sandbox *wanted, uint64_t handled,
                       struct im_sandbox_state *state)
{
    const uint64_t rights = wanted->writes ? rights_of_writers(handled) : READ_FILE | READ_DIR;
    int err = wanted->folder ? allow_folder(ruleset, wanted->folder, rights, state) : 0;

    for (int i = 0; i < IM_SANDBOX_FILES_MAX && wanted->files[i] && err == 0; i++)
        err = allow_path(ruleset, wanted->files[i], READ_FILE);
    if (err == 0 && IM_SANITIZED)
        err = allow_path(ruleset, "/proc", READ_FILE | READ_DIR);
    return err;
}

bool im_sandbox_is_stale(const struct im_sandbox_state *state)
{
    struct im_sandbox_state now = {0};

    return state && state->landlock > 0 && state->below && identify(AT_FDCWD, state->folder, &now) &&
           (now.device != state->device || now.inode != state->inode);
}

static int restrict_paths(const struct im_sandbox *wanted, struct im_sandbox_state *state,
                          struct im_text *text)
{
    long version = syscall(CREATE_RULESET, NULL, 0, GET_VERSION);
    struct ruleset rules = {handled_files(version),
                            version < 4        ? 0
                            : wanted->connects ? BIND_TCP
                                               : BIND_TCP | CONNECT_TCP,
                            version >= 6 ? 3 : 0};
    size_t size = version >= 6 ? 24 : version >= 4 ? 16 : 8;
    int ruleset, err;

    if (version <= 0) {
        im_fail(text, 0,
                "files are not restricted by path: the kernel has no Landlock (Linux 5.13 has), or "
                "the container hides it");
        return 0;
    }
    if (wanted->writes && version < 2) {
        im_fail(text, 0,
                "files are not restricted by path: this kernel's Landlock cannot rename from one folder to "
                "another (Linux 5.19 can)");
        return 0;
    }
    ruleset = (int)syscall(CREATE_RULESET, &rules, size, 0);
    err = ruleset < 0 ? -errno : allow_paths(ruleset, wanted, rules.handled_files, state);
    if (err == 0 && syscall(RESTRICT_SELF, ruleset, 0) < 0)
        err = -errno;
    if (ruleset >= 0)
        close(ruleset);
    if (err < 0)
        return im_fail(text, err, "cannot restrict the files that may be read: %s", strerror(-err));
    state->landlock = (int)version;
    return 0;
}

/* ---- system calls ---- */

static int allow_all(scmp_filter_ctx filter, const int *calls, size_t n)
{
    int err = 0;

    for (size_t i = 0; i < n && err == 0; i++) {
        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
        if (err == -EDOM) /* no such call on this architecture */
            err = 0;
    }
    return err;
}

static int allow_conditions(scmp_filter_ctx filter, const struct im_sandbox_condition *conditions, size_t n)
{
    int err = 0;

    for (size_t i = 0; i < n && err == 0; i++) {
        const struct im_sandbox_condition *c = &conditions[i];

        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, c->call, 1,
                               SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value));
        if (err == -EDOM)
            err = 0;
    }
    return err;
}

/* Nothing executable is mapped, and signals go to this process alone. */
static int allow_usual(scmp_filter_ctx filter)
{
    const struct im_sandbox_condition conditions[] = {
        {SYS_mmap, 2, PROT_EXEC, 0},
        {SYS_mprotect, 2, PROT_EXEC, 0},
        {SYS_tgkill, 0, UINT32_MAX, (uint64_t)getpid()},
        {SYS_prlimit64, 2, UINT64_MAX, 0},
    };
    const int err = allow_all(filter, harmless, IM_COUNT(harmless));

    return err == 0 ? allow_conditions(filter, conditions, IM_COUNT(conditions)) : err;
}

static int allow_opening(scmp_filter_ctx filter)
{
    const struct im_sandbox_condition conditions[] = {
        {SYS_openat, 2, OPEN_WRITES, O_RDONLY},
#ifdef SYS_open
        {SYS_open, 1, OPEN_WRITES, O_RDONLY},
#endif
        {SYS_kill, 0, UINT32_MAX, (uint64_t)getpid()}, {SYS_ioctl, 1, UINT32_MAX, TCGETS},
        {SYS_fcntl, 1, UINT32_MAX, F_GETFL},           {SYS_fcntl, 1, UINT32_MAX, F_GETFD},
    };

    return allow_conditions(filter, conditions, IM_COUNT(conditions));
}

/* Nothing is opened, and nobody dies of having tried: glibc's free() looks at /proc/sys/vm/overcommit_memory when it trims the
 * arena of a thread. */
static int refuse_opening(scmp_filter_ctx filter)
{
    int err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SYS_openat, 1,
                               SCMP_CMP(2, SCMP_CMP_MASKED_EQ, OPEN_WRITES, O_RDONLY));

#ifdef SYS_open
    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EACCES), SYS_open, 1,
                               SCMP_CMP(1, SCMP_CMP_MASKED_EQ, OPEN_WRITES, O_RDONLY));
#endif
    return err;
}

static int fill(scmp_filter_ctx filter, const struct im_sandbox *wanted)
{
    int err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1); /* errors as the kernel gave them */
    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* threads that libraries made before */
    if (err == 0)
        err = allow_usual(filter);
    if (err == 0)
        err = wanted->opens_files ? allow_opening(filter) : refuse_opening(filter);
    if (err == 0 && wanted->loads_code) /* never of what can be written */
        err = allow_conditions(
            filter, (const struct im_sandbox_condition[]){{SYS_mmap, 2, PROT_EXEC | PROT_WRITE, PROT_EXEC}},
            1);
    if (err == 0)
        err = allow_all(filter, wanted->calls, wanted->call_count);
    if (err == 0 && IM_SANITIZED)
        err = allow_all(filter, sanitizer_needs, IM_COUNT(sanitizer_needs));
    for (size_t i = 0; i < wanted->absent_count && err == 0; i++) {
        if (!sanitizer_uses(wanted->absent[i]))
            err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), wanted->absent[i], 0);
    }
    if (err == -EDOM)
        err = 0;
    return err == 0 ? allow_conditions(filter, wanted->conditions, wanted->condition_count) : err;
}

static int without(struct im_text *text, const char *why)
{
    im_fail(text, 0, "system calls are not filtered: %s", why);
    return 0;
}

static int filter_calls(const struct im_sandbox *wanted, struct im_sandbox_state *state, struct im_text *text)
{
    scmp_filter_ctx filter;
    int err;

    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
        return without(text, "the kernel was built without seccomp");
    filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return without(text, "the kernel's seccomp cannot kill a process (Linux 4.14 can)");
    err = fill(filter, wanted);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    if (err == -ENOSYS || err == -EINVAL)
        return without(text, strerror(-err));
    if (err < 0)
        return im_fail(text, err, "cannot install the system call filter: %s", strerror(-err));
    state->filters_calls = true;
    return 0;
}

int im_sandbox_enter(const struct im_sandbox *wanted, struct im_sandbox_state *ret, struct im_text *text)
{
    int err;

    *ret = (struct im_sandbox_state){.folder = wanted->folder};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return without(text, "the kernel does not support no_new_privs");
    err = restrict_paths(wanted, ret, text);
    return err < 0 ? err : filter_calls(wanted, ret, text);
}

void im_sandbox_log(const struct im_sandbox *wanted, const struct im_sandbox_state *state,
                    const struct im_text *text)
{
    struct im_quoted where, why;
    const char *below = wanted->folder ? wanted->folder : "nothing";

    if (state->landlock == 0)
        below = "anywhere";
    else if (*below == 0)
        below = "anywhere: symbolic links lead out of the data folder";
    else if (wanted->folder && !state->below)
        below = "anywhere: the data folder does not answer, or is not there";
    im_log(state->filters_calls ? IM_LOG_INFO : IM_LOG_WARN, "sandbox",
           "calls=%s landlock=%d reads=%s missing=%s", state->filters_calls ? "filtered" : "all",
           state->landlock, im_log_quote(&where, below), im_log_quote(&why, text->s));
}
