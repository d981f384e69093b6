#include "supervisor/cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/printable.h"
#include "ipc/base/sysinfo.h"
#include "ipc/base/thread.h"
#include "ipc/child.h"

#define KILL_WAIT_MS 2000
#define LOOK_MS 100 /* for signals that wait */

static const int stop_signals[] = {SIGINT, SIGTERM, SIGHUP};

void sv_hold_stop_signals(void)
{
    struct sigaction action;
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < IM_COUNT(stop_signals); i++)
        if (sigaction(stop_signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, stop_signals[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

void sv_release_stop_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < IM_COUNT(stop_signals); i++)
        sigaddset(&set, stop_signals[i]);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
}

struct leave {
    int status;
    im_ns time;
};

static void *leave_late(void *argument)
{
    const struct leave *l = argument;
    const struct timespec nap = {.tv_sec = (time_t)(l->time / IM_SECOND),
                                 .tv_nsec = (long)(l->time % IM_SECOND)};

    nanosleep(&nap, NULL);
    _exit(l->status);
}

void sv_leave_within(int status, im_ns time)
{
    struct leave *l = malloc(sizeof *l); /* the thread's, to the end */
    pthread_t thread;

    if (l)
        *l = (struct leave){.status = status, .time = time};
    if (!l || im_thread_begin(leave_late, l, &thread) < 0)
        free(l);
    else
        pthread_detach(thread);
}

int sv_stop_signal(void)
{
    sigset_t set;

    if (sigpending(&set) < 0)
        return 0;
    for (size_t i = 0; i < IM_COUNT(stop_signals); i++)
        if (sigismember(&set, stop_signals[i]) == 1)
            return stop_signals[i];
    return 0;
}

/* The program is ended by them, whatever waits for us. */
static int start(pid_t *ret, const posix_spawn_file_actions_t *actions, char *const argv[])
{
    posix_spawnattr_t how;
    sigset_t set;
    int err;

    sigprocmask(SIG_BLOCK, NULL, &set);
    for (size_t i = 0; i < IM_COUNT(stop_signals); i++)
        sigdelset(&set, stop_signals[i]);
    posix_spawnattr_init(&how);
    posix_spawnattr_setsigmask(&how, &set);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK);
    err = -posix_spawn(ret, argv[0], actions, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    return err;
}

int sv_print_failure(const struct im_text *text, int status)
{
    im_say(stderr, "imsuper: %s", text->s);
    return status;
}

void sv_program_find(const char *name, char *path, size_t n)
{
    im_beside(name, path, n);
}

int sv_program_exec(const char *name, char **argv)
{
    char path[PATH_MAX];
    struct im_text text;

    sv_program_find(name, path, sizeof path);
    argv[0] = path;
    execv(path, argv);
    im_fail(&text, -errno, "cannot run %s: %s%s", path, strerror(errno),
            errno == ENOENT ? "; it must be in the folder of imsuper" : "");
    return sv_print_failure(&text, IM_EXIT_UNAVAILABLE);
}

/* Milliseconds until the deadline for poll(); -1: there is none. */
static int left(im_ns deadline)
{
    im_ns now = im_now();

    return !deadline ? -1 : now >= deadline ? 0 : (int)((deadline - now) / IM_MS) + 1;
}

/* Reads to the end of the stream or the buffer. 0 or negative errno. */
static int read_all(int fd, im_ns deadline, char *answer, size_t n)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t have = 0;
    ssize_t got = 1;

    while (got > 0 && have + 1 < n) {
        const int ms = left(deadline), ready = poll(&p, 1, ms < 0 || ms > LOOK_MS ? LOOK_MS : ms);

        if (sv_stop_signal())
            return -EINTR;
        if (ready == 0 && left(deadline) == 0)
            return -ETIMEDOUT;
        if (ready == 0)
            continue;
        got = ready < 0 ? -1 : read(fd, answer + have, n - 1 - have);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            have += (size_t)got;
    }
    answer[have] = 0;
    return got < 0 ? -errno : 0;
}

/* Its exit status; past the deadline it is killed first. */
static int await(pid_t pid, im_ns deadline)
{
    int status = 0, fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    bool late = fd >= 0 && poll(&p, 1, left(deadline)) == 0, gone = true;

    if (late) {
        kill(pid, SIGKILL);
        gone = poll(&p, 1, KILL_WAIT_MS) != 0; /* one that hangs in a driver stays; init will reap it */
    }
    if (fd >= 0)
        close(fd);
    while (gone && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return late ? -ETIMEDOUT : WIFEXITED(status) ? WEXITSTATUS(status) : -EIO;
}

int sv_program_read(char *const argv[], int timeout_ms, char *answer, size_t n)
{
    const im_ns deadline = timeout_ms ? im_now() + (im_ns)timeout_ms * IM_MS : 0;
    posix_spawn_file_actions_t actions;
    int fds[2], status, err;
    pid_t pid;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    err = start(&pid, &actions, argv);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (err < 0) {
        close(fds[0]);
        return err;
    }
    err = read_all(fds[0], deadline, answer, n);
    close(fds[0]);
    if (err < 0)
        kill(pid, SIGKILL);
    status = await(pid, deadline);
    if (err == 0 && status != 0 && sv_stop_signal()) /* it got the signal as well */
        err = -EINTR;
    return err < 0 ? err : status;
}
