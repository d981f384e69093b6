/* Turns training batches into optimiser steps: mixing, loss scaling, accumulation, clipping, skipping of
 * non-finite steps, averages. Its numbers are those of struct tr_position, so that a checkpoint between any
 * two batches continues exactly.
 *
 * A step consists of `accumulate` batches, a window; the last window of a pass may be shorter. Its gradient
 * is that of the mean loss over all usable samples of the window, as if they were one batch (batch norm sees
 * each batch of each rank alone). For a batch the trainer calls tr_training_step_mix(), agrees with the other
 * ranks on the weight of the usable samples, and calls tr_training_step_begin() and tr_training_step_end(). Ranks sum after
 * each batch rather than once a window, so a checkpoint within a window is complete. All ranks make the same
 * decisions, since they decide on the same sums. */
#ifndef TRAINER_TRAINING_STEP_H
#define TRAINER_TRAINING_STEP_H

#include "trainer/checkpoint/position.h"
#include "trainer/network/network.h"
#include "trainer/optim/mix.h"
#include "trainer/optim/schedule.h"

struct tr_training_step {
    const struct im_conf *conf; /* borrowed, as all members */
    struct tr_network *net;
    const struct tr_schedule *schedule;
    struct tr_mix_config mix;
    const float *class_weights; /* [classes], in host memory; NULL: all 1 */
    double weights[2];          /* of the windows of the steps in progress, with these */
    uint64_t begun, ended;      /* steps */
};

/* The result of a batch. */
struct tr_step_result {
    bool ended;   /* the window ended: the optimiser stepped or skipped; the members below are set */
    bool skipped; /* the loss or the gradient was not finite: only the loss scale has changed */
    double lr;    /* of the step */
    double loss;  /* mean over the window; NaN without valid samples */
    double top1;  /* share of the window */
    double norm;  /* of the gradient, before clipping */
};

void tr_training_step_init(struct tr_training_step *r, const struct im_conf *conf, struct tr_network *net,
                           const struct tr_schedule *schedule);

/* Sets what the configuration requires of the network. */
void tr_training_step_network(const struct im_conf *conf, struct tr_network_config *config);

/* Draws the mix of a batch of the training pass; step and rank: im_plan_order(). Returns its usable samples: valid ones, and when it is mixed
 * those whose partner is valid, each counted with the weight of its classes. */
double tr_training_step_mix(const struct tr_training_step *r, struct tr_batch *batch, uint32_t epoch,
                            uint32_t step, uint32_t rank);

/* The step of one batch, which may be empty, together with the other ranks'; at a window's end the optimiser
 * steps. weight: of the usable samples of the window so far, with those of all ranks' batches of this step; full: samples of
 * a full window; last: the last batch of its pass. > 0: a status to leave with. */
int tr_training_step_begin(struct tr_training_step *r, const struct tr_position *p,
                           const struct tr_batch *batch, double weight, uint64_t full, bool last,
                           struct im_text *text);
/* The same before the _end() of the step before, where tr_training_step_goes_ahead(). p is the position that this one began
 * at: what the step before makes of it depends on whether it is skipped, so the device gets the numbers for both. */
int tr_training_step_begin_ahead(struct tr_training_step *r, const struct tr_position *p,
                                 const struct tr_batch *batch, double weight, uint64_t full, bool last,
                                 struct im_text *text);
bool tr_training_step_goes_ahead(const struct tr_training_step *r, const struct tr_batch *batch);

/* Of steps in their order. Advances the position: steps, updates, sums, window, scale. -EDOM with a sentence after max_bad_steps
 * skipped steps in a row. */
int tr_training_step_end(struct tr_training_step *r, struct tr_position *p, bool last,
                         struct tr_step_result *ret_step, struct im_text *text);

#endif
