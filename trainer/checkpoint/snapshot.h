/* When and how the trainer of rank 0 takes snapshots (ipc/snapshot.h): the bytes that a checkpoint's state
 * file would have, in shared memory. They cost a copy of the weights and no disk, so they can be far more
 * frequent than checkpoints; a trainer's death then costs the steps since the last one. */
#ifndef TRAINER_CHECKPOINT_SNAPSHOT_H
#define TRAINER_CHECKPOINT_SNAPSHOT_H

#include "ipc/base/clock.h"
#include "ipc/child.h"
#include "ipc/snapshot.h"
#include "trainer/checkpoint/position.h"
#include "trainer/checkpoint/state.h"

/* Snapshots by time are taken less often than asked for where they would cost more than one part in this many
 * of the time. */
#define TR_SNAPSHOT_SHARE 100

struct tr_snapshot {
    struct im_child *child; /* borrowed; NULL: no snapshots are taken */
    struct im_snapshot memory;
    im_ns interval_ns; /* 0: not by time */
    im_ns due_at;
    uint64_t batches;    /* 0: not by count */
    uint64_t last_batch; /* next batch of the last snapshot or checkpoint */
};

/* Reserves the memory that snapshots of this state need, as the configuration asks for them; nothing where it
 * asks for none, and in other ranks than 0. `position` is any position of this run. -ENOMEM / -ENOSPC with a
 * sentence that says what is needed and how to go without. */
int tr_snapshot_open(struct tr_snapshot *s, struct im_child *child, struct tr_state *state,
                     const struct tr_position_text *position, uint64_t next_batch, struct im_text *text);
void tr_snapshot_close(struct tr_snapshot *s); /* zeroed is fine */

/* Is one to be taken, now that the next batch is this one? */
bool tr_snapshot_is_due(const struct tr_snapshot *s, uint64_t next_batch);

/* Takes one. Negative errno with a sentence: the one before stands. */
int tr_snapshot_take(struct tr_snapshot *s, struct tr_state *state, const struct tr_position_text *position,
                     uint64_t next_batch, struct im_text *text);

/* A checkpoint was saved, which is as good. */
void tr_snapshot_saved(struct tr_snapshot *s, uint64_t next_batch);

#endif
