/* `imsuper average`: the mean of several weights. */
#ifndef TRAINER_TOOLS_AVERAGE_H
#define TRAINER_TOOLS_AVERAGE_H

#include "ipc/config/command.h"

/* Returns an exit status. */
int tr_cmd_average(struct im_conf *conf);

#endif
