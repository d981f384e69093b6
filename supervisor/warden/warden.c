/* See warden.h. The loop waits on two descriptors: signals and the channel to the supervisor. The table of
 * children is the only state; a new supervisor is told all of it. */
#include "supervisor/warden/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/child.h"
#include "supervisor/warden/channel.h"
#include "supervisor/warden/say.h"
#include "supervisor/warden/spawn.h"

#define SUPERVISOR_DEATHS_MAX 20 /* within SUPERVISOR_WINDOW_NS; then the run is stopped */
#define SUPERVISOR_WINDOW_NS (10 * IM_SECOND)
#define END_TIMEOUT_NS (10 * IM_SECOND)
#define LOG_PIPE_BYTES (1 << 20)

struct ward {
    struct sv_message who; /* role, index, incarnation, pid; status when exited */
    int pidfd;
    int used, exited;
};

struct warden {
    const struct im_run *run;
    struct sv_spawn_fds fds;
    struct ward ward[IM_SLOTS_MAX * 2];
    int channel; /* ours; -1 while there is no supervisor */
    int signals;
    pid_t supervisor;
    int finished, exit_status, interrupts;
    int deaths;
    im_ns window_start;
};

static int make_pipe(int pair[2], struct im_text *text)
{
    if (pipe2(pair, O_CLOEXEC) == 0)
        return 0;
    return im_fail(text, -errno, "cannot make a pipe: %s (see ulimit -n)", strerror(errno));
}

int sv_warden_open(struct sv_warden_fds *ret, struct im_text *text)
{
    int fd[5] = {-1, -1, -1, -1, -1}; /* lease, log, snapshot */
    int err = make_pipe(&fd[0], text);

    if (err == 0)
        err = make_pipe(&fd[2], text);
    if (err == 0) {
        fd[4] = im_segment_create_empty("the snapshot", text);
        err = fd[4] < 0 ? fd[4] : 0;
    }
    if (err < 0) {
        for (int i = 0; i < 5; i++)
            if (fd[i] >= 0)
                close(fd[i]);
        return err;
    }
    /* Roles never block on their log: a line that does not fit is dropped and counted (im_log). */
    fcntl(fd[3], F_SETFL, O_NONBLOCK);
    fcntl(fd[2], F_SETFL, O_NONBLOCK);
    fcntl(fd[2], F_SETPIPE_SZ, LOG_PIPE_BYTES);
    ret->lease_read = fd[0];
    ret->lease_write = fd[1];
    ret->log_read = fd[2];
    ret->log_write = fd[3];
    ret->snapshot = fd[4];
    return 0;
}

static int open_signals(void)
{
    static const int wanted[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
    struct sigaction hangup;
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < IM_COUNT(wanted); i++)
        sigaddset(&set, wanted[i]);
    /* A signalfd gets blocked signals even where they are ignored; under nohup the terminal's end is
     * to be ignored. */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN)
        sigdelset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static struct ward *find(struct warden *w, uint32_t incarnation)
{
    for (size_t i = 0; i < IM_COUNT(w->ward); i++)
        if (w->ward[i].used && w->ward[i].who.incarnation == incarnation)
            return &w->ward[i];
    return NULL;
}

static struct ward *find_free(struct warden *w)
{
    for (size_t i = 0; i < IM_COUNT(w->ward); i++)
        if (!w->ward[i].used)
            return &w->ward[i];
    return NULL;
}

static void forget(struct ward *ward)
{
    if (ward->pidfd >= 0)
        close(ward->pidfd);
    *ward = (struct ward){.pidfd = -1};
}

static void tell(struct warden *w, const struct sv_message *m, int pidfd)
{
    if (w->channel >= 0)
        sv_channel_send(w->channel, m, pidfd); /* a lost one is told again to the next supervisor */
}

static void tell_ward(struct warden *w, const struct ward *ward)
{
    struct sv_message m = ward->who;

    m.type = SV_SPAWNED;
    tell(w, &m, ward->pidfd);
    if (ward->exited) {
        m.type = SV_EXITED;
        tell(w, &m, -1);
    }
}

static void spawn(struct warden *w, const struct sv_message *request)
{
    struct sv_message reply = *request;
    struct ward *ward = find_free(w);
    pid_t pid =
        ward ? sv_spawn_role(&w->fds, (enum im_role)request->role, request->index, request->incarnation)
             : -EAGAIN;

    if (pid < 0) {
        reply.type = SV_SPAWN_FAILED;
        reply.status = pid;
        tell(w, &reply, -1);
        return;
    }
    *ward = (struct ward){.who = reply, .used = 1};
    ward->who.pid = pid;
    ward->pidfd =
        (int)syscall(SYS_pidfd_open, pid, 0); /* ours and not yet reaped: cannot be another process */
    tell_ward(w, ward);
}

static void read_channel(struct warden *w)
{
    struct sv_message m;
    int pidfd, got;

    while (w->channel >= 0 && (got = sv_channel_receive(w->channel, &m, &pidfd)) != 0) {
        struct ward *ward;

        if (got < 0) {
            /* The supervisor is dying: SIGCHLD follows. Nothing more is to be read here. */
            close(w->channel);
            w->channel = -1;
            return;
        }
        if (m.type == SV_SPAWN) {
            spawn(w, &m);
        } else if (m.type == SV_FORGET && (ward = find(w, m.incarnation)) != NULL && ward->exited) {
            forget(ward);
        } else if (m.type == SV_FINISHED) {
            w->finished = 1;
            w->exit_status = m.status;
        }
    }
}

/* A supervisor that could not even be started counts as one that died. */
static void count_failure(struct warden *w, int errnum)
{
    sv_warden_say("cannot start a supervisor: %s", strerror(errnum));
    if (++w->deaths > SUPERVISOR_DEATHS_MAX) {
        w->finished = 1;
        w->exit_status = IM_EXIT_FAILED;
    }
}

static void start_supervisor(struct warden *w)
{
    struct sv_message listed = {.type = SV_LISTED};
    int pair[2];

    w->supervisor = 0;
    if (sv_channel_pair(pair) < 0) {
        count_failure(w, errno);
        return;
    }
    w->supervisor = sv_spawn_supervisor(&w->fds, pair[1]);
    close(pair[1]);
    if (w->supervisor < 0) {
        count_failure(w, -w->supervisor);
        close(pair[0]);
        w->supervisor = 0;
        return;
    }
    w->channel = pair[0];
    for (size_t i = 0; i < IM_COUNT(w->ward); i++)
        if (w->ward[i].used)
            tell_ward(w, &w->ward[i]);
    tell(w, &listed, -1);
}

static void on_supervisor_death(struct warden *w, int status)
{
    im_ns now = im_now();

    read_channel(w); /* its last words, which may be that the run is over */
    if (w->channel >= 0)
        close(w->channel);
    w->channel = -1;
    w->supervisor = 0;
    if (w->finished)
        return;
    if (now - w->window_start > SUPERVISOR_WINDOW_NS) {
        w->window_start = now;
        w->deaths = 0;
    }
    if (++w->deaths > SUPERVISOR_DEATHS_MAX || (WIFEXITED(status) && WEXITSTATUS(status) == IM_EXIT_USAGE)) {
        sv_warden_say("the supervisor keeps dying; stopping. Continue the run with the same command.");
        w->finished = 1;
        w->exit_status = IM_EXIT_FAILED;
        return;
    }
    sv_warden_say("the supervisor died (%s %d); starting another; training continues",
                  WIFSIGNALED(status) ? "signal" : "status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    start_supervisor(w);
}

static void reap(struct warden *w)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == w->supervisor) {
            on_supervisor_death(w, status);
            continue;
        }
        for (size_t i = 0; i < IM_COUNT(w->ward); i++) {
            struct ward *ward = &w->ward[i];
            struct sv_message m;

            if (!ward->used || ward->exited || ward->who.pid != pid)
                continue;
            ward->exited = 1;
            ward->who.status = status;
            m = ward->who;
            m.type = SV_EXITED;
            tell(w, &m, -1);
        }
    }
}

static void on_signal(struct warden *w, int signo)
{
    struct sv_message m = {.type = SV_SIGNAL, .status = signo};

    if (signo == SIGINT || signo == SIGTERM) {
        if (++w->interrupts >= 2) {
            w->finished = 1;
            w->exit_status = IM_EXIT_FORCED;
            return;
        }
    }
    tell(w, &m, -1);
}

static void read_signals(struct warden *w)
{
    struct signalfd_siginfo info;

    while (read(w->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD)
            reap(w);
        else
            on_signal(w, (int)info.ssi_signo);
    }
}

/* Kills whoever is left and waits for them, for a bounded time. */
static void end_all(struct warden *w)
{
    im_ns deadline = im_now() + END_TIMEOUT_NS;
    int left = 1;

    if (w->supervisor > 0 && w->exit_status == IM_EXIT_FORCED)
        kill(w->supervisor, SIGKILL);
    for (size_t i = 0; i < IM_COUNT(w->ward); i++)
        if (w->ward[i].used && !w->ward[i].exited)
            kill(w->ward[i].who.pid, SIGKILL);
    while (left && im_now() < deadline) {
        struct pollfd p = {.fd = w->signals, .events = POLLIN};

        reap(w);
        left = w->supervisor > 0;
        for (size_t i = 0; i < IM_COUNT(w->ward); i++)
            left |= w->ward[i].used && !w->ward[i].exited;
        if (left) {
            struct signalfd_siginfo info;

            poll(&p, 1, 50);
            while (read(w->signals, &info, sizeof info) > 0)
                ;
        }
    }
    if (left)
        sv_warden_say("cannot kill a process within 10 s (stuck in the kernel?)");
}

int sv_warden_run(const struct im_run *run, const struct sv_warden_fds *fds,
                  const struct sv_placement *placement)
{
    struct warden w = {.run = run, .channel = -1, .window_start = im_now()};

    for (size_t i = 0; i < IM_COUNT(w.ward); i++)
        w.ward[i].pidfd = -1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    w.signals = open_signals();
    if (w.signals < 0 || sv_spawn_prepare(run, fds, &w.fds) < 0) {
        sv_warden_say("out of file descriptors: %s; raise `ulimit -n`", strerror(errno));
        return IM_EXIT_FAILED;
    }
    w.fds.placement = placement;
    start_supervisor(&w);
    if (w.supervisor == 0) {
        sv_warden_say("cannot start the supervisor: %s", strerror(errno));
        return IM_EXIT_FAILED;
    }
    while (!w.finished) {
        struct pollfd p[2] = {{.fd = w.signals, .events = POLLIN}, {.fd = w.channel, .events = POLLIN}};

        poll(p, 2, 1000);
        read_channel(&w);
        read_signals(&w);
        if (w.supervisor == 0 && !w.finished)
            start_supervisor(&w);
    }
    end_all(&w);
    return w.exit_status;
}
