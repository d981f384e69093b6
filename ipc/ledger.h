/* The ledger: proof that each sample of a pass was delivered exactly once. Written by trainers as they
 * consume, read by all.
 *
 * A pass (phase) stamps each sample that it consumes with its number; a stamp that is already there
 * is a duplicate. When the count is the pass's number of samples and there was no duplicate, each
 * was there once. */
#ifndef IPC_LEDGER_H
#define IPC_LEDGER_H

#include "ipc/run.h"

/* Begins a pass (trainer 0): counts start at zero. */
void im_ledger_begin(struct im_run *run, enum im_split split);

/* Enters the consumed samples of one batch. `phase` is the number of the pass in the plan. -EBADMSG when an
 * id is no sample of this split: the batch was damaged. */
int im_ledger_enter(struct im_run *run, enum im_split split, uint32_t phase, const uint64_t *samples,
                    const uint32_t *verdicts, uint32_t count);

/* A pass by its number in the plan, and numbers of samples in it. */
struct im_ledger_pass {
    uint32_t phase;
    uint64_t
        start;     /* the first that this start of the run was to deliver: 0, or where it continued the run */
    uint64_t from; /* the first that was entered since im_ledger_begin(): `start`, or after a trainer's death
                       where the trainers continued; those in between were delivered before */
    uint64_t total;
    bool has_ended; /* before, where this node took no part: it is counted there */
};

/* Ends a pass. True: each of its samples since `from` came exactly once. A pass that ends again, because its
 * trainer died after the end and continued from a position before it, is counted once. */
bool im_ledger_end(struct im_run *run, enum im_split split, const struct im_ledger_pass *pass);

#endif
