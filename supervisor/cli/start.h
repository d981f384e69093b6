/* Running, for the verbs that train. */
#ifndef SUPERVISOR_CLI_START_H
#define SUPERVISOR_CLI_START_H

#include "ipc/config/conf.h"

/* The whole run, with this process as its warden. Fills what was left open in `conf` (run_dir, counts).
 * Returns the exit status. */
int sv_start_run(struct im_conf *conf);

#endif
