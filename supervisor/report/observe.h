/* Looking at a run through its statistics pages: rates, busy shares, and which stage limits. Reads shared
 * memory only, so that any process with the control segment can do it. */
#ifndef SUPERVISOR_REPORT_OBSERVE_H
#define SUPERVISOR_REPORT_OBSERVE_H

#include "ipc/run.h"
#include "ipc/stats.h"
#include "ipc/telemetry.h"
#include "supervisor/report/rate.h"

enum sv_stage { SV_STAGE_READ, SV_STAGE_AUGMENT, SV_STAGE_TRAIN, SV_STAGES };
#define SV_LIMIT_NETWORK SV_STAGES /* as a limit: readers wait for objects of another machine */

/* Shares of the wall time of a stage's processes over the window; they sum to 1 when there were any. */
struct sv_stage_view {
    double busy, wait_input, wait_output;
    double per_second; /* items */
    uint32_t alive;
};

/* Images of another machine. */
struct sv_fetch_view {
    bool is_on;
    double bytes_per_second;
    uint64_t hits, misses, fetched, evicted, bytes; /* tickets; objects; bytes that came */
    double cache_bytes;                             /* that all objects take, of other runs too */
};

struct sv_view {
    struct sv_stage_view stage[SV_STAGES];
    int limit; /* enum sv_stage, SV_LIMIT_NETWORK, or -1 while unknown */
    struct sv_fetch_view fetch;
    double samples_per_second; /* of the trainers, from step to step (rate.h) */
    double counted_per_second; /* the same as it was counted in the last SV_WINDOW_NS */
    uint64_t samples;          /* by rank 0 .. R-1 together, since the data plane began */
    uint64_t next_batch;       /* the trainers' position: lowest of the ranks */
    double gauge[IM_GAUGES];   /* rank 0's */
    uint32_t ready_cells, ready_batches;
    struct im_telemetry gpus;
    double per_gpu; /* images/s of a GPU; 0: there are none, or not known yet */
    double mfu;     /* share of a GPU's peak rate in training; 0: not known */
};

/* Keeps snapshots to compute rates over about SV_WINDOW_NS. Zero-initialise. */
#define SV_WINDOW_NS (5 * IM_SECOND)
#define SV_SNAPSHOTS 32
struct sv_snapshot {
    im_ns at;
    uint64_t time_ns[SV_STAGES][IM_ACTIVITIES];
    uint64_t items[SV_STAGES];
    uint64_t fetched_bytes;
};
struct sv_observer {
    struct sv_snapshot snapshot[SV_SNAPSHOTS];
    uint32_t count;
    struct sv_rate trained;
};

/* Takes a snapshot and fills the view from it and the oldest one in the window. */
void sv_observe(struct sv_observer *o, const struct im_run *run, const struct im_plan *plan,
                struct sv_view *ret);

/* Which stage limits, from the stages' shares. Pure; -1 = unknown. The rule: a trainer that hardly
 * waits is the limit; else the augmenters, unless they wait for files most of the time. */
int sv_limiting_stage(const struct sv_stage_view stage[SV_STAGES]);

const char *sv_stage_name(int stage);

#endif
