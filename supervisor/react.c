/* What the supervisor does when something happened. The rules, by role:
 *
 * reader, augmenter: dead in any way, its cells go back at once and another starts; the run never notices.
 *
 * trainer: left with 0 or, when asked to stop, with RESUMABLE, it is done. Dead in any other way, all go back to
 * the last snapshot or checkpoint (a reset of the data plane).
 *
 * Deaths that say something about the program (policy.h) end the run when nothing moves on in spite of them;
 * what was trained is saved first (ending.c). */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/base/sysinfo.h"
#include "ipc/child.h"
#include "ipc/process.h"
#include "ipc/wait.h"
#include "supervisor/blame.h"
#include "supervisor/limits.h"
#include "supervisor/super.h"

#define STATUS_WAIT_NS IM_SECOND
#define RESET_TELL_NS (10 * IM_SECOND)

/* Whoever dies before it is ready may do so again: no busy forking. */
#define UNREADY_DELAY_NS (50 * IM_MS)

static const enum im_role roles[] = {IM_ROLE_READER, IM_ROLE_AUGMENTER, IM_ROLE_TRAINER, IM_ROLE_FETCHER};

const char *sv_state_name(const struct sv_super *s)
{
    const struct im_phase *phase = im_plan_phase_of_batch(&s->plan, s->view.next_batch);

    if (s->resetting)
        return "resetting";
    if (!sv_nodes_allow(s) && !s->finished && s->ending.stage == SV_GOING_ON)
        return "waiting for nodes";
    if (sv_is_paused(s) && im_run_state(&s->run) == IM_RUN_RUNNING)
        return "paused";
    switch (im_run_state(&s->run)) {
    case IM_RUN_STARTING:
        return "starting";
    case IM_RUN_STOPPING:
        return "stopping";
    case IM_RUN_ENDED:
        return "ending";
    default:
        if (atomic_load_explicit(&s->run.control->outage_ns, memory_order_relaxed) != 0)
            return "waiting for data";
        return phase && phase->split == IM_VAL ? "validating" : "training";
    }
}

void sv_set_state(struct sv_super *s, enum im_run_state state)
{
    atomic_store_explicit(&s->run.control->run_state, state, memory_order_release);
    im_event_broadcast(&s->run.control->event_run);
    im_event_broadcast(&s->run.control->event_free);
    im_event_broadcast(&s->run.control->event_ready);
    for (uint32_t r = 0; r < s->run.geometry.ranks; r++)
        im_event_broadcast(&s->run.control->event_done[r]);
}

/* Once every trainer has been ready with it, the configuration is the run's, and the run is the latest one. */
static void try_to_accept(struct sv_super *s)
{
    _Atomic uint32_t *accepted = &s->run.control->accepted;

    if (atomic_load_explicit(accepted, memory_order_relaxed))
        return;
    for (uint32_t r = 0; r < s->run.geometry.ranks; r++)
        if (atomic_load_explicit(&s->run.process[im_run_slot(&s->run, IM_ROLE_TRAINER, r)].ready_ns,
                                 memory_order_acquire) == 0)
            return;
    sv_journal_accept(&s->journal);
    sv_journal_event(&s->journal, "run.started", NULL);
    atomic_store_explicit(accepted, 1, memory_order_relaxed);
}

void sv_finish(struct sv_super *s, int exit_status)
{
    if (s->finished)
        return;
    try_to_accept(s);
    s->finished = true;
    s->exit_status = exit_status;
    atomic_store_explicit(&s->run.control->exit_status, im_exit_word(exit_status), memory_order_relaxed);
    for (size_t i = 0; i < IM_COUNT(roles); i++)
        sv_children_want(&s->children, roles[i], false);
    sv_journal_withdraw(&s->journal);
    sv_set_state(s, IM_RUN_ENDED);
}

void sv_reset(struct sv_super *s, const char *why)
{
    struct im_json *fields = im_json_object();

    sv_nodes_on_reset(s, why);
    im_json_set_str(fields, "why", why);
    sv_journal_event(&s->journal, "run.reset", fields);
    sv_screen_warn(&s->screen, SV_WARN, "going back to the last snapshot or checkpoint: %s", why);
    s->resetting = true;
    s->reset_at = s->watch.clock.now;
    s->trainers_done = 0;
    s->left_resumable = false;
    sv_set_state(s, IM_RUN_STARTING);
    for (size_t i = 0; i < IM_COUNT(roles); i++)
        sv_children_want(&s->children, roles[i], false);
    for (uint32_t i = 0; i < s->children.count; i++) {
        /* Also of one that is dead already: its status may come after the reset. */
        s->children.child[i].ended_by_reset = s->children.child[i].last.ended_by_reset = true;
        sv_child_kill(&s->children.child[i], SIGKILL);
    }
}

/* The kernel's SIGKILL at a limit of processor time looks like anybody's; the next process would come to it too. */
static bool may_be_time_limit(int wait_status)
{
    return WIFSIGNALED(wait_status) &&
           (WTERMSIG(wait_status) == SIGXCPU || WTERMSIG(wait_status) == SIGKILL) &&
           sv_limits_cpu_time() != 0;
}

static void report_death(struct sv_super *s, const struct sv_child *child, int wait_status, bool goes_on)
{
    struct im_json *fields = im_json_object();
    char end[64], limits[400] = "";

    if (!child->last.was_ready || sv_is_own_crash(wait_status) || may_be_time_limit(wait_status))
        sv_limits_suspects(limits, sizeof limits);
    im_json_set_str(fields, "role", im_role_name(child->role));
    im_json_set_int(fields, "index", child->index);
    im_json_set_int(fields, "pid", child->last.pid);
    im_json_set_int(fields, "incarnation", child->last.incarnation);
    im_json_set_str(fields, "end", sv_describe_end(wait_status, end, sizeof end));
    im_json_set_int(fields, "returned_reads", child->last.returned.filling);
    im_json_set_int(fields, "returned_samples", child->last.returned.taken);
    sv_journal_event(&s->journal, "process.died", fields);
    if (!goes_on) /* give_up() says it */
        return;
    sv_journal_drain(&s->journal);
    sv_screen_warn(&s->screen, SV_WARN, "%s#%u (pid %d) died: %s%s%s", im_role_name(child->role),
                   child->index, child->last.pid,
                   WIFEXITED(wait_status) && s->journal.last_reason[0]
                       ? s->journal.last_reason
                       : sv_describe_end(wait_status, end, sizeof end),
                   limits, child->role == IM_ROLE_TRAINER ? "" : "; starting another, no sample lost");
}

/* Ends the run because of `why`, saved where something was trained. `status` tells what kind of failure it is; a
 * plain one gives way to the one of a run that can be continued, unless that would come to the same: who queues jobs again
 * by that status would do so for ever. */
static void give_up(struct sv_super *s, int status, bool in_vain, const char *why)
{
    sv_screen_warn(&s->screen, SV_ERROR, "%s", why);
    if (sv_progress_made(&s->run) && sv_nodes_fail(s, status, why))
        return;
    if (sv_progress_made(&s->run) && !im_conf_is_probe(&s->conf)) {
        sv_screen_warn(&s->screen, SV_ERROR, "the run cannot go on; saving what was trained");
        sv_end(s, status == IM_EXIT_FAILED && !in_vain ? IM_EXIT_RESUMABLE : status, why);
        return;
    }
    if (!s->conf.evaluate)
        sv_screen_warn(&s->screen, SV_ERROR, "nothing was trained in this start of the run");
    sv_finish(s, status);
}

static void give_up_on(struct sv_super *s, const struct sv_child *child, int wait_status)
{
    char end[64], why[1600], limits[400] = "";

    sv_journal_drain(&s->journal);
    if (WIFEXITED(wait_status) && s->journal.last_reason[0])
        snprintf(why, sizeof why, "%s%s", s->journal.last_reason,
                 sv_exit_status_for(wait_status) == IM_EXIT_FAILED ? sv_limits_suspects(limits, sizeof limits)
                                                                   : "");
    else
        snprintf(why, sizeof why, "%s#%u keeps failing: %s; see log.txt%s", im_role_name(child->role),
                 child->index, sv_describe_end(wait_status, end, sizeof end),
                 sv_limits_suspects(limits, sizeof limits));
    give_up(s, sv_exit_status_for(wait_status),
            WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == IM_EXIT_DIVERGED, why);
}

/* A trainer's end, when it is one that was asked for; true then. */
static bool trainer_left(struct sv_super *s, int wait_status)
{
    bool stopping = im_run_state(&s->run) == IM_RUN_STOPPING;
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;

    if (status != IM_EXIT_OK && status != IM_EXIT_RESUMABLE)
        return false;
    s->left_resumable |= status == IM_EXIT_RESUMABLE;
    if (++s->trainers_done < s->run.geometry.ranks)
        return true;
    if (stopping)
        sv_ending_trainers_left(s, status);
    else /* resumable: a file of the run may not be replaced (trainer/save.c) */
        sv_finish(s, s->left_resumable ? IM_EXIT_RESUMABLE : IM_EXIT_OK);
    return true;
}

/* Items that anyone has finished since the run began; they outlive processes and supervisors. */
static uint64_t items_of_all(const struct sv_super *s)
{
    uint64_t sum = 0;

    for (uint32_t slot = 0; slot < s->run.geometry.slots; slot++)
        sum += atomic_load_explicit(&s->run.process[slot].progress, memory_order_relaxed);
    return sum;
}

static bool is_own_error(int wait_status)
{
    switch (WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : IM_EXIT_OK) {
    case IM_EXIT_OK:
    case IM_EXIT_RESUMABLE:
    case IM_EXIT_FENCED:
    case IM_EXIT_ORPHANED:
    case IM_EXIT_PEER:
    case IM_EXIT_CONTRADICTION:
    case IM_EXIT_FORCED:
        return false;
    default:
        return true;
    }
}

/* A file or an option that the trainers of this start have never got past, such as weights that do not fit. Later
 * the same statuses may come from words that changed. */
static bool is_permanent(const struct sv_super *s, int wait_status)
{
    const int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : IM_EXIT_OK;

    return (status == IM_EXIT_USAGE || status == IM_EXIT_BAD_DATA) &&
           atomic_load_explicit(&s->run.control->accepted, memory_order_relaxed) == 0;
}

static bool is_somebodys_kill(const struct sv_child *child, int wait_status)
{
    if (may_be_time_limit(wait_status))
        return false;
    return sv_is_somebodys_kill(wait_status, child->last.oom_kills_before, child->last.oom_kills) ||
           (WIFSIGNALED(wait_status) && child->last.sent_signal == (uint32_t)WTERMSIG(wait_status));
}

/* Counts a death and says when the next start is. */
static enum sv_verdict judge(struct sv_super *s, struct sv_child *child, int wait_status)
{
    const struct sv_death death = {
        .by_somebody = is_somebodys_kill(child, wait_status),
        .by_supervisor =
            (child->last.killed_for != SV_KILL_NONE && child->last.killed_for != SV_KILL_FAILED) ||
            child->last.ended_by_reset,
        .was_ready = child->last.was_ready,
        .own_error = is_own_error(wait_status) && !sv_header_was_repaired(s),
        .permanent = is_permanent(s, wait_status),
        .held_ticket = child->last.returned.filling + child->last.returned.taken > 0,
        .trainer = child->role == IM_ROLE_TRAINER,
        .run_goes_on = sv_progress_possible(&s->run, &s->plan),
        .progress = child->role == IM_ROLE_TRAINER
                        ? atomic_load_explicit(&s->run.control->furthest_position, memory_order_relaxed)
                        : items_of_all(s),
    };
    im_ns delay;
    enum sv_verdict verdict = sv_tally_death(&child->tally, &death, (uint32_t)s->conf.max_restarts, &delay);

    if (!child->last.was_ready && delay < UNREADY_DELAY_NS)
        delay = UNREADY_DELAY_NS;
    child->start_at = im_now() + delay;
    return verdict;
}

/* Once for each death; one that left as it was asked to has not died. */
static void blame(struct sv_super *s, struct sv_child *child, int wait_status)
{
    if (s->finished || s->resetting || child->last.ended_by_reset || child->last.blamed ||
        (child->last.retired && wait_status == IM_EXIT_OK))
        return;
    child->last.blamed = true;
    if (WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL)
        child->last.oom_kills = sv_blame_look(s->run.control, &child->last.oom_kills_before);
    sv_blame_death(s, child, wait_status);
}

static void on_exit_status(struct sv_super *s, struct sv_child *child, int wait_status)
{
    enum sv_verdict verdict;

    blame(s, child, wait_status);
    if (s->finished || s->resetting || child->last.ended_by_reset)
        return;
    wait_status = sv_child_end(child, wait_status);
    if (child->role == IM_ROLE_TRAINER && trainer_left(s, wait_status)) {
        child->wanted = false;
        return;
    }
    if (child->last.retired) {
        sv_on_retired(s, child);
        return;
    }
    atomic_fetch_add_explicit(&s->run.control->deaths, 1, memory_order_relaxed);
    verdict = judge(s, child, wait_status);
    report_death(s, child, wait_status, verdict == SV_RESTART || s->ending.stage != SV_GOING_ON);
    if (s->ending.stage != SV_GOING_ON) {
        if (child->role == IM_ROLE_TRAINER)
            sv_ending_without_trainers(s, "a trainer died before it had saved");
        return;
    }
    if (verdict == SV_GIVE_UP) {
        give_up_on(s, child, wait_status);
        return;
    }
    atomic_fetch_add_explicit(&s->run.process[child->slot].restarts, 1, memory_order_relaxed);
    if (child->role == IM_ROLE_TRAINER)
        sv_reset(s, "a trainer died");
}

static void on_exited(struct sv_super *s, const struct sv_message *m)
{
    struct sv_child *child = sv_child_by_incarnation(&s->children, m->incarnation);
    struct sv_message forget = *m;

    if (child) {
        sv_child_remember(&s->children, child);
        blame(s, child, m->status);
        sv_child_finalize(&s->children, child);
    }
    for (uint32_t i = 0; i < s->children.count; i++) {
        if (s->children.child[i].last.incarnation != m->incarnation)
            continue;
        on_exit_status(s, &s->children.child[i], m->status);
        s->children.child[i].last.incarnation = 0;
    }
    forget.type = SV_FORGET;
    sv_channel_send(s->children.channel, &forget, -1);
}

static void on_spawned(struct sv_super *s, const struct sv_message *m, int pidfd)
{
    struct sv_child *child = sv_child_at(&s->children, (enum im_role)m->role, m->index);

    if (!child || im_process_incarnation(&s->run, child->slot) != m->incarnation) {
        /* Listed by the warden, and no longer in the table: its predecessor was finalized. */
        if (pidfd >= 0)
            close(pidfd);
        return;
    }
    child->incarnation = m->incarnation;
    child->pid = m->pid;
    child->pidfd = pidfd;
    if (s->resetting || s->finished || (s->ending.stage >= SV_CLEARING && child->role == IM_ROLE_TRAINER)) {
        child->ended_by_reset = true;
        sv_child_kill(child, SIGKILL);
    }
}

static void on_spawn_failed(struct sv_super *s, const struct sv_message *m)
{
    struct sv_child *child = sv_child_by_incarnation(&s->children, m->incarnation);
    char why[256];

    if (!child)
        return;
    sv_child_finalize(&s->children, child);
    child->last.incarnation = 0;
    snprintf(why, sizeof why, "cannot start %s#%u: %s", im_role_name(child->role), child->index,
             strerror(-m->status));
    if (judge(s, child, IM_EXIT_OK) == SV_GIVE_UP)
        give_up(s, IM_EXIT_FAILED, false, why);
    else
        sv_screen_warn(&s->screen, SV_ERROR, "%s; trying again", why);
}

static const char *signal_name(int signo)
{
    return signo == SIGINT    ? "Ctrl-C"
           : signo == SIGTERM ? "SIGTERM"
           : signo == SIGHUP  ? "SIGHUP"
           : signo == SIGUSR1 ? "SIGUSR1"
           : signo == SIGXCPU ? "SIGXCPU"
           : signo == SIGPWR  ? "SIGPWR"
                              : "signal";
}

static void on_signal(struct sv_super *s, int signo)
{
    if (signo == SIGUSR2 || (signo == SIGUSR1 && s->conf.on_signal == IM_ON_SIGNAL_SAVE))
        sv_request_save(s, signal_name(signo));
    else if (s->finished)
        s->hurry = s->hurry || signo == SIGINT;
    else if (signo == SIGINT && (s->ending.stage != SV_GOING_ON || s->nodes.stop_asked))
        sv_stop_at_once(s, "Ctrl-C");
    else
        sv_request_stop(s, signal_name(signo));
}

void sv_on_message(struct sv_super *s, const struct sv_message *m, int pidfd)
{
    if (sv_ending_on_message(s, m, pidfd))
        return;
    switch (m->type) {
    case SV_SPAWNED:
        on_spawned(s, m, pidfd);
        break;
    case SV_SPAWN_FAILED:
        on_spawn_failed(s, m);
        break;
    case SV_EXITED:
        on_exited(s, m);
        break;
    case SV_SIGNAL:
        on_signal(s, m->status);
        break;
    case SV_STOP:
        sv_request_stop(s, signal_name(m->status));
        break;
    default:
        break;
    }
}

/* A trainer that stands still although all have their input: all are ended. */
void sv_watch_trainers(struct sv_super *s)
{
    const bool stopping = s->ending.stage == SV_SAVING;
    const struct sv_pace *pace;
    char why[160];
    int stuck;

    sv_progress_note(&s->run);
    stuck = sv_progress_look(&s->watch, &s->run, &s->plan, &s->children, stopping, s->conf.trainer_deadline);
    if (stuck < 0 || s->resetting || s->finished || s->ending.stage > SV_SAVING)
        return;
    pace = &s->watch.pace[stuck];
    if (pace->steps)
        snprintf(why, sizeof why,
                 "trainer#%d has finished no step for %.1f s, the slowest of its last steps took %.1f s",
                 stuck, (double)(s->watch.clock.now - pace->since) / 1e9,
                 (double)sv_pace_slowest(pace) / 1e9);
    else
        snprintf(why, sizeof why, "trainer#%d has finished no step for %.1f s since it began", stuck,
                 (double)(s->watch.clock.now - pace->since) / 1e9);
    if (stopping)
        sv_ending_without_trainers(s, why);
    else
        sv_reset(s, why);
}

/* Is its sample under suspicion? Then it is not given to the next one before it is known how this one ended: the
 * warden is about to say it. */
static bool waits_for_status(struct sv_super *s, struct sv_child *child)
{
    if (s->warden_gone)
        return false;
    if (child->dead_since == 0)
        child->dead_since = im_now();
    sv_child_remember(&s->children, child);
    return child->last.active_sample != 0 && sv_blame_points(s->run.control, child->last.active_sample) > 0 &&
           im_now() - child->dead_since < STATUS_WAIT_NS;
}

void sv_on_death_seen(struct sv_super *s, struct sv_child *child)
{
    if (waits_for_status(s, child))
        return;
    sv_child_finalize(&s->children, child);
    if (s->warden_gone) { /* nobody will tell the status */
        if (child->role == IM_ROLE_TRAINER && ++s->trainers_done == s->run.geometry.ranks)
            sv_finish(s, IM_EXIT_RESUMABLE);
        child->last.incarnation = 0;
    }
}

void sv_on_warden_gone(struct sv_super *s)
{
    s->warden_gone = true;
    sv_journal_event(&s->journal, "warden.died", NULL);
    /* It may be the first process to be killed of a machine whose processes all are. */
    if (!sv_nodes_leave(s, "the process of `imsuper start` died"))
        sv_request_stop(s, "the process of `imsuper start` died");
}

/* After a reset: what it cost. The furthest position is read once all are dead. */
static void tell_cost(struct sv_super *s, uint64_t first)
{
    struct im_json *fields;

    if (s->reached == 0)
        return;
    fields = im_json_object();
    im_json_set_int(fields, "next_batch", (int64_t)first);
    im_json_set_int(fields, "repeated_batches", s->reached > first ? (int64_t)(s->reached - first) : 0);
    sv_journal_event(&s->journal, "run.continued", fields);
    s->reached = 0;
}

static uint64_t furthest_batch(const struct sv_super *s)
{
    uint64_t furthest = 0;

    for (uint32_t i = 0; i < s->children.count; i++)
        if (s->children.child[i].role == IM_ROLE_TRAINER && s->children.child[i].last.position > furthest)
            furthest = s->children.child[i].last.position;
    return furthest ? furthest - 1 : 0;
}

/* STARTING -> RUNNING when every trainer has said where it stands. */
static void try_to_run(struct sv_super *s)
{
    uint64_t first = 0;

    for (uint32_t r = 0; r < s->run.geometry.ranks; r++) {
        uint32_t slot = im_run_slot(&s->run, IM_ROLE_TRAINER, r);
        uint64_t position = atomic_load_explicit(&s->run.process[slot].position, memory_order_acquire);

        /* In the entry of one that is not there, the position is that of its predecessor. */
        if (position == 0 || im_process_state(&s->run, slot) != IM_PROCESS_RUN)
            return;
        if (r > 0 && position != first) {
            char why[128];

            snprintf(why, sizeof why,
                     "the trainers disagree on where to continue (batch %" PRIu64 " and %" PRIu64 ")",
                     first - 1, position - 1);
            give_up(s, IM_EXIT_FAILED, false, why);
            return;
        }
        first = position;
    }
    tell_cost(s, first - 1);
    if (atomic_load_explicit(&s->run.control->first_position, memory_order_relaxed) == 0)
        atomic_store_explicit(&s->run.control->first_position, first, memory_order_relaxed);
    im_run_reset(&s->run, &s->plan, first - 1);
    sv_set_state(s, IM_RUN_RUNNING);
    sv_children_want(&s->children, IM_ROLE_READER, true);
    sv_children_want(&s->children, IM_ROLE_AUGMENTER, true);
    sv_children_want(&s->children, IM_ROLE_FETCHER, true);
}

static void start_wanted(struct sv_super *s)
{
    im_ns now = im_now();

    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        /* Not before it is known how the last one ended: a trainer that has saved and left needs no other. A
         * status that the warden could not send is waited for no longer than this. */
        if (child->last.incarnation != 0 && now - child->last.died_at < STATUS_WAIT_NS)
            continue;
        if (child->wanted && child->incarnation == 0 && now >= child->start_at)
            sv_child_start(&s->children, child);
    }
}

/* A killed process is gone at once, unless it hangs in the kernel: then it is reported. */
static void tell_stuck(struct sv_super *s)
{
    if (s->reset_at == 0 || s->watch.clock.now - s->reset_at < RESET_TELL_NS)
        return;
    s->reset_at = 0;
    for (uint32_t i = 0; i < s->children.count; i++) {
        const struct sv_child *child = &s->children.child[i];

        if (child->incarnation != 0)
            sv_screen_warn(
                &s->screen, SV_WARN,
                "%s#%u (pid %d) was killed and is still there (stuck in the kernel?); waiting for it",
                im_role_name(child->role), child->index, child->pid);
    }
}

void sv_advance(struct sv_super *s)
{
    if (s->resetting) {
        tell_stuck(s);
        for (size_t i = 0; i < IM_COUNT(roles); i++)
            if (sv_children_alive(&s->children, roles[i]))
                return;
        s->resetting = false;
        if (furthest_batch(s) > s->reached)
            s->reached = furthest_batch(s);
        if (sv_nodes_allow(s)) /* else when the nodes begin again */
            sv_children_want(&s->children, IM_ROLE_TRAINER, true);
    }
    if (s->finished)
        return;
    if (s->ending.stage != SV_GOING_ON) {
        sv_ending_advance(s);
        return;
    }
    if (im_run_state(&s->run) == IM_RUN_STARTING)
        try_to_run(s);
    try_to_accept(s);
    if (!s->warden_gone)
        start_wanted(s);
}
