/* A whole training step of one rank: begun, waited for. */
#ifndef TESTS_SUPPORT_TRAIN_STEP_H
#define TESTS_SUPPORT_TRAIN_STEP_H

#include "trainer/backends/step.h"
#include "trainer/network/network.h"

static inline int train_step(struct tr_network *net, const struct tr_batch *batch,
                             const struct imk_hyper *hyper, float label_smoothing, struct tr_tally *ret_tally,
                             struct im_text *text)
{
    struct tr_step step = {.label_smoothing = label_smoothing, .number = 1, .last = true, .hyper = *hyper};
    struct tr_outcome outcome = {.skipped = false};
    int err;

    step.hyper.unscale = step.hyper.loss_scale = step.hyper.ema_weight = 1;
    err = tr_network_step_begin(net, batch, &step, text);
    if (err == 0)
        err = tr_network_step_end(net, &outcome, text);
    *ret_tally = outcome.tally;
    return err;
}

#endif
