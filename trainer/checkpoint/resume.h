/* Where a starting trainer continues from: the run's last snapshot (ipc/snapshot.h) or its last checkpoint,
 * whichever is further; a run with neither, from the file of --resume. Both have the same format and pass the
 * same checks; a damaged one is skipped with a warning if the other is intact. */
#ifndef TRAINER_CHECKPOINT_RESUME_H
#define TRAINER_CHECKPOINT_RESUME_H

#include "ipc/child.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/identity.h"
#include "trainer/checkpoint/position.h"

struct tr_resume {
    struct tr_safetensors *file, *snapshot;  /* each verified; NULL: there is none */
    const struct tr_safetensors *state;      /* the one to continue from; NULL: the run starts from the
                                               beginning */
    struct tr_position at;                   /* position of `state`; unchanged without one */
    struct tr_position at_file, at_snapshot; /* of each that is there */
    struct tr_identity id;                   /* of `snapshot`; run 0: it has none */
};

/* Reads both, and logs which is used. 0 with or without a state; negative errno with a sentence: there is
 * one, and it cannot be used (tr_checkpoint_load, tr_position_read). On success tr_resume_close() frees
 * *ret. */
int tr_resume_find(struct im_child *child, struct tr_checkpoint_store *store, struct tr_resume *ret,
                   struct im_text *text);
/* The same of what this machine alone may have, on several: its snapshot in memory, or else the newest of what it saved at the
 * end of an earlier start, in the folder of its own (run_dir/nodes/nodeN) or, where it was node 0 then, in the run's. run_dir: the
 * run's folder, machine: its number. leads: for rank 0, beside what tr_resume_find() has found, of the same run. Nothing of it is
 * needed, and what cannot be used is named in the log. */
void tr_resume_find_here(struct im_child *child, const char *run_dir, uint32_t machine, bool leads,
                         struct tr_resume *ret);

/* Continues from these bytes of a state instead, malloc'ed, of which it takes ownership. Negative errno with a
 * sentence. */
int tr_resume_take(struct tr_resume *resume, const struct im_child *child, char *bytes, size_t n,
                   struct im_text *text);
void tr_resume_close(struct tr_resume *resume); /* zeroed is fine */

#endif
