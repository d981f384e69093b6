/* See warden.h. The loop waits on two descriptors: signals and the channel to the supervisor. The table of
 * children is the only state; a new supervisor gets all of it. */
#include "supervisor/warden/warden.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/process.h"
#include "ipc/wait.h"
#include "supervisor/warden/channel.h"
#include "supervisor/warden/say.h"
#include "supervisor/warden/spawn.h"
#include "supervisor/warden/turns.h"

/* Supervisors in a row that failed before they came to their loop; then the run is saved and ended. However many
 * others die, or are killed by somebody, it goes on. */
#define SUPERVISOR_FAILURES_MAX 10
#define SUPERVISOR_ENDING_MAX 10              /* deaths while the run is to end; then the warden ends it */
#define SUPERVISOR_SILENT_NS (10 * IM_SECOND) /* without a turn of its loop: it is stuck, and killed */
#define SUPERVISOR_SHORT_LIFE_NS (100 * IM_MS)
#define KILLS_WITHOUT_WAIT 3 /* before it came to its loop */
#define KILL_WAIT_NS (100 * IM_MS)
#define TURN_MS 500
#define TURN_MAX_NS (2 * TURN_MS * IM_MS) /* of the warden's own loop */
#define LAST_SAVE_NS (60 * IM_SECOND)     /* for the trainers, when there is no supervisor any more */
#define LAST_SEAL_NS (300 * IM_SECOND)
#define END_TIMEOUT_NS (10 * IM_SECOND)
#define HURRY_NS (3 * IM_SECOND) /* for the last reports of a run that is over, after a second Ctrl-C */
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
    im_ns hurried;            /* the run was over at the second Ctrl-C, at this time of our clock; 0: no */
    int stop_signal;          /* the user has asked to stop, by this; 0: not yet */
    uint32_t waiting_signals; /* a bit each, that came while there was no supervisor to hear them */
    struct sv_clock clock;
    uint64_t turns;     /* of the supervisor's loop, as last seen */
    im_ns turned_at;    /* ... by our clock; or when it was started */
    int turned, killed; /* this supervisor has come to its loop; we have killed it */
    int failures;       /* supervisors in a row that did not come to their loop ... */
    int kills;          /* ... and those that somebody killed before */
    int sent_signal;    /* a fatal one that somebody sent to this supervisor, by its own word; 0: none */
    uint64_t oom_kills; /* im_oom_kills() when a supervisor was killed last, or at the start */
    int deaths_ending;  /* supervisors that died while the run was to end */
    im_ns started, restart_at; /* CLOCK_MONOTONIC */
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
    static const int wanted[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGXCPU, SIGPWR};
    static const int unheard[] = {SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGSTKFLT};
    struct sigaction hangup;
    sigset_t set;

    /* What nobody sends for a reason that concerns the run stays pending. */
    sigemptyset(&set);
    for (size_t i = 0; i < IM_COUNT(unheard); i++)
        sigaddset(&set, unheard[i]);
    for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
        sigaddset(&set, signo);
    sigprocmask(SIG_BLOCK, &set, NULL);

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

static struct ward *warden_find(struct warden *w, uint32_t incarnation)
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
        sv_channel_send(w->channel, m, pidfd); /* a lost one is sent again to the next supervisor */
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
    pid_t pid = -EAGAIN;

    if (ward && request->type == SV_SAVE) {
        atomic_store_explicit(&w->run->control->saver_seen, 0, memory_order_relaxed);
        pid = sv_spawn_saver(&w->fds);
    }
    if (ward && request->type != SV_SAVE)
        pid = sv_spawn_role(&w->fds, (enum im_role)request->role, request->index, request->incarnation);
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
        if (m.type == SV_SPAWN || (m.type == SV_SAVE && !warden_find(w, m.incarnation))) {
            spawn(w, &m);
        } else if (m.type == SV_FORGET && (ward = warden_find(w, m.incarnation)) != NULL && ward->exited) {
            forget(ward);
        } else if (m.type == SV_FINISHED) {
            w->finished = 1;
            w->exit_status = m.status;
        } else if (m.type == SV_SENT) {
            w->sent_signal = m.status;
        }
    }
}

/* A supervisor has not come to its loop, or could not even be started. */
static void count_failure(struct warden *w)
{
    static const im_ns delays[] = {0, 50 * IM_MS, 200 * IM_MS, IM_SECOND};
    const size_t last = IM_COUNT(delays) - 1, n = (size_t)w->failures++;

    w->restart_at = im_now() + delays[n < last ? n : last];
}

/* Killed from outside, which says nothing about the next one: by SIGKILL that the kernel did not send for lack of memory, or by a
 * signal that it told of. */
static bool is_somebodys_kill(struct warden *w, int status)
{
    const uint64_t before = w->oom_kills;

    if (!WIFSIGNALED(status))
        return false;
    w->oom_kills = im_oom_kills();
    return WTERMSIG(status) == w->sent_signal ||
           (WTERMSIG(status) == SIGKILL && before != UINT64_MAX && w->oom_kills == before);
}

/* It never came to its loop. */
static void judge_early_death(struct warden *w, int status)
{
    if (is_somebodys_kill(w, status))
        w->restart_at = im_now() + (w->kills++ < KILLS_WITHOUT_WAIT ? 0 : KILL_WAIT_NS);
    else
        count_failure(w);
}

static void tell_waiting_signals(struct warden *w)
{
    for (int signo = 1; signo < 32; signo++) {
        struct sv_message m = {.type = SV_SIGNAL, .status = signo};

        if (w->waiting_signals & UINT32_C(1) << signo)
            tell(w, &m, -1);
    }
    w->waiting_signals = 0;
}

static void start_supervisor(struct warden *w)
{
    struct sv_message listed = {.type = SV_LISTED}, stop = {.type = SV_STOP, .status = w->stop_signal};
    int pair[2], err = sv_channel_pair(pair);

    w->supervisor = 0;
    w->turned = w->killed = w->sent_signal = 0;
    w->started = im_now();
    w->turned_at = w->clock.now;
    w->turns = atomic_load_explicit(&w->run->control->turns, memory_order_relaxed);
    if (err == 0) {
        w->supervisor = sv_spawn_supervisor(&w->fds, pair[1]);
        close(pair[1]);
        err = w->supervisor < 0 ? w->supervisor : 0;
        if (err < 0)
            close(pair[0]);
    }
    if (err < 0) {
        sv_warden_say("cannot start a supervisor: %s", strerror(-err));
        w->supervisor = 0;
        count_failure(w);
        return;
    }
    w->channel = pair[0];
    for (size_t i = 0; i < IM_COUNT(w->ward); i++)
        if (w->ward[i].used)
            tell_ward(w, &w->ward[i]);
    if (w->stop_signal) /* its predecessor may have died before it heard of it */
        tell(w, &stop, -1);
    tell(w, &listed, -1);
    tell_waiting_signals(w);
}

static void look_for_turns(struct warden *w)
{
    uint64_t turns = atomic_load_explicit(&w->run->control->turns, memory_order_relaxed);

    if (turns == w->turns)
        return;
    w->turns = turns;
    w->turned_at = w->clock.now;
    w->turned = 1;
    w->failures = w->kills = 0;
}

static void on_supervisor_death(struct warden *w, int status)
{
    read_channel(w); /* its last words, which may be that the run is over */
    if (w->channel >= 0)
        close(w->channel);
    w->channel = -1;
    w->supervisor = 0;
    if (w->finished)
        return;
    look_for_turns(w);
    if (atomic_load_explicit(&w->run->control->supervisor_lost_ns, memory_order_relaxed) == 0)
        atomic_store_explicit(&w->run->control->supervisor_lost_ns, im_now(), memory_order_relaxed);
    w->deaths_ending += w->stop_signal || im_run_state(w->run) >= IM_RUN_STOPPING;
    if (!w->turned)
        judge_early_death(w, status);
    else
        w->restart_at = im_now() + (im_now() - w->started < SUPERVISOR_SHORT_LIFE_NS ? 50 * IM_MS : 0);
    sv_warden_say("the supervisor died (%s %d); starting another%s",
                  WIFSIGNALED(status) ? "signal" : "status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
                  im_run_state(w->run) == IM_RUN_RUNNING ? "; training continues" : "");
}

/* A supervisor that is stopped or stuck is as good as dead. */
static void watch_supervisor(struct warden *w)
{
    look_for_turns(w);
    if (w->supervisor <= 0 || w->killed || w->clock.now - w->turned_at < SUPERVISOR_SILENT_NS ||
        im_process_letter(w->supervisor) == 't')
        return;
    sv_warden_say("the supervisor (pid %d) does nothing for %d s; killing it", (int)w->supervisor,
                  (int)(SUPERVISOR_SILENT_NS / IM_SECOND));
    kill(w->supervisor, SIGKILL);
    w->killed = 1;
    w->turned_at = w->clock.now;
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

/* The run is over, and what it ends with is in shared memory: reports are all that is missing. */
static void end_as_decided(struct warden *w)
{
    w->finished = 1;
    w->exit_status =
        im_exit_of_word(atomic_load_explicit(&w->run->control->exit_status, memory_order_relaxed));
}

static void on_signal(struct warden *w, int signo)
{
    struct sv_message m = {.type = SV_SIGNAL, .status = signo};

    if (signo == SIGINT && ++w->interrupts >= 2) {
        if (im_run_state(w->run) != IM_RUN_ENDED) {
            w->finished = 1;
            w->exit_status = IM_EXIT_FORCED;
            return;
        }
        if (w->hurried) { /* a third one */
            end_as_decided(w);
            return;
        }
        w->hurried = w->clock.now;
    }
    if (signo != SIGUSR1 && signo != SIGUSR2) {
        w->stop_signal = w->stop_signal ? w->stop_signal : signo; /* told to every supervisor that comes */
        tell(w, &m, -1);
    } else if (w->channel < 0 || sv_channel_send(w->channel, &m, -1) < 0) {
        w->waiting_signals |= UINT32_C(1) << signo; /* all that are listened to are below 32 */
    }
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

    if (w->supervisor > 0 && (w->exit_status == IM_EXIT_FORCED || w->hurried))
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

/* One turn of the loop, of TURN_MS at most. */
static void warden_turn(struct warden *w)
{
    struct pollfd p[2] = {{.fd = w->signals, .events = POLLIN}, {.fd = w->channel, .events = POLLIN}};
    im_ns now = im_now();
    int timeout = TURN_MS;

    if (w->supervisor == 0 && w->restart_at > now && w->restart_at - now < TURN_MS * IM_MS)
        timeout = (int)((w->restart_at - now) / IM_MS) + 1;
    poll(p, 2, timeout);
    sv_clock_turn(&w->clock, im_now(), TURN_MAX_NS);
    read_channel(w);
    read_signals(w);
}

static int count_trainers(const struct warden *w, int saved)
{
    int n = 0;

    for (size_t i = 0; i < IM_COUNT(w->ward); i++) {
        const struct ward *ward = &w->ward[i];

        if (!ward->used || ward->who.role != IM_ROLE_TRAINER)
            continue;
        n += saved ? ward->exited && WIFEXITED(ward->who.status) &&
                         WEXITSTATUS(ward->who.status) == IM_EXIT_RESUMABLE
                   : !ward->exited;
    }
    return n;
}

/* Asks the trainers to save and leave, as the supervisor would. Did they all? */
static int let_trainers_save(struct warden *w)
{
    struct im_control *c = w->run->control;
    const im_ns began = w->clock.now;

    if (count_trainers(w, 0) < (int)w->run->geometry.ranks || im_run_state(w->run) == IM_RUN_STARTING)
        return 0;
    atomic_store_explicit(&c->run_state, IM_RUN_STOPPING, memory_order_release);
    im_event_broadcast(&c->event_run);
    for (uint32_t r = 0; r < w->run->geometry.ranks; r++)
        im_event_broadcast(&c->event_done[r]);
    while (!w->finished && count_trainers(w, 0) > 0 && w->clock.now - began < LAST_SAVE_NS) {
        for (size_t i = 0; i < IM_COUNT(w->ward); i++) /* one that somebody has stopped goes on */
            if (w->ward[i].used && !w->ward[i].exited)
                kill(w->ward[i].who.pid, SIGCONT);
        warden_turn(w);
    }
    return count_trainers(w, 1) == (int)w->run->geometry.ranks;
}

/* The status of the process that writes the snapshot as a checkpoint; negative when it has none. */
static int save_snapshot(struct warden *w)
{
    const struct sv_message request = {.type = SV_SAVE, .incarnation = SV_SAVER_INCARNATION};
    const im_ns began = w->clock.now;
    struct ward *ward;

    for (size_t i = 0; i < IM_COUNT(w->ward); i++)
        if (w->ward[i].used && !w->ward[i].exited && w->ward[i].who.role == IM_ROLE_TRAINER)
            kill(w->ward[i].who.pid, SIGKILL);
    while (!w->finished && count_trainers(w, 0) > 0 && w->clock.now - began < END_TIMEOUT_NS)
        warden_turn(w);
    ward = warden_find(w, SV_SAVER_INCARNATION);
    if (ward && ward->exited) /* its end has met no supervisor */
        forget(ward);
    if (!ward || !ward->used) {
        spawn(w, &request);
        ward = warden_find(w, SV_SAVER_INCARNATION);
    }
    while (ward && !w->finished && !ward->exited && w->clock.now - began < LAST_SEAL_NS) {
        warden_turn(w);
        if (w->clock.now - began > SV_SAVER_SILENT_NS &&
            atomic_load_explicit(&w->run->control->saver_seen, memory_order_relaxed) == 0)
            break; /* end_all() kills it */
    }
    return ward && ward->exited && WIFEXITED(ward->who.status) ? WEXITSTATUS(ward->who.status) : -1;
}

/* No supervisor can be started, or the last one cannot be ended: what was trained is saved without one. */
static void end_without_supervisor(struct warden *w, const char *why)
{
    int status;

    sv_warden_say("%s; saving and stopping", why);
    if (im_run_state(w->run) == IM_RUN_ENDED) {
        end_as_decided(w);
        return;
    }
    status = let_trainers_save(w) ? IM_EXIT_OK : w->finished ? -1 : save_snapshot(w);
    if (w->finished) /* a second Ctrl-C */
        return;
    w->finished = 1;
    w->exit_status = IM_EXIT_FAILED;
    if (status == IM_EXIT_OK || status == IM_EXIT_NOTHING_NEWER) {
        w->exit_status = IM_EXIT_RESUMABLE;
        sv_warden_say("saved; the same command continues from here");
    } else if (status == IM_EXIT_NOTHING_SAVED) {
        sv_warden_say("nothing is saved: there is neither a snapshot nor a checkpoint");
    } else {
        sv_warden_say("what was trained could not be saved; the same command goes on with the last "
                      "checkpoint");
    }
}

/* Starts a supervisor where there is none, and gives up where that is in vain. */
static void keep_supervised(struct warden *w)
{
    watch_supervisor(w);
    if (!w->finished && w->hurried && w->clock.now - w->hurried > HURRY_NS)
        end_as_decided(w);
    if (w->finished)
        return;
    if (w->supervisor == 0 && w->failures >= SUPERVISOR_FAILURES_MAX)
        end_without_supervisor(w, "the supervisor cannot be started");
    else if (w->supervisor == 0 && w->deaths_ending >= SUPERVISOR_ENDING_MAX)
        end_without_supervisor(w, "the supervisor cannot end the run");
    else if (w->supervisor == 0 && im_now() >= w->restart_at)
        start_supervisor(w);
    else if (w->killed && w->stop_signal && w->clock.now - w->turned_at > END_TIMEOUT_NS)
        end_without_supervisor(w, "the supervisor cannot be killed (stuck in the kernel?)");
}

int sv_warden_run(const struct im_run *run, const struct sv_warden_fds *fds,
                  const struct sv_placement *placement)
{
    struct warden w = {.run = run, .channel = -1, .oom_kills = im_oom_kills()};

    for (size_t i = 0; i < IM_COUNT(w.ward); i++)
        w.ward[i].pidfd = -1;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    w.signals = open_signals();
    if (w.signals < 0 || sv_spawn_prepare(run, fds, &w.fds) < 0) {
        sv_warden_say("out of file descriptors: %s; raise `ulimit -n`", strerror(errno));
        return IM_EXIT_FAILED;
    }
    w.fds.placement = placement;
    sv_clock_turn(&w.clock, im_now(), TURN_MAX_NS);
    start_supervisor(&w);
    if (w.supervisor == 0) /* it said why */
        return IM_EXIT_FAILED;
    while (!w.finished) {
        warden_turn(&w);
        if (!w.finished)
            keep_supervised(&w);
    }
    end_all(&w);
    return w.exit_status;
}
