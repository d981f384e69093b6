#include "supervisor/progress.h"

#include "ipc/batch.h"
#include "ipc/process.h"

/* A turn of the supervisor's loop takes no longer, when it runs at all. */
#define TURN_MAX_NS (250 * IM_MS)

static uint64_t position_of(const struct im_run *run, uint32_t rank)
{
    return atomic_load_explicit(&run->process[im_run_slot(run, IM_ROLE_TRAINER, rank)].position,
                                memory_order_acquire);
}

void sv_progress_note(struct im_run *run)
{
    _Atomic uint64_t *furthest = &run->control->furthest_position;
    uint64_t known = atomic_load_explicit(furthest, memory_order_relaxed), largest = known;

    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        if (position_of(run, r) > largest)
            largest = position_of(run, r);
    if (largest != known)
        atomic_store_explicit(furthest, largest, memory_order_relaxed);
}

bool sv_progress_made(const struct im_run *run)
{
    uint64_t first = atomic_load_explicit(&run->control->first_position, memory_order_relaxed);

    return first != 0 && atomic_load_explicit(&run->control->furthest_position, memory_order_relaxed) > first;
}

static bool has_input(const struct im_run *run, const struct im_plan *plan, uint32_t rank)
{
    uint64_t position = position_of(run, rank), next = position - 1;

    if (position == 0 || next >= plan->batches)
        return position != 0;
    return im_batch_was_done(run, rank, next, im_plan_batch_count(plan, next, rank));
}

bool sv_progress_possible(const struct im_run *run, const struct im_plan *plan)
{
    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        if (im_process_state(run, im_run_slot(run, IM_ROLE_TRAINER, r)) != IM_PROCESS_RUN ||
            !has_input(run, plan, r))
            return false;
    return true;
}

/* On several machines a trainer may wait for others, whose data nobody here sees. */
static bool waits_for_others(const struct im_run *run, uint32_t slot)
{
    return run->world > run->geometry.ranks &&
           atomic_load_explicit(&run->stats[slot].activity, memory_order_relaxed) == IM_IDLE;
}

static bool anyone_saves(const struct im_run *run)
{
    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        if (atomic_load_explicit(&run->stats[im_run_slot(run, IM_ROLE_TRAINER, r)].activity,
                                 memory_order_relaxed) == IM_WAIT_IO)
            return true;
    return false;
}

int sv_progress_look(struct sv_progress_watch *w, const struct im_run *run, const struct im_plan *plan,
                     const struct sv_children *children, bool stopping, double seconds)
{
    const im_ns now = sv_clock_turn(&w->clock, im_now(), TURN_MAX_NS);
    /* The rings are set only while the run goes on; before, trainers load and plan. */
    const bool has_work = im_run_state(run) != IM_RUN_RUNNING || sv_progress_possible(run, plan);
    const bool saving = anyone_saves(run);
    const bool paused = atomic_load_explicit(&run->control->paused, memory_order_relaxed) != 0;
    const double chosen = stopping && seconds == 0 ? -1 : seconds; /* nothing waits for ever for an end */
    int stuck = -1;

    for (uint32_t i = 0; i < children->count; i++) {
        const struct sv_child *child = &children->child[i];
        const struct im_process *entry = &run->process[child->slot];
        struct sv_pace *pace = &w->pace[child->index];
        im_ns waited;

        if (child->role != IM_ROLE_TRAINER || child->incarnation == 0)
            continue;
        waited = sv_pace_see(pace,
                             &(struct sv_pace_seen){
                                 .incarnation = child->incarnation,
                                 .position = atomic_load_explicit(&entry->position, memory_order_acquire),
                                 .progress = atomic_load_explicit(&entry->progress, memory_order_relaxed),
                                 .has_work = has_work && !waits_for_others(run, child->slot),
                                 .paused = paused,
                             },
                             now);
        /* Whoever saves gives signs of life, however slow the disk is. */
        if (waited > (stopping ? sv_pace_stop_bound(pace, saving ? -1 : chosen)
                               : sv_pace_bound(pace, chosen, saving)) &&
            (stuck < 0 || w->pace[stuck].since > pace->since))
            stuck = (int)child->index;
    }
    return stuck;
}
