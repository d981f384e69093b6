/* The seconds that an epoch has taken so far, for a checkpoint in the middle of one: last.times.json beside the
 * state. They are apart because a checkpoint of equal runs is equal byte for byte, and seconds never are. Lost
 * or torn, they cost the epoch's images per second and nothing else. */
#ifndef TRAINER_CHECKPOINT_TIMES_H
#define TRAINER_CHECKPOINT_TIMES_H

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/position.h"

/* Writes those of a position. 0 or negative errno with a sentence. */
int tr_times_write(const struct tr_checkpoint_store *store, const struct tr_position *p,
                   struct im_text *text);

/* Fills in those of a position that was read from the state; without its file, or with one of another position,
 * the epoch is timed from here on. */
void tr_times_read(const struct tr_checkpoint_store *store, struct tr_position *p);

#endif
