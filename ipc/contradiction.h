/* Words of the rings that contradict each other: by every move of PROTOCOL.md and every death that it lists the rings
 * keep what is stated here. Where they do not, a word was changed from outside (faulty memory, a stray write), and some
 * ticket may never be delivered: a reset of the data plane puts it right. */
#ifndef IPC_CONTRADICTION_H
#define IPC_CONTRADICTION_H

#include <stdbool.h>

#include "ipc/run.h"

/* Is this incarnation a living reader or augmenter? */
typedef bool im_lives(void *context, enum im_role role, uint32_t incarnation);

/* True with a sentence: the rings of a run whose ranks will all consume `batch` next contradict each other. Supervisor,
 * with every death's cells returned. Others move words meanwhile, so only a finding that is still there later, with
 * the same batch, is one. */
bool im_run_contradicts(const struct im_run *run, const struct im_plan *plan, uint64_t batch, im_lives *lives,
                        void *context, struct im_text *text);

#endif
