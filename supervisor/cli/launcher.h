/* Command lines of Python trainers, as they were typed or copied:
 *
 *   imsuper python train.py FLAGS                       imsuper start FLAGS
 *   imsuper torchrun --nproc_per_node 8 train.py FLAGS  imsuper start --nproc_per_node 8 FLAGS
 *   imsuper python lr_finder.py FLAGS                   imsuper lr-find FLAGS
 *
 * and a start by a launcher, which runs a process for each trainer and says so in variables (cluster/env.h). */
#ifndef SUPERVISOR_CLI_LAUNCHER_H
#define SUPERVISOR_CLI_LAUNCHER_H

#include <stdbool.h>

#include "ipc/config/conf.h"
#include "supervisor/cluster/env.h"

/* Replaces argv of such a command by one of imsuper's, malloc'ed with *ret_argc words, and says which in `note`. NULL:
 * it is none, or memory is short. */
char **sv_launcher_rewrite(int argc, char **argv, int *ret_argc, struct im_text *note);

/* What a launcher says: as many trainers as it runs processes on this machine, unless the flags say another number.
 * *ret_other: this process is not the first of its machine, and has nothing to do. `note` is a line for the user, or
 * empty. Returns 0. */
int sv_launcher_ranks(struct im_conf *conf, const struct sv_launch *at, bool *ret_other,
                      struct im_text *note);

#endif
