/* What a GPU can take at most, for `--batch-size auto`. */
#ifndef TRAINER_TOOLS_LARGEST_H
#define TRAINER_TOOLS_LARGEST_H

#include "ipc/config/command.h"

/* imsuper-trainer largest: prints {"schema": "imsuper.largest/1", "batch": N}, or "why" there is none. */
int tr_cmd_largest(struct im_conf *conf);

#endif
