/* An allow-list of system calls, killing by default.
 *
 * Image decoders are where hostile bytes meet C code. Whoever takes over an augmenter finds a process that
 * can read the images of the set and write into the rings, and nothing more: no network, no program to start,
 * no file to change, no signal to send. Reading stays, because files larger than a cell are read here; which
 * ones, Landlock decides, where the kernel has it.
 *
 * The list is what strace shows of the loop with all formats, errors, files by reference and aborts, and what
 * the allocator, stdio, time and abort of other C libraries use: harmless calls are listed generously, for a
 * missing one would make every sample look like a killer. A call that is not on the list kills instead of
 * failing: a decoder that goes on after a refused call is nothing to rely on. */
#include "augment/sandbox.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/base/count.h"

/* Allowed whatever their arguments are. */
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
    SYS_preadv2,
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

int au_sandbox_enter(const char *read_root, const char *seek_file, bool tells, struct im_sandbox_state *ret,
                     struct im_text *text)
{
    const uint64_t self = (uint64_t)getpid();
    const struct im_sandbox_condition conditions[] = {
        {SYS_openat, 2, IM_SANDBOX_OPEN_WRITES, O_RDONLY},
#ifdef SYS_open
        {SYS_open, 1, IM_SANDBOX_OPEN_WRITES, O_RDONLY},
#endif
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
        .absent = -1,
        .folder = read_root,
        .files = {seek_file && *seek_file ? seek_file : NULL},
    };
    int err = im_sandbox_enter(&wanted, ret, text);

    if (err == 0 && tells)
        im_sandbox_log(&wanted, ret, text);
    return err;
}
