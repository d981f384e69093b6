/* imsuper-trainer bench and profile: training steps alone, on random pixels, without the data path. bench
 * reports images per second, profile the time of each layer.
 *
 * In trainer/tools: verbs of imsuper-trainer that run without a supervisor (bench, profile, model, gpus).
 * They drive the same network and backends as a run and may include any other folder of the trainer; no other
 * folder includes them. Output is a table for the user, or JSON with --json, whose keys are an interface. */
#ifndef TRAINER_TOOLS_BENCH_H
#define TRAINER_TOOLS_BENCH_H

#include "ipc/config/command.h"

/* They return an exit status. */
int tr_cmd_bench(struct im_conf *conf);
int tr_cmd_profile(struct im_conf *conf);

#endif
