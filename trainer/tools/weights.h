/* What a file of weights says of itself, for `imsuper eval` and `imsuper predict`. */
#ifndef TRAINER_TOOLS_WEIGHTS_H
#define TRAINER_TOOLS_WEIGHTS_H

#include "ipc/config/command.h"

/* Returns an exit status. */
int tr_cmd_weights(struct im_conf *conf);

#endif
