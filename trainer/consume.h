/* A stand-in for a trainer: takes batches as one does and trains on none of them, for `imsuper bench data`.
 *
 * With --images-per-second it takes a step's time for each batch, as a device does that computes meanwhile; without, it gives
 * each batch back at once. All ranks run without each other. At its end each writes what it saw to the run directory. */
#ifndef TRAINER_CONSUME_H
#define TRAINER_CONSUME_H

#include "ipc/child.h"

/* "consumer-RANK.json", schema imsuper.consumer/1. */
#define TR_CONSUMER_FILE "consumer-%u.json"

/* As tr_run(). IM_EXIT_OK: the time of the measurement is over, or the plan is. */
int tr_consume(struct im_child *child, struct im_text *text);

#endif
