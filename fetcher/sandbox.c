/* An allow-list of system calls, killing by default, and of paths. What a server sends goes through libcurl, its TLS library
 * and expat; one that is talked into more there finds no program to start, no file to change but those of the cache, none
 * to read but those of the system, and keys that it has anyway. The resolver may load libraries (nsswitch.conf) and
 * start threads. */
#include "fetcher/sandbox.h"

#include <assert.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "ipc/base/count.h"

/* Beside those of every sandbox. */
static const int calls[] = {
    /* the cache: paths are Landlock's */
    SYS_openat,
#ifdef SYS_open
    SYS_open,
#endif
    SYS_mkdirat,
#ifdef SYS_mkdir
    SYS_mkdir,
#endif
    SYS_renameat,
    SYS_renameat2,
#ifdef SYS_rename
    SYS_rename,
#endif
    SYS_unlinkat,
#ifdef SYS_unlink
    SYS_unlink,
#endif
    SYS_pwrite64,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_flock,
    SYS_fsync,
    SYS_fdatasync,
    SYS_fchmod,
    SYS_utimensat,
    SYS_getdents64,
    /* what a file or file system is */
    SYS_fstatfs,
    SYS_statfs,
#ifdef SYS_stat
    SYS_stat,
#endif
#ifdef SYS_lstat
    SYS_lstat,
#endif
#ifdef SYS_access
    SYS_access,
#endif
    SYS_faccessat,
#ifdef SYS_faccessat2
    SYS_faccessat2,
#endif
    SYS_readlinkat,
#ifdef SYS_readlink
    SYS_readlink,
#endif
    SYS_getcwd,
    /* a client's sockets */
    SYS_socketpair,
    SYS_connect,
    SYS_bind,
    SYS_getsockname,
    SYS_getpeername,
    SYS_getsockopt,
    SYS_setsockopt,
    SYS_sendto,
    SYS_sendmsg,
    SYS_sendmmsg,
    SYS_recvfrom,
    SYS_recvmsg,
    SYS_shutdown,
    SYS_fcntl,
    SYS_ioctl,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_dup,
    /* threads, but for their clone() */
    SYS_set_robust_list,
#ifdef SYS_rseq
    SYS_rseq,
#endif
    SYS_set_tid_address,
    SYS_sched_getparam,
    SYS_sched_getscheduler,
    SYS_prctl,
};

/* Beside the cache, what may be read. */
static const char *const system_files[] = {"/etc",
                                           "/usr",
                                           "/lib",
                                           "/lib64",
                                           "/dev/null",
                                           "/dev/urandom",
                                           "/proc", /* names, certificates, libraries */
                                           "/run/systemd/resolve",
                                           "/run/resolvconf",
                                           "/run/NetworkManager",
                                           "/run/nscd",
                                           "/var/run/nscd"};

static const char *const key_files[] = {"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "SSL_CERT_FILE",
                                        "SSL_CERT_DIR"};

/* ~/.aws and ~/.netrc. */
enum { HOME_FILES = 2 };
static_assert(IM_COUNT(system_files) + IM_COUNT(key_files) + HOME_FILES <= IM_SANDBOX_FILES_MAX,
              "IM_SANDBOX_FILES_MAX");

int fe_sandbox_enter(const char *cache, bool tells, struct im_sandbox_state *ret, struct im_text *text)
{
    const struct im_sandbox_condition conditions[] = {
        {SYS_clone, 0, CLONE_THREAD, CLONE_THREAD}, {SYS_socket, 0, UINT32_MAX, AF_INET},
        {SYS_socket, 0, UINT32_MAX, AF_INET6},      {SYS_socket, 0, UINT32_MAX, AF_UNIX}, /* nscd */
        {SYS_socket, 0, UINT32_MAX, AF_NETLINK}, /* which addresses this machine has */
    };
    struct im_sandbox wanted = {
        .calls = calls,
        .call_count = IM_COUNT(calls),
        .conditions = conditions,
        .condition_count = IM_COUNT(conditions),
        .connects = true,
        .loads_code = true,
        .absent = {SYS_clone3}, /* its flags cannot be looked at */
        .absent_count = 1,
        .folder = cache,
        .writes = true,
    };
    const char *home = getenv("HOME");
    char aws[PATH_MAX], netrc[PATH_MAX];
    size_t n = 0;
    int err;

    for (size_t i = 0; i < IM_COUNT(system_files); i++)
        wanted.files[n++] = system_files[i];
    for (size_t i = 0; i < IM_COUNT(key_files); i++) {
        const char *path = getenv(key_files[i]);

        if (path && *path)
            wanted.files[n++] = path;
    }
    if (home && *home) {
        snprintf(aws, sizeof aws, "%s/.aws", home);
        snprintf(netrc, sizeof netrc, "%s/.netrc", home);
        wanted.files[n++] = aws;
        wanted.files[n++] = netrc;
    }
    err = im_sandbox_enter(&wanted, ret, text);
    if (err == 0 && tells)
        im_sandbox_log(&wanted, ret, text);
    return err;
}
