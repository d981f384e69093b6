/* Snapshots by the trainer of rank 0, and by the first one of each other machine (ipc/snapshot.h): the bytes of a checkpoint's state file, in shared
 * memory. They cost a copy of the weights and no disk access, so they can be far more frequent than
 * checkpoints; the death of a trainer then costs the steps since the last one.
 *
 * A device that has shadows (trainer/backends/shadow.h) goes on with the next step after a copy within its memory. The
 * rest of a snapshot is made beside the steps that follow, and it counts once it is complete. */
#ifndef TRAINER_CHECKPOINT_SNAPSHOT_H
#define TRAINER_CHECKPOINT_SNAPSHOT_H

#include "ipc/base/clock.h"
#include "ipc/child.h"
#include "ipc/snapshot.h"
#include "trainer/checkpoint/position.h"
#include "trainer/checkpoint/state.h"

/* Snapshots by time take at most one part in this many of the time; they are delayed where they would take
 * more. */
#define TR_SNAPSHOT_SHARE 100

/* After a trainer's death the next one takes its first snapshot after its first step and doubles the time to the
 * next one, up to the usual: who dies soon again has made progress. These take at most one part in so many of
 * the time. */
#define TR_SNAPSHOT_EARLY_NS (100 * IM_MS)
#define TR_SNAPSHOT_EARLY_MAX_NS (30 * IM_SECOND) /* where there is no interval */
#define TR_SNAPSHOT_EARLY_SHARE 4

struct tr_snapshot_job;

struct tr_snapshot {
    struct im_child *child; /* borrowed; NULL: no snapshots are taken */
    struct im_snapshot memory;
    im_ns interval_ns; /* 0: not by time */
    im_ns due_at;
    im_ns early_ns;              /* to the next one, after a death; 0: as usual */
    uint64_t batches;            /* 0: not by count */
    uint64_t last_batch;         /* next batch of the last snapshot or checkpoint */
    struct tr_state shadow;      /* of a device that has one; else zeroed */
    struct tr_snapshot_job *job; /* one that is being made beside the steps; NULL: none */
};

/* Reserves the shared memory that snapshots of this state need, as configured; nothing if snapshots are off,
 * or in trainers that are not the first of their machine. `position` is any position of this run. `after_death`: the first ones come early. -ENOMEM / -ENOSPC with a sentence that
 * says what is needed and how to disable snapshots. */
int tr_snapshot_open(struct tr_snapshot *s, struct im_child *child, struct tr_state *state,
                     const struct tr_position_text *position, uint64_t next_batch, bool after_death,
                     struct im_text *text);
void tr_snapshot_close(struct tr_snapshot *s); /* zeroed is fine */

/* Whether a snapshot is due before batch `next_batch`, and none is being made. */
bool tr_snapshot_is_due(const struct tr_snapshot *s, uint64_t next_batch);

/* Whether a snapshot now would hold more than the last snapshot or checkpoint; false if none are taken. */
bool tr_snapshot_is_behind(const struct tr_snapshot *s, uint64_t next_batch);

/* Takes a snapshot; it is complete when this returns. Negative errno with a sentence: the previous one stays valid. */
int tr_snapshot_take(struct tr_snapshot *s, struct tr_state *state, const struct tr_position_text *position,
                     uint64_t next_batch, struct im_text *text);

/* The same, but beside the next steps where it can be: tr_snapshot_advance() then says when it is complete. */
int tr_snapshot_begin(struct tr_snapshot *s, struct tr_state *state, const struct tr_position_text *position,
                      uint64_t next_batch, struct im_text *text);

/* Between steps: takes the one that is being made further, to its end if `wait`. */
int tr_snapshot_advance(struct tr_snapshot *s, bool wait, struct im_text *text);

/* Whether one that is due must be complete before the next step: --snapshot-steps bounds the work that is lost. */
bool tr_snapshot_is_bound(const struct tr_snapshot *s, uint64_t next_batch);

/* Drops what was taken: the state may be wrong. */
void tr_snapshot_forget(struct tr_snapshot *s);

/* Call after a checkpoint was saved, which counts as a snapshot. */
void tr_snapshot_saved(struct tr_snapshot *s, uint64_t next_batch);

#endif
