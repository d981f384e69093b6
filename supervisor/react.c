/* What the supervisor does when something happened. The rules, by role:
 *
 * reader, augmenter: dead in any way, its cells go back at once and another starts; the run never notices.
 *
 * trainer: left with 0 or, when asked to stop, with RESUMABLE, it is done. Left with an error of its own, the
 * run ends with that status. Killed, all go back to the last snapshot or checkpoint (a reset of the data
 * plane).
 *
 * A slot that dies again and again while the run makes no progress at all ends the run. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base/count.h"
#include "ipc/child.h"
#include "ipc/process.h"
#include "ipc/wait.h"
#include "supervisor/blame.h"
#include "supervisor/report/rundir.h"
#include "supervisor/super.h"

#define STATUS_WAIT_NS IM_SECOND

#define SV_UNREADY_DELAY_NS                                                                                  \
    (50 * IM_MS) /* whoever dies before it is ready may do so again: no busy forking */

static const enum im_role roles[] = {IM_ROLE_READER, IM_ROLE_AUGMENTER, IM_ROLE_TRAINER};

const char *sv_state_name(const struct sv_super *s)
{
    const struct im_phase *phase = im_plan_phase_of_batch(&s->plan, s->view.next_batch);

    if (s->resetting)
        return "resetting";
    switch (im_run_state(&s->run)) {
    case IM_RUN_STARTING:
        return "starting";
    case IM_RUN_STOPPING:
        return "stopping";
    case IM_RUN_ENDED:
        return "ending";
    default:
        return phase && phase->split == IM_VAL ? "validating" : "training";
    }
}

static void set_state(struct sv_super *s, enum im_run_state state)
{
    atomic_store_explicit(&s->run.control->run_state, state, memory_order_release);
    im_event_broadcast(&s->run.control->event_run);
    im_event_broadcast(&s->run.control->event_free);
    im_event_broadcast(&s->run.control->event_ready);
    for (uint32_t r = 0; r < s->run.geometry.ranks; r++)
        im_event_broadcast(&s->run.control->event_done[r]);
}

void sv_finish(struct sv_super *s, int exit_status)
{
    if (s->finished)
        return;
    s->finished = true;
    s->exit_status = exit_status;
    atomic_store_explicit(&s->run.control->exit_status, (uint32_t)exit_status, memory_order_relaxed);
    for (size_t i = 0; i < IM_COUNT(roles); i++)
        sv_children_want(&s->children, roles[i], false);
    sv_rundir_withdraw(s->conf.run_dir);
    set_state(s, IM_RUN_ENDED);
}

/* Does a trainer still load, or plan, what it was started with? Then no step was taken since, for it takes
 * all of them; and without a reset what they have is on disk. */
static bool nothing_is_trained(const struct sv_super *s)
{
    if (atomic_load_explicit(&s->run.control->generation, memory_order_relaxed) > 1)
        return false;
    for (uint32_t i = 0; i < s->run.geometry.ranks; i++) {
        uint32_t slot = im_run_slot(&s->run, IM_ROLE_TRAINER, i);

        if (atomic_load_explicit(&s->run.process[slot].ready_ns, memory_order_acquire) == 0)
            return true;
    }
    return false;
}

void sv_request_stop(struct sv_super *s, const char *why)
{
    enum im_run_state state = im_run_state(&s->run);

    if (state == IM_RUN_STOPPING || state == IM_RUN_ENDED)
        return;
    sv_screen_say(&s->screen,
                  "%s: finishing the step and saving; Ctrl-C or `imsuper stop --now` stops at once", why);
    sv_journal_event(&s->journal, "run.stopping", NULL);
    if (state == IM_RUN_STARTING || nothing_is_trained(s)) { /* since the last checkpoint */
        sv_finish(s, IM_EXIT_RESUMABLE);
        return;
    }
    set_state(s, IM_RUN_STOPPING);
}

void sv_stop_at_once(struct sv_super *s, const char *why)
{
    sv_screen_say(&s->screen, "%s: stopping at once; the last checkpoint remains", why);
    sv_finish(s, IM_EXIT_FORCED);
}

void sv_reset(struct sv_super *s, const char *why)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "why", why);
    sv_journal_event(&s->journal, "run.reset", fields);
    sv_screen_warn(&s->screen, SV_WARN, "going back to the last snapshot or checkpoint: %s", why);
    s->resetting = true;
    s->trainers_done = 0;
    set_state(s, IM_RUN_STARTING);
    for (size_t i = 0; i < IM_COUNT(roles); i++)
        sv_children_want(&s->children, roles[i], false);
    for (uint32_t i = 0; i < s->children.count; i++) {
        /* Also of one that is dead already: its status may come after the reset. */
        s->children.child[i].ended_by_reset = s->children.child[i].last.ended_by_reset = true;
        sv_child_kill(&s->children.child[i], SIGKILL);
    }
}

static void report_death(struct sv_super *s, const struct sv_child *child, int wait_status, bool goes_on)
{
    struct im_json *fields = im_json_object();
    char end[64];

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
    sv_screen_warn(&s->screen, SV_WARN, "%s#%u (pid %d) died: %s%s", im_role_name(child->role), child->index,
                   child->last.pid,
                   WIFEXITED(wait_status) && s->journal.last_reason[0]
                       ? s->journal.last_reason
                       : sv_describe_end(wait_status, end, sizeof end),
                   child->role == IM_ROLE_TRAINER ? "" : "; starting another, no sample lost");
}

static void give_up(struct sv_super *s, const struct sv_child *child, int wait_status)
{
    char end[64];
    int status =
        WIFEXITED(wait_status) && WEXITSTATUS(wait_status) ? WEXITSTATUS(wait_status) : IM_EXIT_FAILED;

    sv_journal_drain(&s->journal);
    if (WIFEXITED(wait_status) && s->journal.last_reason[0])
        sv_screen_warn(&s->screen, SV_ERROR, "%s", s->journal.last_reason);
    else
        sv_screen_warn(&s->screen, SV_ERROR, "%s#%u keeps failing: %s; see log.txt",
                       im_role_name(child->role), child->index,
                       sv_describe_end(wait_status, end, sizeof end));
    sv_finish(s, status);
}

/* A trainer's end, when it is one that was asked for; true then. */
static bool trainer_left(struct sv_super *s, int wait_status)
{
    bool stopping = im_run_state(&s->run) == IM_RUN_STOPPING;
    int status = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -1;

    if (status != IM_EXIT_OK && !(stopping && status == IM_EXIT_RESUMABLE))
        return false;
    if (++s->trainers_done == s->run.geometry.ranks)
        sv_finish(s, status);
    return true;
}

/* What forgives earlier deaths. For a trainer only a batch that none before it had reached: going back to the
 * checkpoint and over the same batches again would forgive for ever. */
static uint64_t progress_of(const struct sv_super *s, const struct sv_child *child)
{
    if (child->role != IM_ROLE_TRAINER)
        return s->view.samples;
    return child->last.position > child->tally.progress ? child->last.position : child->tally.progress;
}

/* It left by itself with an error that the next one would meet again: before it was ready (a flag, a file),
 * or a trainer at any time (a full disk). */
static bool names_its_error(const struct sv_child *child, int wait_status)
{
    if (!WIFEXITED(wait_status) || WEXITSTATUS(wait_status) == IM_EXIT_FENCED ||
        WEXITSTATUS(wait_status) == IM_EXIT_ORPHANED || WEXITSTATUS(wait_status) == IM_EXIT_PEER)
        return false;
    return !child->last.was_ready || child->role == IM_ROLE_TRAINER;
}

/* Once for each death. */
static void blame(struct sv_super *s, struct sv_child *child, int wait_status)
{
    if (s->finished || s->resetting || child->last.ended_by_reset || child->last.blamed)
        return;
    child->last.blamed = true;
    sv_blame_death(s, child, wait_status);
}

static void on_exit_status(struct sv_super *s, struct sv_child *child, int wait_status)
{
    bool hopeless = names_its_error(child, wait_status);
    enum sv_verdict verdict;
    im_ns delay;

    blame(s, child, wait_status);
    if (s->finished || s->resetting || child->last.ended_by_reset)
        return;
    if (child->role == IM_ROLE_TRAINER && trainer_left(s, wait_status)) {
        child->wanted = false;
        return;
    }
    atomic_fetch_add_explicit(&s->run.control->deaths, 1, memory_order_relaxed);
    verdict = sv_tally_death(&child->tally, progress_of(s, child), hopeless, (uint32_t)s->conf.max_restarts,
                             &delay);
    report_death(s, child, wait_status, verdict == SV_RESTART);
    if (verdict == SV_GIVE_UP) {
        give_up(s, child, wait_status);
        return;
    }
    if (!child->last.was_ready && delay < SV_UNREADY_DELAY_NS)
        delay = SV_UNREADY_DELAY_NS;
    atomic_fetch_add_explicit(&s->run.process[child->slot].restarts, 1, memory_order_relaxed);
    child->start_at = im_now() + delay;
    if (child->role == IM_ROLE_TRAINER) {
        if (im_run_state(&s->run) == IM_RUN_STOPPING)
            sv_finish(s, IM_EXIT_RESUMABLE); /* it died while saving: the checkpoint before stands */
        else
            sv_reset(s, "a trainer died");
    }
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
    if (s->resetting || s->finished)
        sv_child_kill(child, SIGKILL);
}

static void on_spawn_failed(struct sv_super *s, const struct sv_message *m)
{
    struct sv_child *child = sv_child_by_incarnation(&s->children, m->incarnation);
    im_ns delay;

    if (!child)
        return;
    sv_child_finalize(&s->children, child);
    child->last.incarnation = 0;
    sv_screen_warn(&s->screen, SV_ERROR, "cannot start %s#%u: %s", im_role_name(child->role), child->index,
                   strerror(-m->status));
    if (sv_tally_death(&child->tally, s->view.samples, false, (uint32_t)s->conf.max_restarts, &delay) ==
        SV_GIVE_UP)
        sv_finish(s, IM_EXIT_FAILED);
    child->start_at = im_now() + delay;
}

void sv_on_message(struct sv_super *s, const struct sv_message *m, int pidfd)
{
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
        if (m->status == SIGUSR2)
            atomic_fetch_add_explicit(&s->run.control->save_requests, 1, memory_order_release);
        else if (m->status == SIGINT && im_run_state(&s->run) == IM_RUN_STOPPING)
            sv_stop_at_once(s, "Ctrl-C");
        else
            sv_request_stop(s, m->status == SIGINT ? "Ctrl-C" : "signal");
        break;
    default:
        break;
    }
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
    sv_request_stop(s, "the warden process died");
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
            sv_screen_warn(&s->screen, SV_ERROR,
                           "the trainers disagree on where to continue (batch %" PRIu64 " and %" PRIu64 ")",
                           first - 1, position - 1);
            sv_finish(s, IM_EXIT_FAILED);
            return;
        }
        first = position;
    }
    tell_cost(s, first - 1);
    sv_rundir_accept(s->conf.run_dir);
    im_run_reset(&s->run, &s->plan, first - 1);
    set_state(s, IM_RUN_RUNNING);
    sv_children_want(&s->children, IM_ROLE_READER, true);
    sv_children_want(&s->children, IM_ROLE_AUGMENTER, true);
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

void sv_advance(struct sv_super *s)
{
    if (s->resetting) {
        for (size_t i = 0; i < IM_COUNT(roles); i++)
            if (sv_children_alive(&s->children, roles[i]))
                return;
        s->resetting = false;
        if (furthest_batch(s) > s->reached)
            s->reached = furthest_batch(s);
        sv_children_want(&s->children, IM_ROLE_TRAINER, true);
    }
    if (s->finished)
        return;
    if (im_run_state(&s->run) == IM_RUN_STARTING)
        try_to_run(s);
    if (!s->warden_gone)
        start_wanted(s);
}
