/* Configuring and running, for the verbs that train. */
#ifndef SUPERVISOR_CLI_START_H
#define SUPERVISOR_CLI_START_H

#include "ipc/config/conf.h"

/* Flags, files and environment of `commands` (IM_FOR_*), checked against what this build can do. 0, or the
 * exit status to leave with, after a sentence on stderr. */
int sv_start_configure(struct im_conf *conf, unsigned commands, int argc, char **argv);

/* The whole run, with this process as its warden. Fills what was left open in `conf` (run_dir, counts).
 * Returns the exit status. */
int sv_start_run(struct im_conf *conf);

#endif
