/* The step of trainer/backends/step.h over the ops of backend.h, for backends that work in host memory: the one place
 * where it is done op by op. Such a backend has a struct tr_host_step as the first member of its struct
 * tr_backend, .step = &tr_host_step_ops, and reads its inputs by tr_host_inputs().
 *
 * What is enqueued is done at once. Sums over the ranks come behind the whole backward pass, so that they
 * have one order of additions whatever the ops are. */
#ifndef TRAINER_BACKENDS_HOST_STEP_H
#define TRAINER_BACKENDS_HOST_STEP_H

#include "trainer/backends/step.h"

struct tr_host_step {
    const struct tr_backend_ops *ops; /* of the backend itself */
    const struct tr_rank_sum *ranks;  /* NULL: this one alone */
    struct tr_inputs in;
    struct imk_hyper hyper;
    struct tr_tally tally;
    /* of decide() */
    double norm, grad_scale;
    bool skips;
};

extern const struct tr_step_ops tr_host_step_ops;

/* The arguments of a forward op, with what is staged where e->staged. */
struct tr_exec tr_host_inputs(struct tr_backend *b, const struct tr_exec *e);

#endif
