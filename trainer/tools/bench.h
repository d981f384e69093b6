/* What imsuper-steps does: training steps alone, without the data path. bench says how many images a second
 * they take, profile where their time goes. */
#ifndef TRAINER_TOOLS_BENCH_H
#define TRAINER_TOOLS_BENCH_H

/* The commands; argv[0] is the command's name, flags follow. Return an exit status (ipc/child.h). */
int tr_cmd_bench(int argc, char **argv);
int tr_cmd_profile(int argc, char **argv);

#endif
