#include "supervisor/blame.h"

#include <signal.h>
#include <sys/wait.h>

#include "ipc/bad_samples.h"
#include "ipc/base/sysinfo.h"
#include "ipc/base/verdict.h"
#include "ipc/child.h"
#include "supervisor/super.h"

enum { POINTS_AGAINST = 6, POINTS_SENT = 1, POINTS_MOST = 12 };

/* Where memory has run out, an image that takes less is a victim and no cause. */
#define NEED_LARGE ((uint64_t)32 << 20)

static const struct {
    const char *name, *sentence;
    uint32_t points;
    enum im_verdict verdict;
} ends[SV_ENDS] = {
    [SV_END_INNOCENT] = {"innocent", "", 0, IM_VERDICT_OK},
    [SV_END_CRASH] = {"crash", "decoding it crashed twice", POINTS_AGAINST, IM_VERDICT_KILLED},
    [SV_END_MEMORY] = {"memory", "memory ran out twice while it was decoded", POINTS_AGAINST,
                       IM_VERDICT_MEMORY_LIMIT},
    [SV_END_WORK] = {"deadline", "decoding it took too much processor time twice (--sample-deadline-ms)",
                     POINTS_AGAINST, IM_VERDICT_DEADLINE},
    [SV_END_HANG] = {"hang", "its augmenter stood still twice (--sample-deadline-ms)", POINTS_AGAINST,
                     IM_VERDICT_DEADLINE},
    [SV_END_SENT] = {"killed", "its augmenter was killed again and again, and no other process", POINTS_SENT,
                     IM_VERDICT_KILLED},
};

const char *sv_end_name(enum sv_end end)
{
    return ends[end].name;
}

const char *sv_end_sentence(enum sv_end end)
{
    return ends[end].sentence;
}

uint32_t sv_end_verdict(enum sv_end end)
{
    return (uint32_t)ends[end].verdict;
}

static bool asked_to_leave(int status)
{
    return status == IM_EXIT_OK || status == IM_EXIT_RESUMABLE || status == IM_EXIT_FENCED ||
           status == IM_EXIT_ORPHANED || status == IM_EXIT_PEER;
}

enum sv_end sv_end_of(const struct sv_evidence *e)
{
    if (e->killed_for == SV_KILL_DEADLINE)
        return SV_END_WORK;
    if (e->killed_for == SV_KILL_HANG)
        return SV_END_HANG;
    if (e->killed_for != SV_KILL_NONE)
        return SV_END_INNOCENT;
    if (!WIFSIGNALED(e->wait_status)) /* with a sample in its hands: a library called exit() */
        return asked_to_leave(WEXITSTATUS(e->wait_status)) ? SV_END_INNOCENT : SV_END_CRASH;
    if (sv_is_own_crash(e->wait_status))
        return e->sent_signal == (uint32_t)WTERMSIG(e->wait_status) ? SV_END_SENT : SV_END_CRASH;
    if (WTERMSIG(e->wait_status) == SIGKILL && e->memory_ran_out && e->need >= NEED_LARGE)
        return SV_END_MEMORY;
    return SV_END_SENT;
}

static uint32_t load(const _Atomic uint32_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void store(_Atomic uint32_t *word, uint32_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static struct im_blame *blame_find(struct im_control *c, uint64_t key)
{
    for (uint32_t i = 0; i < IM_BLAMES; i++)
        if (atomic_load_explicit(&c->blame[i].key, memory_order_relaxed) == key)
            return &c->blame[i];
    return NULL;
}

/* In place of the oldest. A supervisor that dies in between leaves an entry without points. */
static struct im_blame *blame_begin(struct im_control *c, uint64_t key)
{
    uint32_t n = load(&c->blames);
    struct im_blame *b = &c->blame[n % IM_BLAMES];

    store(&c->blames, n + 1);
    store(&b->points, 0);
    store(&b->stray, 0);
    atomic_store_explicit(&b->ticket, 0, memory_order_relaxed);
    atomic_store_explicit(&b->key, key, memory_order_relaxed);
    return b;
}

void sv_blame_stray(struct im_control *c)
{
    for (uint32_t i = 0; i < IM_BLAMES; i++) {
        struct im_blame *b = &c->blame[i];
        uint32_t points = load(&b->points), stray = load(&b->stray);

        if (points >= POINTS_MOST || stray == 0)
            continue;
        store(&b->stray, 0);
        store(&b->points, points > stray ? points - stray : 0);
    }
}

bool sv_blame_note(struct im_control *c, uint64_t key, uint64_t ticket, enum sv_end end)
{
    struct im_blame *b = blame_find(c, key);
    uint32_t points;

    if (ends[end].points == 0 || key == 0)
        return false;
    if (!b || atomic_load_explicit(&b->ticket, memory_order_relaxed) != ticket) {
        sv_blame_stray(c); /* someone else than before */
        b = b ? b : blame_begin(c, key);
        store(&b->points, 0);
        store(&b->stray, 0);
        atomic_store_explicit(&b->ticket, ticket, memory_order_relaxed);
    }
    points = load(&b->points);
    if (end == SV_END_SENT)
        store(&b->stray, load(&b->stray) + POINTS_SENT);
    store(&b->points, points + ends[end].points);
    return points < POINTS_MOST && points + ends[end].points >= POINTS_MOST;
}

uint32_t sv_blame_points(struct im_control *c, uint64_t key)
{
    const struct im_blame *b = blame_find(c, key);

    return b ? load(&b->points) : 0;
}

/* ---- the supervisor's part ---- */

struct im_json *sv_sample_json(uint64_t key, const char *file)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "file", file);
    im_json_set_str(fields, "split", key >> 63 ? "val" : "train");
    im_json_set_int(fields, "sample", (int64_t)((key & ~(UINT64_C(1) << 63)) - 1));
    return fields;
}

uint64_t sv_blame_look(struct im_control *c, uint64_t *ret_before)
{
    uint64_t now = im_oom_kills();

    /* The word is one more: 0, where nobody has looked, becomes "not known". */
    *ret_before = atomic_load_explicit(&c->oom_kills, memory_order_relaxed) - 1;
    atomic_store_explicit(&c->oom_kills, now + 1, memory_order_relaxed);
    return now;
}

void sv_blame_begin(struct im_control *c)
{
    uint64_t before;

    if (atomic_load_explicit(&c->oom_kills, memory_order_relaxed) == 0)
        sv_blame_look(c, &before);
}

/* What is not known is no sign of it. */
static bool memory_ran_out(uint64_t before, uint64_t now)
{
    return before != UINT64_MAX && now != UINT64_MAX && now > before;
}

static void leave_out(struct sv_super *s, uint64_t key, const char *file, enum sv_end end)
{
    struct im_json *fields = sv_sample_json(key, file);

    im_bad_quarantine(&s->run, key, sv_end_verdict(end));
    im_json_set_str(fields, "why", sv_end_name(end));
    sv_journal_event(&s->journal, "sample.quarantined", fields);
    sv_screen_warn(&s->screen, SV_WARN, "%s%s is left out from now on: %s",
                   *s->conf.image_list ? "/" : "", /* those of `imsuper predict` lie below / */
                   file, sv_end_sentence(end));
}

void sv_blame_death(struct sv_super *s, const struct sv_child *child, int wait_status)
{
    struct im_control *c = s->run.control;
    const uint64_t key = child->last.active_sample;
    const struct sv_evidence evidence = {
        .wait_status = wait_status,
        .killed_for = child->last.killed_for,
        .sent_signal = child->last.sent_signal,
        .memory_ran_out = WIFSIGNALED(wait_status) && WTERMSIG(wait_status) == SIGKILL &&
                          memory_ran_out(child->last.oom_kills_before, child->last.oom_kills),
        .need = child->last.active_need,
    };
    enum sv_end end = sv_end_of(&evidence);
    struct im_json *fields;
    bool enough;

    if (evidence.memory_ran_out)
        sv_pixels_on_want_of_memory(s);
    if (child->role != IM_ROLE_AUGMENTER || key == 0 || end == SV_END_INNOCENT) {
        sv_blame_stray(c);
        return;
    }
    enough = sv_blame_note(c, key, child->last.active_ticket, end);
    if (end != SV_END_SENT || sv_blame_points(c, key) > POINTS_SENT) { /* one is nothing to tell */
        fields = sv_sample_json(key, child->last.active_name);
        im_json_set_str(fields, "why", sv_end_name(end));
        sv_journal_event(&s->journal, end == SV_END_SENT ? "sample.suspected" : "sample.blamed", fields);
    }
    if (enough)
        leave_out(s, key, child->last.active_name, end);
}
