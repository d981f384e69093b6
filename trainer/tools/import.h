/* `imsuper import`: weights of other programs. */
#ifndef TRAINER_TOOLS_IMPORT_H
#define TRAINER_TOOLS_IMPORT_H

#include "ipc/config/command.h"

/* Returns an exit status. */
int tr_cmd_import(struct im_conf *conf);

#endif
