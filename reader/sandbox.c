/* An allow-list of system calls, killing by default. A reader looks at no byte of a file, so less can go wrong
 * here than in an augmenter; but paths come from the index, and a kernel or library that is talked into more
 * finds no network, no program to start, no file to change, no signal to send. */
#include "reader/sandbox.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/base/count.h"

/* Allowed whatever their arguments are. */
static const int harmless[] = {
    /* reading many files at once */
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
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
    /* reading, and what a file or file system is */
    SYS_read,
    SYS_readv,
    SYS_pread64,
    SYS_preadv,
    SYS_lseek,
    SYS_close,
    SYS_fstat,
    SYS_newfstatat,
#ifdef SYS_stat
    SYS_stat,
#endif
    SYS_statx,
    SYS_fstatfs,
    SYS_statfs,
    SYS_faccessat,
    SYS_readlinkat,
#ifdef SYS_readlink
    SYS_readlink,
#endif
    SYS_getdents64,
    SYS_dup,
    SYS_dup3,
    SYS_fadvise64,
    SYS_readahead,
    /* writing what is open: the log; the ring is mapped writable all the same */
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
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_getrusage,
    SYS_getrandom,
    SYS_membarrier,
    /* threads, but for their clone() */
    SYS_set_robust_list,
#ifdef SYS_rseq
    SYS_rseq,
#endif
    SYS_set_tid_address,
    /* our own signals, and the end */
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_exit,
    SYS_exit_group,
};

int rd_sandbox_enter(const char *read_root, const char *index_file, bool tells, struct im_sandbox_state *ret,
                     struct im_text *text)
{
    const uint64_t self = (uint64_t)getpid();
    const struct im_sandbox_condition conditions[] = {
        {SYS_openat, 2, IM_SANDBOX_OPEN_WRITES, O_RDONLY},
#ifdef SYS_open
        {SYS_open, 1, IM_SANDBOX_OPEN_WRITES, O_RDONLY},
#endif
        {SYS_clone, 0, CLONE_THREAD, CLONE_THREAD},
        {SYS_mmap, 2, PROT_EXEC, 0},
        {SYS_mprotect, 2, PROT_EXEC, 0},
        {SYS_kill, 0, UINT32_MAX, self},
        {SYS_tgkill, 0, UINT32_MAX, self},
        {SYS_ioctl, 1, UINT32_MAX, TCGETS},
        {SYS_fcntl, 1, UINT32_MAX, F_GETFL},
        {SYS_fcntl, 1, UINT32_MAX, F_GETFD},
        {SYS_prlimit64, 2, UINT64_MAX, 0},
    };
    const struct im_sandbox wanted = {
        .calls = harmless,
        .call_count = IM_COUNT(harmless),
        .conditions = conditions,
        .condition_count = IM_COUNT(conditions),
        .absent = SYS_clone3, /* its flags cannot be looked at */
        /* /dev/null is what the engine tries itself on; the other says why there is no io_uring. */
        .folder = read_root,
        .files = {index_file, "/dev/null", "/proc/sys/kernel/io_uring_disabled"},
    };
    int err = im_sandbox_enter(&wanted, ret, text);

    if (err == 0 && tells)
        im_sandbox_log(&wanted, ret, text);
    return err;
}
