/* The verbs of `imsuper`. Each takes its own argc/argv (argv[0] is the verb) and returns the
 * exit status (ipc/child.h). */
#ifndef SUPERVISOR_CLI_COMMANDS_H
#define SUPERVISOR_CLI_COMMANDS_H

int sv_cmd_start(int argc, char **argv);
int sv_cmd_status(int argc, char **argv);
int sv_cmd_stop(int argc, char **argv);
int sv_cmd_data(int argc, char **argv);
int sv_cmd_bench(int argc, char **argv);
int sv_cmd_profile(int argc, char **argv);
int sv_cmd_lr_find(int argc, char **argv);
int sv_cmd_recipes(int argc, char **argv);
int sv_cmd_gpus(int argc, char **argv);
int sv_cmd_model(int argc, char **argv);
int sv_cmd_version(int argc, char **argv);
int sv_cmd_help(int argc, char **argv);
int sv_cmd_supervise(int argc, char **argv); /* for the warden */

#endif
