/* The verbs of `imsuper`. They return the exit status. */
#ifndef SUPERVISOR_CLI_COMMANDS_H
#define SUPERVISOR_CLI_COMMANDS_H

#include "ipc/config/command.h"

int sv_cmd_start(struct im_conf *conf);
int sv_cmd_lr_find(struct im_conf *conf);
int sv_cmd_status(struct im_conf *conf);
int sv_cmd_stop(struct im_conf *conf);
int sv_cmd_gpus(struct im_conf *conf);
int sv_cmd_version(struct im_conf *conf);
int sv_cmd_help(struct im_conf *conf);
int sv_cmd_supervise(struct im_conf *conf); /* for the warden */
int sv_cmd_recipes(int argc, char **argv);

/* data, bench, profile and model: a role's program does it. */
int sv_cmd_role(int argc, char **argv);

#endif
