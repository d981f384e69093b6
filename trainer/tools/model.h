/* `imsuper model`: the layers of a network and their cost. */
#ifndef TRAINER_TOOLS_MODEL_H
#define TRAINER_TOOLS_MODEL_H

#include "ipc/config/command.h"

/* Returns an exit status. */
int tr_cmd_model(struct im_conf *conf);

#endif
