/* The trainer role: consumes batches in order, trains, validates, saves. The same for every backend.
 *
 * This folder has the role's loop and what ties the rooms below together: open.c and save.c (a trainer's
 * life), batch.c (one batch), training_step.h (batches to optimiser steps), ranks.h (agreement of all ranks),
 * report.h and metrics.h (what a run reports). Below: model/ describes networks, network/ runs them on a
 * device, optim/ has schedules and other pure rules, checkpoint/ files, comm/ collectives, backends/ devices,
 * tools/ the commands that run without a supervisor.
 *
 * Code here may use every folder below except tools/; nothing below includes a header of this folder.
 * Everything that changes results must follow the position, so that a resumed run has the same bits. */
#ifndef TRAINER_TRAINER_H
#define TRAINER_TRAINER_H

#include "ipc/child.h"

/* Trains to the end of the plan or until asked to stop. Returns the exit status to leave with (IM_EXIT_OK:
 * the plan is done; IM_EXIT_RESUMABLE: stopped and saved), or a negative errno with a sentence, which it has
 * logged. */
int tr_run(struct im_child *child, struct im_text *text);

/* Whether tr_run(), which returned err, has left a GPU as it is. It does after a failure where several GPUs train:
 * their work waits for ranks that may be gone, and so would all that frees memory, graphs or NCCL's communicator.
 * The driver takes it back when the process ends, which must be by _exit(). */
bool tr_has_abandoned_gpu(const struct im_child *child, int err);

#endif
