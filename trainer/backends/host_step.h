/* The step of trainer/backends/step.h over the ops of backend.h, for backends in host memory: the only
 * implementation op by op. Such a backend has a struct tr_host_step as the first member of its struct
 * tr_backend, .step = &tr_host_step_ops, and reads its inputs by tr_host_inputs().
 *
 * Work is done when it is enqueued. Sums over the ranks run after the whole backward pass, so that their
 * order of additions does not depend on the ops. */
#ifndef TRAINER_BACKENDS_HOST_STEP_H
#define TRAINER_BACKENDS_HOST_STEP_H

#include "trainer/backends/step.h"

struct tr_host_step {
    const struct tr_backend_ops *ops; /* of the backend itself */
    const struct tr_rank_sum *ranks;  /* NULL: a single rank */
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
