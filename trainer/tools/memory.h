/* imsuper memory: what fits GPUs that are not there. */
#ifndef TRAINER_TOOLS_MEMORY_H
#define TRAINER_TOOLS_MEMORY_H

#include "ipc/config/command.h"

int tr_cmd_memory(struct im_conf *conf);

#endif
