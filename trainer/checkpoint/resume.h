/* Where a trainer that starts goes on from: the run's last snapshot (ipc/snapshot.h) or its last checkpoint,
 * whichever is further; a run that has neither, from the file that --resume names. Both are the same bytes
 * and pass the same checks; one that is damaged is passed over with a warning when the other is good. */
#ifndef TRAINER_CHECKPOINT_RESUME_H
#define TRAINER_CHECKPOINT_RESUME_H

#include "ipc/child.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/position.h"

struct tr_resume {
    struct tr_safetensors *file, *snapshot; /* what there is of each, verified */
    const struct tr_safetensors *state;     /* the one to go on from; NULL: this is the run's beginning */
    struct tr_position at;                  /* of `state`; untouched without */
};

/* Reads both, and logs which was taken. 0 with or without a state; negative errno with a sentence: there is
 * one, and it cannot be used (tr_checkpoint_load, tr_position_read). On success tr_resume_close() frees what
 * `ret` holds. */
int tr_resume_find(struct im_child *child, struct tr_checkpoint_store *store, struct tr_resume *ret,
                   struct im_text *text);
void tr_resume_close(struct tr_resume *resume); /* zeroed is fine */

#endif
