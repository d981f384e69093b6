/* Processes that do not go on: stopped, stuck in the kernel, or killed and not dead. Only such a process is
 * ended, never one that waits for others: a reader or augmenter that waits goes round its loop every 50 ms,
 * and says so (im_process.turned_ns). Whether its reads come to an end is another question (reads.c), and how
 * long an image may take as well (guard.c).
 *
 * Time is counted from when the supervisor saw a sign of life last, in turns of its own: while it was stopped
 * itself, with its children or alone, nobody's time runs. */
#include <inttypes.h>
#include <signal.h>

#include "ipc/child.h"
#include "ipc/process.h"
#include "supervisor/super.h"

#define PAUSE_NS IM_SECOND         /* between two turns of this loop: it was stopped */
#define STOPPED_NS (5 * IM_SECOND) /* for one that a user has stopped: no work takes time in that state */
#define UNKILLABLE_AFTER_NS (10 * IM_SECOND) /* since SIGKILL */
#define UNKILLABLE_AT_END_NS (2 * IM_SECOND) /* nobody takes over what it holds */
#define LEAVE_NS                                                                                             \
    (3 * IM_SECOND) /* for readers, augmenters and trainers that never entered the run, when it is over */
#define FAILED_NS                                                                                            \
    (5 * IM_SECOND) /* for a trainer that has said why it fails: files that it closes take 2 s */

bool sv_is_stuck(const struct sv_stall_view *v)
{
    /* One that starts may have to wait for the index or for a core, which hurts nobody but trainers that starve. */
    return v->quiet >= v->timeout && (v->has_turned || v->trainers_starve);
}

/* How long this process has given no sign of life: a trainer finished nothing, another did not turn. */
static im_ns quiet_for(struct sv_super *s, struct sv_child *child, im_ns now)
{
    const struct im_process *entry = &s->run.process[child->slot];
    uint64_t sign = atomic_load_explicit(
        child->role == IM_ROLE_TRAINER ? &entry->progress : &entry->turned_ns, memory_order_relaxed);

    if (child->progress.incarnation != child->incarnation || child->progress.count != sign) {
        child->progress.incarnation = child->incarnation;
        child->progress.count = sign;
        child->progress.since = now;
    }
    return now - child->progress.since;
}

/* Do all trainers wait, and have done so for that long? */
static bool trainers_starve(struct sv_super *s, im_ns now, im_ns timeout)
{
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->role == IM_ROLE_TRAINER &&
            (child->incarnation == 0 || quiet_for(s, child, now) < timeout ||
             atomic_load_explicit(&s->run.stats[child->slot].activity, memory_order_relaxed) !=
                 IM_WAIT_INPUT))
            return false;
    }
    return true;
}

static void end_stuck(struct sv_super *s, struct sv_child *child, im_ns quiet, bool stopped)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "role", im_role_name(child->role));
    im_json_set_int(fields, "index", child->index);
    im_json_set_int(fields, "incarnation", child->incarnation);
    sv_journal_event(&s->journal, "process.stalled", fields);
    child->killed_for = SV_KILL_STALL;
    if (child->role == IM_ROLE_READER) /* perhaps it hangs in the file system; the next one says so */
        atomic_store_explicit(&s->run.control->reads_careful, 1, memory_order_relaxed);
    sv_screen_warn(&s->screen, SV_WARN, "%s#%u gives no sign of life for %.1f s (%s); killing it",
                   im_role_name(child->role), child->index, (double)quiet / 1e9,
                   stopped ? "it is stopped, SIGSTOP" : "stuck?");
    sv_child_kill(child, SIGKILL);
}

/* Nothing of a process runs after SIGKILL but what the kernel does for it, so what it holds can be given to
 * others although it is not dead yet. A read that the kernel still has under way may land in the cell: of the
 * same ticket it is the same bytes, later the hash tells (PROTOCOL.md). */
static void give_up_unkillable(struct sv_super *s, struct sv_child *child, im_ns now)
{
    struct im_json *fields;

    /* While the run goes on, two trainers would write to the same files. */
    if ((child->role == IM_ROLE_TRAINER && s->ending.stage == SV_GOING_ON && !s->finished) ||
        child->incarnation == 0 || child->killed_at == 0 || now < child->killed_at ||
        now - child->killed_at < (s->finished ? UNKILLABLE_AT_END_NS : UNKILLABLE_AFTER_NS))
        return;
    fields = im_json_object();
    im_json_set_str(fields, "role", im_role_name(child->role));
    im_json_set_int(fields, "index", child->index);
    im_json_set_int(fields, "pid", child->pid);
    sv_journal_event(&s->journal, "process.unkillable", fields);
    sv_screen_warn(&s->screen, SV_WARN,
                   "%s#%u (pid %d) was killed %.0f s ago and is not dead: it is stuck in the kernel; going "
                   "on without it",
                   im_role_name(child->role), child->index, child->pid,
                   (double)(now - child->killed_at) / 1e9);
    sv_child_finalize(&s->children, child);
    child->last.incarnation = 0; /* nobody waits for its status */
}

/* The run is over: who hangs does not hold up its end. */
static void end_late(struct sv_super *s, im_ns now)
{
    if (!s->finished)
        return;
    if (s->finished_at == 0)
        s->finished_at = now;
    for (uint32_t i = 0; i < s->children.count && now - s->finished_at > LEAVE_NS; i++)
        if ((s->children.child[i].role != IM_ROLE_TRAINER ||
             im_process_state(&s->run, s->children.child[i].slot) != IM_PROCESS_RUN) &&
            s->children.child[i].killed_at == 0)
            sv_child_kill(&s->children.child[i], SIGKILL);
}

/* A trainer that has failed has nothing to save, and the others wait for it: what it waits for itself (a device
 * that does not answer) is given up. */
static void end_failed(struct sv_super *s, struct sv_child *child, im_ns now, bool paused)
{
    const struct im_process *entry = &s->run.process[child->slot];

    if (child->role != IM_ROLE_TRAINER || child->incarnation == 0 || child->killed_for != SV_KILL_NONE ||
        atomic_load_explicit(&entry->failed, memory_order_relaxed) == 0)
        return;
    if (child->failed_at == 0 || paused)
        child->failed_at = now;
    if (now - child->failed_at < FAILED_NS)
        return;
    child->killed_for = SV_KILL_FAILED;
    sv_screen_warn(&s->screen, SV_WARN, "trainer#%u failed and does not leave; killing it", child->index);
    sv_child_kill(child, SIGKILL);
}

void sv_check_stalls(struct sv_super *s)
{
    im_ns now = im_now(), timeout = (im_ns)s->conf.stall_timeout_ms * IM_MS;
    bool paused = s->stalls_checked != 0 && now - s->stalls_checked > PAUSE_NS, starving;

    for (uint32_t i = 0; paused && i < s->children.count; i++)
        s->children.child[i].progress.since = now;
    s->stalls_checked = now;
    end_late(s, now);
    starving = trainers_starve(s, now, timeout);
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];
        struct sv_stall_view view = {.timeout = timeout, .trainers_starve = starving};
        const struct im_process *entry = &s->run.process[child->slot];
        bool stopped;

        give_up_unkillable(s, child, now);
        end_failed(s, child, now, paused);
        if (child->role == IM_ROLE_TRAINER || child->incarnation == 0 || child->killed_for != SV_KILL_NONE)
            continue;
        view.quiet = quiet_for(s, child, now);
        view.has_turned = atomic_load_explicit(&entry->turned_ns, memory_order_relaxed) != 0;
        stopped = view.quiet >= STOPPED_NS && im_process_letter(child->pid) == 'T';
        if (stopped && timeout > STOPPED_NS)
            view.timeout = STOPPED_NS;
        if (im_run_state(&s->run) == IM_RUN_RUNNING && sv_is_stuck(&view))
            end_stuck(s, child, view.quiet, stopped);
    }
}
