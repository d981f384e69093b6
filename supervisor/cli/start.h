/* Running, for the verbs that train. */
#ifndef SUPERVISOR_CLI_START_H
#define SUPERVISOR_CLI_START_H

#include <stdbool.h>

#include "ipc/config/conf.h"

/* False: nothing is to be run here, and *ret_status is why: this is another process of torchrun (launcher.h). Else the
 * trainers that torchrun was asked for are in `conf`. */
bool sv_start_is_ours(struct im_conf *conf, int *ret_status);

/* The whole run, with this process as its warden; with dry-run, only what comes before the first process. Fills what was left open in `conf` (run_dir, counts).
 * Returns the exit status. */
int sv_start_run(struct im_conf *conf);

#endif
