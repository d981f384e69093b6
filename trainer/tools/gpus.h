/* `imsuper-trainer gpus`: lists the GPUs visible to a new process, as JSON on stdout; a separate process, so that the
 * caller does not map CUDA. */
#ifndef TRAINER_TOOLS_GPUS_H
#define TRAINER_TOOLS_GPUS_H

#include "ipc/config/command.h"

/* Prints one object: {"schema": "imsuper.gpus/1", "why": a sentence if there are none, "code": the errno word
 * of it, "gpus": [{"index", "name", "uuid", "pci", "sm", "sm_count", "memory_bytes", "mig"}, ...], "nccl":
 * several GPUs can train together, "driver", "runtime": CUDA's versions as "13.0"}. Returns 0 also when there
 * are no GPUs; IM_EXIT_FAILED when nothing could be printed. */
int tr_cmd_gpus(struct im_conf *conf);

#endif
