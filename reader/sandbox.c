/* An allow-list of system calls, killing by default. A reader looks at no byte of a file, so less can go wrong
 * here than in an augmenter; but paths come from the index, and a kernel or library that is talked into more
 * finds no network, no program to start, no file to change, no signal to send. */
#include "reader/sandbox.h"

#include <sched.h>
#include <sys/syscall.h>

#include "ipc/base/count.h"

/* Beside those of every sandbox. */
static const int calls[] = {
    /* reading many files at once */
    SYS_io_uring_setup,
    SYS_io_uring_enter,
    SYS_io_uring_register,
    SYS_preadv,
    SYS_preadv2,
    /* what a file or file system is */
    SYS_fstatfs,
    SYS_statfs,
#ifdef SYS_stat
    SYS_stat,
#endif
    SYS_faccessat,
    SYS_readlinkat,
#ifdef SYS_readlink
    SYS_readlink,
#endif
    SYS_getdents64,
    SYS_dup,
    SYS_dup3,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    /* threads, but for their clone() */
    SYS_set_robust_list,
#ifdef SYS_rseq
    SYS_rseq,
#endif
    SYS_set_tid_address,
};

/* The flags of clone3() cannot be looked at; liburing raises the limit of open files, where it is the old call. */
#ifdef SYS_setrlimit
enum { SETRLIMIT = SYS_setrlimit, ABSENT = 2 };
#else
enum { SETRLIMIT = 0, ABSENT = 1 };
#endif

int rd_sandbox_enter(const char *read_root, const char *index_file, const char *seek_file, bool tells,
                     struct im_sandbox_state *ret, struct im_text *text)
{
    const struct im_sandbox_condition threads = {SYS_clone, 0, CLONE_THREAD, CLONE_THREAD};
    const struct im_sandbox wanted = {
        .calls = calls,
        .call_count = IM_COUNT(calls),
        .conditions = &threads,
        .condition_count = 1,
        .opens_files = true,
        .absent = {SYS_clone3, SETRLIMIT},
        .absent_count = ABSENT,
        /* /dev/null is what the engine tries itself on; the other says why there is no io_uring. */
        .folder = read_root,
        .files = {index_file, "/dev/null", "/proc/sys/kernel/io_uring_disabled",
                  seek_file && *seek_file ? seek_file : NULL},
    };
    int err = im_sandbox_enter(&wanted, ret, text);

    if (err == 0 && tells)
        im_sandbox_log(&wanted, ret, text);
    return err;
}
