/* Progress reports of a trainer: gauges in shared memory, metrics files, a message to the supervisor at each
 * epoch's end. */
#ifndef TRAINER_REPORT_H
#define TRAINER_REPORT_H

#include "ipc/child.h"
#include "ipc/ctl.h"
#include "trainer/backends/cuda/telemetry.h"
#include "trainer/checkpoint/position.h"
#include "trainer/metrics.h"
#include "trainer/training_step.h"

#define TR_LINE_EVERY_STEPS 20  /* training steps between two lines of metrics.jsonl */
#define TR_LINE_EACH_UNTIL 1000 /* the first steps have a line each: short runs, and each run's warm-up */

struct tr_report {
    struct im_child *child; /* borrowed */
    struct tr_metrics metrics;
    struct im_ctl *ctl; /* NULL: no supervisor, or it has no socket */
    struct im_ctl_record connected;
    struct tr_gpu_interval stretch;
    bool done_is_old; /* DONE is there and could not be removed */
};

/* Opens the metrics files to continue at `position`. Rank 0 only. */
int tr_report_open(struct tr_report *r, struct im_child *child, const struct tr_position *position,
                   struct im_text *text);
void tr_report_close(struct tr_report *r);

/* Reports the memory of this trainer before it waits for its first batch. */
int tr_report_ready(struct tr_report *r, const struct tr_position *p, const struct tr_network_bytes *network,
                    uint64_t snapshot_bytes, struct im_text *text);

/* After a training step, or one that was skipped. */
int tr_report_step(struct tr_report *r, const struct tr_position *p, const struct tr_step_result *step,
                   struct im_text *text);

/* After an epoch, before its checkpoint. best: TR_BEST_*, what the epoch is the best of. */
int tr_report_epoch(struct tr_report *r, const struct tr_position *p, double lr, bool validated,
                    unsigned best, struct im_text *text);

/* Waits, for a bounded time, until all lines are written; false: they are not. */
bool tr_report_settle(struct tr_report *r);

/* The run is complete. */
int tr_report_done(struct tr_report *r, const struct tr_position *p, struct im_text *text);

#endif
