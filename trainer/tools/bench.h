/* imsuper-trainer bench and profile: training steps alone, without the data path. bench says how many images a second
 * they take, profile where their time goes. */
#ifndef TRAINER_TOOLS_BENCH_H
#define TRAINER_TOOLS_BENCH_H

#include "ipc/config/command.h"

/* They return an exit status. */
int tr_cmd_bench(struct im_conf *conf);
int tr_cmd_profile(struct im_conf *conf);

#endif
