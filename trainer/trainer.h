/* The trainer role: consumes batches in order, trains, validates, saves. The same for every backend. */
#ifndef TRAINER_TRAINER_H
#define TRAINER_TRAINER_H

#include "ipc/child.h"

/* Trains to the end of the plan or until asked to stop. Returns the exit status to leave with (IM_EXIT_OK:
 * the plan is done; IM_EXIT_RESUMABLE: stopped and saved), or a negative errno with a sentence. */
int tr_run(struct im_child *child, struct im_text *text);

#endif
