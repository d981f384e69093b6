#include "supervisor/report/observe.h"

#include "ipc/batch.h"
#include "ipc/encoded.h"
#include "ipc/process.h"

/* A stage that waits less than this for its input is kept busy by the stage before it. */
#define SATISFIED 0.10

static const enum im_role role_of[SV_STAGES] = {IM_ROLE_READER, IM_ROLE_AUGMENTER, IM_ROLE_TRAINER};

const char *sv_stage_name(int stage)
{
    static const char *const names[SV_STAGES + 1] = {"read", "augment", "train", "network"};

    return stage >= 0 && stage <= SV_LIMIT_NETWORK ? names[stage] : "?";
}

int sv_limiting_stage(const struct sv_stage_view stage[SV_STAGES])
{
    const struct sv_stage_view *train = &stage[SV_STAGE_TRAIN], *augment = &stage[SV_STAGE_AUGMENT];

    if (train->busy + train->wait_input <= 0)
        return -1;
    if (train->wait_input < SATISFIED)
        return SV_STAGE_TRAIN;
    if (augment->alive == 0)
        return -1;
    return augment->wait_input > augment->busy ? SV_STAGE_READ : SV_STAGE_AUGMENT;
}

static uint32_t count_of(const struct im_geometry *g, int stage)
{
    return stage == SV_STAGE_READ ? g->readers_max : stage == SV_STAGE_AUGMENT ? g->augmenters_max : g->ranks;
}

static void add_process(const struct im_run *run, int stage, uint32_t index, struct sv_snapshot *snap,
                        struct sv_view *view)
{
    uint32_t slot = im_run_slot(run, role_of[stage], index);
    struct im_stats_view stats;

    im_stats_read(&run->stats[slot], snap->at, &stats);
    for (int a = 0; a < IM_ACTIVITIES; a++)
        snap->time_ns[stage][a] += stats.time_ns[a];
    snap->items[stage] += stats.counter[IM_C_SAMPLES];
    view->stage[stage].alive += im_process_state(run, slot) == IM_PROCESS_RUN;
    if (stage == SV_STAGE_TRAIN && index == 0)
        for (int g = 0; g < IM_GAUGES; g++)
            view->gauge[g] = stats.gauge[g];
}

static void fill_shares(const struct sv_snapshot *from, const struct sv_snapshot *to, int stage,
                        struct sv_stage_view *ret)
{
    double part[IM_ACTIVITIES], total = 0, seconds = (double)(to->at - from->at) / 1e9;

    for (int a = 0; a < IM_ACTIVITIES; a++) {
        /* A restarted process may count less than before: never negative. */
        part[a] = to->time_ns[stage][a] > from->time_ns[stage][a]
                      ? (double)(to->time_ns[stage][a] - from->time_ns[stage][a])
                      : 0;
        /* Before it is ready, after it left, while the run is paused: no time of the stage. */
        total += a == IM_IDLE ? 0 : part[a];
    }
    if (total <= 0 || seconds <= 0)
        return;
    ret->busy = (part[IM_WORK] + part[IM_WAIT_IO]) / total;
    ret->wait_input = part[IM_WAIT_INPUT] / total;
    ret->wait_output = part[IM_WAIT_OUTPUT] / total;
    ret->per_second =
        to->items[stage] > from->items[stage] ? (double)(to->items[stage] - from->items[stage]) / seconds : 0;
}

/* What the fetcher has done, in all its lives. */
static void look_at_fetcher(const struct im_run *run, struct sv_snapshot *snap, struct sv_fetch_view *ret)
{
    struct im_stats_view stats;

    if (run->geometry.fetchers == 0)
        return;
    im_stats_read(&run->stats[im_run_slot(run, IM_ROLE_FETCHER, 0)], snap->at, &stats);
    *ret = (struct sv_fetch_view){.is_on = true,
                                  .hits = stats.counter[IM_C_HITS],
                                  .misses = stats.counter[IM_C_MISSES],
                                  .fetched = stats.counter[IM_C_SAMPLES],
                                  .evicted = stats.counter[IM_C_EVICTED],
                                  .bytes = stats.counter[IM_C_BYTES],
                                  .cache_bytes = stats.gauge[IM_G_CACHE_BYTES]};
    snap->fetched_bytes = ret->bytes;
}

/* Readers that mostly wait for objects. */
static bool network_limits(const struct sv_view *view)
{
    const struct sv_stage_view *read = &view->stage[SV_STAGE_READ];

    return view->fetch.is_on && view->limit == SV_STAGE_READ && read->wait_input > read->busy;
}

static const struct sv_snapshot *oldest_in_window(const struct sv_observer *o, im_ns now)
{
    const struct sv_snapshot *best = NULL;
    uint32_t kept = o->count < SV_SNAPSHOTS ? o->count : SV_SNAPSHOTS;

    for (uint32_t i = 0; i < kept; i++)
        if (now - o->snapshot[i].at <= SV_WINDOW_NS && (!best || o->snapshot[i].at < best->at))
            best = &o->snapshot[i];
    return best;
}

static uint64_t lowest_position(const struct im_run *run)
{
    uint64_t lowest = 0;

    for (uint32_t r = 0; r < run->geometry.ranks; r++) {
        uint64_t position = atomic_load_explicit(&run->process[im_run_slot(run, IM_ROLE_TRAINER, r)].position,
                                                 memory_order_acquire);

        if (r == 0 || position < lowest)
            lowest = position;
    }
    return lowest ? lowest - 1 : 0;
}

static bool is_training(const struct im_plan *plan, uint64_t batch)
{
    const struct im_phase *phase = im_plan_phase_of_batch(plan, batch);

    return phase && phase->split == IM_TRAIN;
}

void sv_observe(struct sv_observer *o, const struct im_run *run, const struct im_plan *plan,
                struct sv_view *ret)
{
    struct sv_snapshot now = {.at = im_now()};
    const struct sv_snapshot *from;

    *ret = (struct sv_view){.limit = -1};
    for (int stage = 0; stage < SV_STAGES; stage++)
        for (uint32_t i = 0; i < count_of(&run->geometry, stage); i++)
            add_process(run, stage, i, &now, ret);
    look_at_fetcher(run, &now, &ret->fetch);
    from = oldest_in_window(o, now.at);
    if (from) {
        for (int stage = 0; stage < SV_STAGES; stage++)
            fill_shares(from, &now, stage, &ret->stage[stage]);
        ret->limit = sv_limiting_stage(ret->stage);
        if (network_limits(ret))
            ret->limit = SV_LIMIT_NETWORK;
        if (now.at > from->at && now.fetched_bytes > from->fetched_bytes)
            ret->fetch.bytes_per_second =
                (double)(now.fetched_bytes - from->fetched_bytes) * 1e9 / (double)(now.at - from->at);
    }
    /* Snapshots are thinned so that SV_SNAPSHOTS of them span the window, however often this is called. */
    if (o->count == 0 ||
        now.at - o->snapshot[(o->count - 1) % SV_SNAPSHOTS].at >= SV_WINDOW_NS / (SV_SNAPSHOTS - 2))
        o->snapshot[o->count++ % SV_SNAPSHOTS] = now;
    ret->counted_per_second = ret->stage[SV_STAGE_TRAIN].per_second;
    ret->samples_per_second = sv_rate_take(&o->trained, now.at, now.items[SV_STAGE_TRAIN], SV_WINDOW_NS);
    ret->stage[SV_STAGE_TRAIN].per_second = ret->samples_per_second;
    ret->samples = now.items[SV_STAGE_TRAIN];
    im_telemetry_read(run, &ret->gpus);
    if (ret->gpus.gpus > 0)
        ret->per_gpu = ret->samples_per_second / run->geometry.ranks;
    ret->next_batch = lowest_position(run);
    ret->mfu = is_training(plan, ret->next_batch) ? ret->per_gpu * ret->gpus.ideal_s : 0;
    ret->ready_cells = im_encoded_count(run, IM_READY);
    for (uint32_t r = 0; r < run->geometry.ranks; r++)
        ret->ready_batches += im_batch_ready_count(run, plan, r, ret->next_batch);
}
