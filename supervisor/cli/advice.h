/* What a start says of options that are allowed and rarely meant. Pure functions; cmd_start.c shows what they say. */
#ifndef SUPERVISOR_CLI_ADVICE_H
#define SUPERVISOR_CLI_ADVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/json.h"
#include "ipc/config/conf.h"
#include "ipc/plan.h"

/* Updates of the weights in the whole plan. */
uint64_t sv_advice_updates(const struct im_conf *conf, const struct im_plan *plan);

/* Images that do not fill a last step, the most of any epoch; `samples`: for training. With --drop-last they are left
 * out; without it the sentence warns where a trainer's share of them is one image. True with a sentence. */
bool sv_advice_left_out(const struct im_conf *conf, const struct im_plan *plan, uint64_t samples,
                        struct im_text *ret);
bool sv_advice_single(const struct im_conf *conf, const struct im_plan *plan, uint64_t samples,
                      struct im_text *ret);

/* -EINVAL with a sentence: the rise of a one-cycle schedule is shorter than two steps, which trainer/optim/schedule.c would
 * find out once all processes are there. With --schedule-restarts it is left to that. */
int sv_advice_onecycle(const struct im_conf *conf, const struct im_plan *plan, struct im_text *ret);

/* Averages that still hold more than a hundredth of the weights they began with at the end of the run. True with a
 * sentence that names what helps. */
bool sv_advice_ema(const struct im_conf *conf, uint64_t updates, struct im_text *ret);

/* Fine-tuning that ends after a few updates. True with a sentence that says how many epochs make more. */
bool sv_advice_few_updates(const struct im_conf *conf, uint64_t updates, struct im_text *ret);

/* Images that will be made otherwise than those of the weights in init-from, because the user left out options that their
 * header (its __metadata__; NULL: none) has other values of. True with a sentence that names these. */
bool sv_advice_weights(const struct im_conf *conf, const struct im_json *metadata, struct im_text *ret);

#endif
