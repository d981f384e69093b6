/* How training batches become steps of the optimiser: mixing, the loss's scale, accumulation, clipping, what
 * to do about numbers that are not finite, averages. Its numbers are those of struct tr_position, so that a
 * checkpoint between any two batches continues exactly.
 *
 * A step is made of `accumulate` batches, a window; the last window of a pass may be shorter. Its gradient is
 * that of the mean loss over all usable samples of the window, as if they had been one batch (batch norm sees
 * each batch of each rank alone). For a batch the trainer calls tr_training_step_mix(), agrees with the other ranks
 * on the usable samples, and calls tr_training_step_begin() and tr_training_step_end(). Ranks add up after each batch and
 * not once a window: so what a checkpoint within a window holds is whole. All ranks come to the same
 * decisions, since they decide on the same sums. */
#ifndef TRAINER_TRAINING_STEP_H
#define TRAINER_TRAINING_STEP_H

#include "trainer/checkpoint/position.h"
#include "trainer/network/network.h"
#include "trainer/optim/mix.h"
#include "trainer/optim/schedule.h"

struct tr_training_step {
    const struct im_conf *conf; /* borrowed, as all here */
    struct tr_network *net;
    const struct tr_schedule *schedule;
    struct tr_mix_config mix;
    uint32_t rank;
};

/* What a batch has led to. */
struct tr_step_result {
    bool ended;   /* its window: the optimiser's step was taken or skipped; the rest below is set */
    bool skipped; /* the loss or the gradient was not finite: nothing has changed but the loss's scale */
    double lr;    /* of the step */
    double loss;  /* mean over the window; NaN without valid samples */
    double top1;  /* share of the window */
    double norm;  /* of the gradient, before clipping */
};

void tr_training_step_init(struct tr_training_step *r, const struct im_conf *conf, struct tr_network *net,
                           const struct tr_schedule *schedule, uint32_t rank);

/* What the configuration says a network must have room for. */
void tr_training_step_network(const struct im_conf *conf, struct tr_network_config *config);

/* Draws the mix of a batch of the training pass. Returns its usable samples: valid ones, and when it is mixed
 * those whose partner is valid. */
uint32_t tr_training_step_mix(const struct tr_training_step *r, struct tr_batch *batch, uint32_t epoch,
                              uint32_t step);

/* The step of one batch, which may be empty, together with the other ranks'; at a window's end the optimiser
 * takes its own. usable: samples of all ranks' batches; full: samples of a whole window, were none missing;
 * last: of its pass. > 0: a status to leave with. */
int tr_training_step_begin(struct tr_training_step *r, const struct tr_position *p,
                           const struct tr_batch *batch, uint64_t usable, uint64_t full, bool last,
                           struct im_text *text);
/* Moves the position on: steps, updates, sums, window, scale. -EDOM with a sentence when max_bad_steps steps
 * in a row had to be skipped. */
int tr_training_step_end(struct tr_training_step *r, struct tr_position *p, bool last,
                         struct tr_step_result *ret_step, struct im_text *text);

#endif
