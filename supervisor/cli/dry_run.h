#ifndef SUPERVISOR_CLI_DRY_RUN_H
#define SUPERVISOR_CLI_DRY_RUN_H

#include "ipc/config/conf.h"

/* Shows the options that are not at their defaults, and where each value comes from. */
void sv_dry_run_options(const struct im_conf *conf);

#endif
