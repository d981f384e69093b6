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

/* Ends a pass that was entered from its sample number `from` on (0, or where the run was continued). True:
 * each of its `total` - `from` samples came exactly once. */
bool im_ledger_end(struct im_run *run, enum im_split split, uint64_t from, uint64_t total);

#endif
