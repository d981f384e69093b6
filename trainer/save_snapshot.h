/* The snapshot as a checkpoint, by a process without a network: for a run that ends while no trainer can save. */
#ifndef TRAINER_SAVE_SNAPSHOT_H
#define TRAINER_SAVE_SNAPSHOT_H

#include <stdbool.h>

#include "ipc/child.h"

/* Did the warden start this program for that? */
bool tr_is_saver(int argc, char **argv);

/* Writes the run's snapshot as last.state.safetensors, with its exports, unless the checkpoint is as far. What it
 * continues from is verified as a trainer does that starts. 0, IM_EXIT_NOTHING_NEWER or IM_EXIT_NOTHING_SAVED;
 * negative errno with a sentence. Exactly the descriptors of a trainer that concern files are used: control,
 * lock, snapshot. */
int tr_save_snapshot(struct im_child_storage *storage, struct im_text *text);

#endif
