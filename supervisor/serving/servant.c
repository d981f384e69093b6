#include "supervisor/serving/servant.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "ipc/process.h"

#define LOOK_MS 100
#define STOPPED_LOOKS                                                                                        \
    200            /* somebody has stopped it, and who asks waits a minute: 20 s, those alone that we see */
#define HIGH_FD 10 /* above those that a servant is given */

/* Moves a descriptor out of the way of 0 to IM_SERVING_OPTIONS_FD. */
static int move_up(int fd)
{
    int high = fd < 0 ? -errno : fcntl(fd, F_DUPFD_CLOEXEC, HIGH_FD);

    if (fd >= 0 && high < 0)
        high = -errno;
    if (fd >= 0)
        close(fd);
    return high;
}

int sv_servant_options(const struct im_conf *conf, struct im_text *text)
{
    char *frozen = malloc(IM_CONF_FROZEN_BYTES);
    int fd, err = frozen ? im_conf_freeze(conf, frozen, IM_CONF_FROZEN_BYTES) : -ENOMEM;

    fd = err == 0 ? move_up(memfd_create("imsuper-options", MFD_CLOEXEC)) : err;
    if (fd >= 0)
        err = im_write_all(fd, frozen, strlen(frozen));
    free(frozen);
    if (fd >= 0 && err < 0)
        close(fd);
    if (fd < 0 || err < 0)
        return im_fail(text, fd < 0 ? fd : err, "no file in memory for options: %s",
                       strerror(fd < 0 ? -fd : -err));
    return fd;
}

/* A group of its own, so that Ctrl-C reaches this process alone; it ends when its input does. */
static int spawn(struct sv_servant *s, int in, int out)
{
    char *argv[3] = {strdupa(s->program), strdupa(s->verb), NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t how;
    sigset_t none, usual;
    int err;

    sigemptyset(&none);
    sigemptyset(&usual);
    sigaddset(&usual, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&how);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, s->options, IM_SERVING_OPTIONS_FD);
    posix_spawnattr_setsigmask(&how, &none);
    posix_spawnattr_setsigdefault(&how, &usual);
    posix_spawnattr_setflags(&how, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    err = -posix_spawn(&s->pid, s->program, &actions, &how, argv, environ);
    posix_spawnattr_destroy(&how);
    posix_spawn_file_actions_destroy(&actions);
    if (err < 0)
        s->pid = 0;
    return err;
}

static int open_pipe(int ret[2])
{
    if (pipe2(ret, O_CLOEXEC) < 0)
        return -errno;
    ret[0] = move_up(ret[0]);
    ret[1] = move_up(ret[1]);
    return ret[0] < 0 ? ret[0] : ret[1] < 0 ? ret[1] : 0;
}

static void close_pipe(const int fds[2])
{
    for (int i = 0; i < 2; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

int sv_servant_start(struct sv_servant *s, struct im_text *text)
{
    int in[2] = {-1, -1}, out[2] = {-1, -1}, err = open_pipe(in);

    if (err == 0)
        err = open_pipe(out);
    if (err == 0)
        err = spawn(s, in[0], out[1]);
    if (err < 0) {
        close_pipe(in);
        close_pipe(out);
        return im_fail(text, err, "cannot start %s: %s", s->program, strerror(-err));
    }
    close(in[0]);
    close(out[1]);
    s->to = in[1];
    s->from = out[0];
    fcntl(s->to, F_SETFL, O_NONBLOCK);
    fcntl(s->from, F_SETFL, O_NONBLOCK);
    return 0;
}

static im_ns cpu_of(pid_t pid)
{
    struct timespec t;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return 0;
    return (im_ns)t.tv_sec * IM_SECOND + (im_ns)t.tv_nsec;
}

void sv_servant_mark(struct sv_servant *s)
{
    s->cpu_before = cpu_of(s->pid);
    s->late = s->worked = false;
    s->stopped = 0;
}

/* One that is stopped does not answer; time in which we were stopped, too, does not count. */
static bool stays_stopped(struct sv_servant *s)
{
    const char letter = im_process_letter(s->pid);

    s->stopped = letter == 'T' || letter == 't' ? s->stopped + 1 : 0;
    return s->stopped >= STOPPED_LOOKS;
}

/* Waits until the descriptor may be used. */
static int await(struct sv_servant *s, int fd, short events, const struct sv_patience *p)
{
    struct pollfd at = {.fd = fd, .events = events};

    for (;;) {
        int ready = poll(&at, 1, LOOK_MS);

        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (p->gives_up(p->context))
            return -EINTR;
        s->worked = p->cpu > 0 && cpu_of(s->pid) >= s->cpu_before + p->cpu;
        s->late = s->worked || stays_stopped(s) || im_now() >= p->until;
        if (s->late)
            return -ETIMEDOUT;
    }
}

int sv_servant_write(struct sv_servant *s, const void *bytes, size_t n, const struct sv_patience *p)
{
    const char *at = bytes;
    int err = s->pid ? 0 : -EPIPE;

    while (n > 0 && err == 0) {
        ssize_t done = write(s->to, at, n);

        if (done < 0 && errno == EAGAIN)
            err = await(s, s->to, POLLOUT, p);
        else if (done < 0 && errno != EINTR)
            err = -errno;
        at += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return err;
}

int sv_servant_read(struct sv_servant *s, void *bytes, size_t n, const struct sv_patience *p)
{
    char *at = bytes;
    int err = s->pid ? 0 : -EPIPE;

    while (n > 0 && err == 0) {
        ssize_t done = read(s->from, at, n);

        if (done == 0)
            err = -EPIPE;
        else if (done < 0 && errno == EAGAIN)
            err = await(s, s->from, POLLIN, p);
        else if (done < 0 && errno != EINTR)
            err = -errno;
        at += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return err;
}

int sv_servant_end(struct sv_servant *s)
{
    int status = 0;

    if (s->pid == 0)
        return -1;
    close(s->to);
    close(s->from);
    if (waitpid(s->pid, &status, WNOHANG) != s->pid) {
        struct timespec nap = {
            .tv_nsec = 50 * 1000000}; /* one that has just closed its output is about to say why */

        nanosleep(&nap, NULL);
        if (waitpid(s->pid, &status, WNOHANG) != s->pid) {
            kill(s->pid, SIGKILL);
            while (waitpid(s->pid, &status, 0) < 0 && errno == EINTR)
                ;
        }
    }
    s->pid = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
