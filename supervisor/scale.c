/* How many readers and augmenters run: what was asked for, or what scaler.c decides. The wanted numbers are
 * words in shared memory, so that the next supervisor keeps them. A process too many finishes what it holds
 * and leaves (im_process.retire); one that does not leave in time is killed, as one that hangs. */
#include <signal.h>
#include <stdio.h>

#include "ipc/base/sysinfo.h"
#include "ipc/wait.h"
#include "supervisor/scaler.h"
#include "supervisor/super.h"

#define RETIRE_NS (10 * IM_SECOND)
#define WARM_UP_NS (10 * IM_SECOND) /* after a start: caches are cold, and rates mean nothing */

static const enum im_role role_of[SV_SCALED] = {IM_ROLE_READER, IM_ROLE_AUGMENTER};
static const enum sv_stage stage_of[SV_SCALED] = {SV_STAGE_READ, SV_STAGE_AUGMENT};

static void retire(struct sv_super *s, struct sv_child *child)
{
    if (child->incarnation == 0)
        return;
    atomic_store_explicit(&s->run.process[child->slot].retire, child->incarnation, memory_order_relaxed);
    child->retire_by = im_now() + RETIRE_NS;
}

/* Those who wait look again. */
static void wake_workers(struct sv_super *s)
{
    im_event_broadcast(&s->run.control->event_free);
    im_event_broadcast(&s->run.control->event_ready);
}

uint32_t sv_scale_max(const struct sv_super *s, enum im_role role)
{
    return role == IM_ROLE_READER ? s->run.geometry.readers_max : s->run.geometry.augmenters_max;
}

void sv_scale_to(struct sv_super *s, enum im_role role, uint32_t count)
{
    bool working = im_run_state(&s->run) == IM_RUN_RUNNING || im_run_state(&s->run) == IM_RUN_STOPPING;

    atomic_store_explicit(&s->run.control->wanted[role], count, memory_order_release);
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->role == role && child->index >= count) {
            child->wanted = false;
            retire(s, child);
        }
    }
    if (working && !s->resetting && !s->finished)
        sv_children_want(&s->children, role, true);
    wake_workers(s);
}

void sv_scale_set_automatic(struct sv_super *s, enum im_role role, bool automatic)
{
    atomic_store_explicit(&s->run.control->automatic[role], automatic, memory_order_relaxed);
}

void sv_scale_tell(struct sv_super *s, enum im_role role, uint32_t from, uint32_t to, const char *why)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "role", im_role_name(role));
    im_json_set_int(fields, "from", from);
    im_json_set_int(fields, "to", to);
    im_json_set_str(fields, "why", why);
    sv_journal_event(&s->journal, "scale.changed", fields);
    sv_screen_say(&s->screen, "%ss %u -> %u: %s", im_role_name(role), from, to, why);
}

static void say_change(struct sv_super *s, const struct sv_scale_change *c, const struct sv_scale_seen *seen)
{
    char why[160];

    switch (c->why) {
    case SV_SCALE_GROW:
        snprintf(why, sizeof why, "training waits for images %.0f%% of the time", 100 * seen->train_wait);
        break;
    case SV_SCALE_SHRINK:
        snprintf(why, sizeof why, "they are busy %.0f%% of the time and training does not wait for them",
                 100 * seen->stage[c->what].busy);
        break;
    case SV_SCALE_UNDO:
        snprintf(why, sizeof why, "%.0f images/s with %u, %.0f with %u", seen->rate, c->from, c->rate_before,
                 c->to);
        break;
    }
    sv_scale_tell(s, role_of[c->what], c->from, c->to, why);
}

/* GPUs' trainers keep a core each; those of a CPU give theirs away while they wait. */
static uint32_t cores_for_workers(const struct sv_super *s)
{
    uint32_t cores = (uint32_t)im_cpu_count(),
             taken = im_conf_gpu(&s->conf, 0) >= 0 ? s->run.geometry.ranks : 0;

    return cores > taken ? cores - taken : 1;
}

static bool is_steady(struct sv_super *s)
{
    bool runs = im_run_state(&s->run) == IM_RUN_RUNNING && !s->resetting && !s->finished &&
                !sv_is_paused(s) && s->view.stage[SV_STAGE_TRAIN].alive == s->run.geometry.ranks;

    for (int i = 0; i < SV_SCALED && runs; i++)
        runs = s->view.stage[stage_of[i]].alive == sv_children_count(&s->children, role_of[i]);
    if (!runs)
        s->steady_since = 0;
    else if (s->steady_since == 0)
        s->steady_since = im_now();
    return runs && im_now() - s->steady_since >= WARM_UP_NS;
}

static void scale_seen(struct sv_super *s, struct sv_scale_seen *ret)
{
    *ret = (struct sv_scale_seen){.now = im_now(),
                                  .steady = is_steady(s) && s->view.limit != SV_LIMIT_NETWORK,
                                  .cores = s->cores,
                                  .augment_wait = s->view.stage[SV_STAGE_AUGMENT].wait_input,
                                  .train_wait = s->view.stage[SV_STAGE_TRAIN].wait_input,
                                  .rate = s->view.counted_per_second};
    for (int i = 0; i < SV_SCALED; i++) {
        ret->stage[i].count = sv_children_count(&s->children, role_of[i]);
        ret->stage[i].max = sv_scale_max(s, role_of[i]);
        ret->stage[i].automatic =
            atomic_load_explicit(&s->run.control->automatic[role_of[i]], memory_order_relaxed) != 0;
        ret->stage[i].busy = s->view.stage[stage_of[i]].busy;
    }
}

static void end_overdue(struct sv_super *s)
{
    im_ns now = im_now();

    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->incarnation == 0 || child->role == IM_ROLE_TRAINER ||
            atomic_load_explicit(&s->run.process[child->slot].retire, memory_order_relaxed) !=
                child->incarnation)
            continue;
        if (child->retire_by == 0) /* retired by the supervisor before us */
            child->retire_by = now + RETIRE_NS;
        if (now < child->retire_by)
            continue;
        child->retire_by = now + RETIRE_NS;
        sv_screen_warn(&s->screen, SV_WARN, "%s#%u does not leave; killing it", im_role_name(child->role),
                       child->index);
        if (child->killed_for == SV_KILL_NONE)
            child->killed_for = SV_KILL_LATE;
        sv_child_kill(child, SIGKILL);
    }
}

/* A supervisor that died between the word and the processes. */
static void complete(struct sv_super *s)
{
    for (uint32_t i = 0; i < s->children.count; i++) {
        struct sv_child *child = &s->children.child[i];

        if (child->role != IM_ROLE_TRAINER && child->incarnation != 0 && child->retire_by == 0 &&
            child->index >= sv_children_count(&s->children, child->role))
            retire(s, child);
    }
}

void sv_scale_restart(struct sv_super *s, struct sv_child *child)
{
    retire(s, child);
    wake_workers(s);
}

void sv_on_retired(struct sv_super *s, struct sv_child *child)
{
    struct im_json *fields = im_json_object();

    im_json_set_str(fields, "role", im_role_name(child->role));
    im_json_set_int(fields, "index", child->index);
    im_json_set_int(fields, "pid", child->last.pid);
    im_json_set_str(fields, "why", child->wanted ? "restart" : "scale");
    sv_journal_event(&s->journal, "process.left", fields);
    if (child->wanted)
        atomic_fetch_add_explicit(&s->run.process[child->slot].restarts, 1, memory_order_relaxed);
    child->start_at = 0;
}

void sv_scale(struct sv_super *s)
{
    struct sv_scale_seen seen;
    struct sv_scale_change change;

    if (s->cores == 0)
        s->cores = cores_for_workers(s);
    complete(s);
    end_overdue(s);
    scale_seen(s, &seen);
    if (!sv_scaler_decide(&s->scaler, &seen, &change))
        return;
    say_change(s, &change, &seen);
    sv_scale_to(s, role_of[change.what], change.to);
}
