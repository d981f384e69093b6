/* Pausing, restarting on request, and the time limit: what users ask of a run that goes on. The requests are
 * words in shared memory, so that the next supervisor continues them. */
#include <math.h>
#include <stdio.h>

#include "ipc/process.h"
#include "ipc/wait.h"
#include "supervisor/super.h"
#include "supervisor/time_limit.h"

#define RESTART_WAIT_NS (60 * IM_SECOND) /* for a trainer that does not come to the end of its step */

bool sv_is_paused(const struct sv_super *s)
{
    return atomic_load_explicit(&s->run.control->paused, memory_order_relaxed) != 0;
}

void sv_pause(struct sv_super *s, bool paused)
{
    if (paused == sv_is_paused(s))
        return;
    atomic_store_explicit(&s->run.control->paused, paused, memory_order_release);
    im_event_broadcast(&s->run.control->event_run);
    for (uint32_t r = 0; r < s->run.geometry.ranks; r++)
        im_event_broadcast(&s->run.control->event_done[r]);
    sv_journal_event(&s->journal, paused ? "run.paused" : "run.resumed", NULL);
    sv_screen_say(&s->screen, "%s",
                  paused ? "paused    training waits after this step; `imsuper resume` continues"
                         : "resumed");
}

/* Without snapshots a checkpoint is asked for in their place. */
static bool has_snapshots(const struct sv_super *s)
{
    return s->conf.snapshot_interval > 0 || s->conf.snapshot_steps > 0;
}

static _Atomic uint32_t *requests_of(struct sv_super *s)
{
    return has_snapshots(s) ? &s->run.control->snapshot_requests : &s->run.control->save_requests;
}

static uint32_t answered(struct sv_super *s)
{
    return atomic_load_explicit(has_snapshots(s) ? &s->run.control->snapshot_answers
                                                 : &s->run.control->save_answers,
                                memory_order_acquire);
}

bool sv_restart_trainers(struct sv_super *s)
{
    struct im_control *c = s->run.control;
    uint32_t request;

    if (im_run_state(&s->run) != IM_RUN_RUNNING || s->resetting || s->finished)
        return false;
    if (atomic_load_explicit(&c->trainer_restart, memory_order_relaxed) != 0)
        return true; /* it is under way */
    request = atomic_fetch_add_explicit(requests_of(s), 1, memory_order_release) + 1;
    atomic_store_explicit(&c->trainer_restart, request, memory_order_relaxed);
    im_event_broadcast(&c->event_run);
    return true;
}

void sv_restart_turn(struct sv_super *s)
{
    struct im_control *c = s->run.control;
    uint32_t request = atomic_load_explicit(&c->trainer_restart, memory_order_relaxed);
    bool saved = answered(s) >= request;

    if (request == 0)
        return;
    if (im_run_state(&s->run) != IM_RUN_RUNNING || s->resetting || s->finished) {
        /* They start again anyway, or the run ends. */
        atomic_store_explicit(&c->trainer_restart, 0, memory_order_relaxed);
        s->restart_by = 0;
        return;
    }
    if (s->restart_by == 0)
        s->restart_by = im_now() + RESTART_WAIT_NS;
    if (!saved && im_now() < s->restart_by)
        return;
    atomic_store_explicit(&c->trainer_restart, 0, memory_order_relaxed);
    s->restart_by = 0;
    sv_reset(s, saved ? "imsuper restart trainer"
                      : "imsuper restart trainer; the trainer did not come to the end of its step in 60 s");
}

void sv_request_save(struct sv_super *s, const char *who)
{
    if (sv_nodes_is_member(s)) {
        sv_screen_say(&s->screen, "%s: node 0 saves checkpoints: ask there", who);
        return;
    }
    atomic_fetch_add_explicit(&s->run.control->save_requests, 1, memory_order_release);
    im_event_broadcast(&s->run.control->event_run);
    sv_screen_say(&s->screen, "%s: saving a checkpoint after this step", who);
}

/* What saving took, or may take, and a step: from what the trainer of rank 0 says. */
static struct sv_time_limit_seen time_limit_seen(struct sv_super *s)
{
    uint32_t slot = im_run_slot(&s->run, IM_ROLE_TRAINER, 0);
    struct im_stats_view stats;

    im_stats_read(&s->run.stats[slot], im_now(), &stats);
    return (struct sv_time_limit_seen){
        .limit = s->time_limit,
        .elapsed = (double)(im_now() - s->run.control->created_ns) / 1e9,
        .save = stats.gauge[IM_G_SAVE_SECONDS],
        .state_bytes = stats.gauge[IM_G_SNAPSHOT_BYTES] / 2,
        .step = (double)im_stats_quantile(&s->run.stats[slot], IM_H_ITEM, 0.99) / 1e9};
}

void sv_check_time_limit(struct sv_super *s)
{
    struct sv_time_limit_seen seen;
    char why[160], left[24];

    if (s->time_limit <= 0 || s->finished || im_run_state(&s->run) == IM_RUN_STOPPING)
        return;
    seen = time_limit_seen(s);
    if (!sv_time_limit_is_near(&seen))
        return;
    sv_format_seconds(fmax(0, seen.limit - seen.elapsed), left, sizeof left);
    snprintf(why, sizeof why, "--time-limit %.24s: %s left, a step and saving may take %.1f s",
             s->conf.time_limit, left, sv_time_limit_reserve(&seen));
    sv_request_stop(s, why);
}
