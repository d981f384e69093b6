/* A training step of a single rank on one batch. */
#ifndef TESTS_SUPPORT_TRAIN_STEP_H
#define TESTS_SUPPORT_TRAIN_STEP_H

#include "trainer/network/network.h"

static inline int train_step(struct tr_network *net, const struct tr_batch *batch,
                             const struct tr_hyper *hyper, float label_smoothing, struct tr_tally *ret_tally,
                             struct im_text *text)
{
    int err = tr_network_gradients(net, batch, label_smoothing, 0, ret_tally, text);

    return err < 0 ? err : tr_network_update(net, hyper, 1);
}

#endif
