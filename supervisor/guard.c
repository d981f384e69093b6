/* What the supervisor watches for on its own: processes that make no progress, and files that could not be
 * used. A heartbeat alone proves nothing, so it looks at held cells. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "ipc/bad_samples.h"
#include "ipc/base/count.h"
#include "ipc/base/verdict.h"
#include "ipc/cell_word.h"
#include "ipc/child.h"
#include "ipc/encoded.h"
#include "ipc/process.h"
#include "supervisor/blame.h"
#include "supervisor/super.h"

static bool holds_a_cell(const struct im_run *run, uint32_t owner)
{
    for (uint32_t cell = 0; cell < run->geometry.encoded_cells; cell++)
        if (im_word_owner(atomic_load_explicit(&run->encoded_word[cell], memory_order_relaxed)) == owner)
            return true;
    return false;
}

/* How long this process has finished nothing. */
static im_ns idle_for(struct sv_super *s, struct sv_child *child, im_ns now)
{
    uint64_t count = atomic_load_explicit(&s->run.process[child->slot].progress, memory_order_relaxed);

    if (child->progress.incarnation != child->incarnation || child->progress.count != count) {
        child->progress.incarnation = child->incarnation;
        child->progress.count = count;
        child->progress.since = now;
    }
    return now - child->progress.since;
}

/* Do all trainers wait, and have done so for that long? */
static bool trainers_starve(struct sv_super *s, im_ns now, im_ns timeout)
{
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->role == IM_ROLE_TRAINER && (child->incarnation == 0 || idle_for(s, child, now) < timeout ||
                                               atomic_load_explicit(&s->run.stats[child->slot].activity,
                                                                    memory_order_relaxed) != IM_WAIT_INPUT))
            return false;
    }
    return true;
}

/* A reader or augmenter that is stopped or stuck, wherever it is: it finishes nothing although it holds a
 * cell, or although the trainers wait. Trainers are not judged: nobody can say how long a step of an unknown
 * network may take. */
static void check_stalls(struct sv_super *s)
{
    im_ns now = im_now(), timeout = (im_ns)s->conf.stall_timeout_ms * IM_MS;
    bool starving = trainers_starve(s, now, timeout);

    for (uint32_t i = 0; i < s->children.count && im_run_state(&s->run) == IM_RUN_RUNNING; i++) {
        struct sv_child *child = &s->children.child[i];
        struct im_json *fields;

        if (child->role == IM_ROLE_TRAINER || child->incarnation == 0 || idle_for(s, child, now) < timeout)
            continue;
        if (!starving && !holds_a_cell(&s->run, child->incarnation))
            continue;
        child->progress.since = now;
        fields = im_json_object();
        im_json_set_str(fields, "role", im_role_name(child->role));
        im_json_set_int(fields, "index", child->index);
        im_json_set_int(fields, "incarnation", child->incarnation);
        sv_journal_event(&s->journal, "process.stalled", fields);
        child->killed_for = SV_KILL_STALL;
        sv_screen_warn(&s->screen, SV_WARN, "%s#%u made no progress for %.1f s; killing it",
                       im_role_name(child->role), child->index, (double)timeout / 1e9);
        sv_child_kill(child, SIGKILL);
    }
}

static void tell_bad_sample(struct sv_super *s, const struct im_bad_entry *bad, uint32_t verdict)
{
    uint64_t key = atomic_load_explicit(&bad->key, memory_order_relaxed);
    char name[IM_NAME_BYTES];
    struct im_json *fields;

    memcpy(name, bad->name, sizeof name);
    name[sizeof name - 1] = 0;
    fields = sv_sample_json(key, name);
    im_json_set_str(fields, "verdict", im_verdict_name(verdict));
    sv_journal_event(&s->journal, "sample.bad", fields);
    sv_screen_warn(&s->screen, SV_WARN, "skipped %s: %s", name, im_verdict_sentence(verdict));
    if (s->conf.on_bad_sample == IM_BAD_SAMPLE_STOP) {
        sv_screen_warn(&s->screen, SV_ERROR, "stopping because of --on-bad-sample stop");
        sv_finish(s, IM_EXIT_BAD_DATA);
    }
}

static void check_bad_samples(struct sv_super *s)
{
    _Atomic uint32_t *told = &s->run.control->bad_told;

    for (uint32_t i; (i = atomic_load_explicit(told, memory_order_relaxed)) < IM_BAD_MAX;) {
        const struct im_bad_entry *bad = &s->run.bad_sample[i];
        uint32_t verdict = atomic_load_explicit(&bad->verdict, memory_order_acquire);

        if (verdict == 0)
            return;
        atomic_store_explicit(told, i + 1, memory_order_relaxed);
        tell_bad_sample(s, bad, verdict);
    }
}

/* Also those for which the table has no room. */
static void check_bad_limit(struct sv_super *s)
{
    uint64_t bad = (uint64_t)atomic_load_explicit(&s->run.control->bad_told, memory_order_relaxed) +
                   atomic_load_explicit(&s->run.control->bad_overflow, memory_order_relaxed);

    if (s->conf.bad_sample_limit == 0 || bad < (uint64_t)s->conf.bad_sample_limit || s->finished)
        return;
    sv_screen_warn(&s->screen, SV_ERROR,
                   "%" PRIu64 " files could not be used; stopping (--bad-sample-limit). See events.jsonl",
                   bad);
    sv_finish(s, IM_EXIT_BAD_DATA);
}

void sv_guard(struct sv_super *s)
{
    sv_check_deadlines(s);
    check_stalls(s);
    check_bad_samples(s);
    check_bad_limit(s);
}
