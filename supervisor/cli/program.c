#include "supervisor/cli/program.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/printable.h"
#include "ipc/child.h"

#define KILL_WAIT_MS 2000

void sv_program_find(const char *name, char *path, size_t n)
{
    char self[PATH_MAX - 32];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[length > 0 ? length : 0] = 0;
    slash = strrchr(self, '/');
    if (slash)
        *slash = 0;
    snprintf(path, n, "%s/%s", self, name);
}

int sv_program_exec(const char *name, char **argv)
{
    char path[PATH_MAX];

    sv_program_find(name, path, sizeof path);
    argv[0] = path;
    execv(path, argv);
    im_say(stderr, "imsuper: cannot run %s: %s; it must be in the folder of imsuper", path, strerror(errno));
    return IM_EXIT_UNAVAILABLE;
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
        int ready = poll(&p, 1, left(deadline));

        if (ready == 0)
            return -ETIMEDOUT;
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
    err = -posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
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
    return err < 0 ? err : status;
}
