/* The verbs of `imsuper`. They return the exit status.
 *
 * In this folder: parsing of commands, what a start needs (data set, GPUs, sizes of rings), and the
 * output of each verb. A verb either ends here or starts the warden or another role's program; none of them
 * runs a loop of the supervisor. Errors are sentences on stderr and an exit status of ipc/child.h. */
#ifndef SUPERVISOR_CLI_COMMANDS_H
#define SUPERVISOR_CLI_COMMANDS_H

#include <stdbool.h>

#include "ipc/base/json.h"
#include "ipc/config/command.h"

/* For main(): runs the verb that the words name; see im_command_main(). */
int sv_command_main(int argc, char **argv);

int sv_cmd_start(struct im_conf *conf);
int sv_cmd_lr_find(struct im_conf *conf);
int sv_cmd_eval(struct im_conf *conf);
int sv_cmd_runs(struct im_conf *conf);
int sv_cmd_plot(struct im_conf *conf);
int sv_cmd_compare(struct im_conf *conf);
int sv_cmd_status(struct im_conf *conf);
int sv_cmd_top(struct im_conf *conf);
int sv_cmd_logs(struct im_conf *conf);
int sv_cmd_trace(struct im_conf *conf);
int sv_cmd_stop(struct im_conf *conf);
int sv_cmd_pause(struct im_conf *conf);
int sv_cmd_resume(struct im_conf *conf);
int sv_cmd_restart(struct im_conf *conf);
int sv_cmd_scale(struct im_conf *conf);
int sv_cmd_gpus(struct im_conf *conf);
int sv_cmd_bench_all(struct im_conf *conf);
int sv_cmd_bench_cluster(struct im_conf *conf);
int sv_cmd_bench_data(struct im_conf *conf);
int sv_cmd_bench_ring(struct im_conf *conf);
int sv_cmd_profile_ring(struct im_conf *conf);
int sv_cmd_doctor(struct im_conf *conf);
int sv_cmd_version(int argc, char **argv);
int sv_cmd_help(int argc, char **argv);
int sv_cmd_supervise(struct im_conf *conf);  /* for the warden */
int sv_cmd_documents(int argc, char **argv); /* for cmake: man pages and shell completion */
int sv_cmd_predict(int argc, char **argv);
int sv_cmd_recipes(int argc, char **argv);
int sv_cmd_cluster_key(int argc, char **argv);

/* data, bench, profile and model: a role's program does it. */
int sv_cmd_role(int argc, char **argv);

/* Of a verb that reads words alone: takes --json out of them. Did they have it? */
bool sv_take_json(int *argc, char **argv);

/* Prints the answer as a line, and frees it; returns the exit status. */
int sv_print_answer(struct im_json *answer);

#endif
