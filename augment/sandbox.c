/* A seccomp filter with an allow-list, killing by default.
 *
 * Image decoders are where hostile bytes meet C code. Whoever takes over an augmenter finds a process that
 * can read files and write into the rings, and nothing more: no network, no program to start, no file to
 * change, no signal to send. Reading stays, because files larger than a cell are read here, and a filter on
 * system calls cannot narrow it by path (Landlock could; that is not done).
 *
 * The list is what strace shows of the loop with all formats, errors, files by reference and aborts, and what
 * the allocator, stdio, time and abort of other C libraries use: harmless calls are listed generously, for a
 * missing one would make every sample look like a killer. A call that is not on the list kills instead of
 * failing: a decoder that goes on after a refused call is nothing to rely on. */
#include "augment/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <seccomp.h>

#include "ipc/base/count.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Allowed whatever their arguments are. */
static const int harmless[] = {
    /* waiting and time */
    SCMP_SYS(futex),
    SCMP_SYS(futex_waitv),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
    /* reading what is open, and what a descriptor is */
    SCMP_SYS(read),
    SCMP_SYS(readv),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(fadvise64),
    SCMP_SYS(readahead),
    /* writing what is open: the log; the rings are mapped writable all the same */
    SCMP_SYS(write),
    SCMP_SYS(writev),
    /* memory, apart from mmap and mprotect */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    /* who and where we are */
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getppid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getcpu),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(getrusage),
    SCMP_SYS(getrandom),
    SCMP_SYS(membarrier),
    /* our own signals, and the end */
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

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

/* Allowed when (argument & mask) == value. */
struct condition {
    int call;
    unsigned argument;
    uint64_t mask, value;
};

/* Flags of open(2) that change a file or make one. O_TMPFILE includes O_DIRECTORY, which
 * alone is harmless. */
#define OPEN_WRITES ((uint64_t)(O_ACCMODE | O_CREAT | O_TRUNC | (O_TMPFILE & ~O_DIRECTORY)))

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

static int allow_conditions(scmp_filter_ctx filter)
{
    const uint64_t self = (uint64_t)getpid();
    const struct condition conditions[] = {
        {SCMP_SYS(openat), 2, OPEN_WRITES, O_RDONLY},
        {SCMP_SYS(open), 1, OPEN_WRITES, O_RDONLY},
        {SCMP_SYS(mmap), 2, PROT_EXEC, 0},
        {SCMP_SYS(mprotect), 2, PROT_EXEC, 0},
        {SCMP_SYS(kill), 0, UINT32_MAX, self},
        {SCMP_SYS(tgkill), 0, UINT32_MAX, self},
        {SCMP_SYS(ioctl), 1, UINT32_MAX, TCGETS},
        {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFL},
        {SCMP_SYS(fcntl), 1, UINT32_MAX, F_GETFD},
        {SCMP_SYS(prlimit64), 2, UINT64_MAX, 0},
    };
    int err = 0;

    for (size_t i = 0; i < IM_COUNT(conditions) && err == 0; i++) {
        const struct condition *c = &conditions[i];

        err = seccomp_rule_add(filter, SCMP_ACT_ALLOW, c->call, 1,
                               SCMP_CMP(c->argument, SCMP_CMP_MASKED_EQ, c->mask, c->value));
        if (err == -EDOM)
            err = 0;
    }
    return err;
}

static int fill(scmp_filter_ctx filter)
{
    int err = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_API_SYSRAWRC, 1); /* errors as the kernel gave them */
    if (err == 0)
        err = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1); /* threads that libraries made before */
    if (err == 0)
        err = allow_all(filter, harmless, IM_COUNT(harmless));
    if (err == 0 && SANITIZED)
        err = allow_all(filter, sanitizer_needs, IM_COUNT(sanitizer_needs));
    return err == 0 ? allow_conditions(filter) : err;
}

static int without(struct im_text *text, const char *why)
{
    im_fail(text, 0, "images are decoded without a system call filter: %s", why);
    return 1;
}

int au_sandbox_enter(struct im_text *text)
{
    scmp_filter_ctx filter;
    int err;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return without(text, "the kernel does not support no_new_privs");
    if (prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0)
        return without(text, "the kernel was built without seccomp");
    filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!filter)
        return without(text, "the kernel's seccomp cannot kill a process (Linux 4.14 can)");
    err = fill(filter);
    if (err == 0)
        err = seccomp_load(filter);
    seccomp_release(filter);
    if (err == -ENOSYS || err == -EINVAL)
        return without(text, strerror(-err));
    return err < 0 ? im_fail(text, err, "cannot install the system call filter: %s", strerror(-err)) : 0;
}
