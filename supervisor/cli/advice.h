/* What a start says of options that are allowed and rarely meant. Pure functions; cmd_start.c shows what they say. */
#ifndef SUPERVISOR_CLI_ADVICE_H
#define SUPERVISOR_CLI_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/config/conf.h"
#include "ipc/plan.h"

/* Updates of the weights in the whole plan. */
uint64_t sv_advice_updates(const struct im_conf *conf, const struct im_plan *plan);

/* Averages that still hold more than a hundredth of the weights they began with at the end of the run. True with a
 * sentence that names what helps. */
bool sv_advice_ema(const struct im_conf *conf, uint64_t updates, struct im_text *ret);

#endif
