/* The step: how a network is trained and evaluated on a backend. Every backend has it; trainer/network/step.c
 * drives it, and there is no other way to take a step.
 *
 * The host stages the step's inputs (stage), then enqueues: a copy of batch norm's statistics at the beginning of
 * a window, all forward and backward ops with tr_exec.staged, sums over the ranks, and at the window's end decide,
 * update, restore; then outcome; and waits once. An evaluation is stage, forward, outcome, wait.
 *
 * host_step.c implements it over the ops of backend.h for backends in host memory: enqueued work is done when
 * the call returns. A device enqueues on a stream, and the host waits at the end. Work enqueued between
 * capture_begin() and capture_end() reads what changes from step to step from the staged block, so that
 * replay() repeats all of it for the next step. The outcome is enqueued behind that.
 *
 * Over several ranks batch norm (op.synced) sums with tr_exec.sync in host memory, and with set_ranks() on a
 * device, in the order of the ops.
 *
 * A captured graph refers to the arenas passed to it and to the plans used, and is freed before any of those.
 * It is stale, and replay() returns -ESTALE, after the backend has moved its own memory, which only plan()
 * and tune() do: then it is captured again. */
#ifndef TRAINER_BACKENDS_STEP_H
#define TRAINER_BACKENDS_STEP_H

#include "kernels/hyper.h"
#include "trainer/backends/backend.h"

struct CUstream_st;
struct tr_captured_graph;

enum { TR_DW_BEHIND = 2 };

/* The numbers of a step if the one before it is skipped. */
struct tr_if_skipped {
    double divisor;
    struct imk_hyper hyper;
};

/* Inputs of a step, in host memory that may be reused when the step is enqueued, except the pixels: those may
 * be reused when input_consumed() says so, or after the outcome. */
struct tr_inputs {
    const uint8_t *pixels; /* as in tr_exec; NULL: none are read */
    size_t pixel_bytes;
    const int32_t *labels; /* [n], NULL: none are read */
    const uint8_t *valid;  /* [n], NULL: all are valid */
    int n;
    const struct tr_mix *mix; /* NULL: none */
    float smoothing;
    double divisor;
    const float *scales; /* what tr_exec.scale of all DROPPATH ops points into */
    size_t scale_count;
    const struct imk_hyper *hyper; /* NULL: no update follows */
    /* The step before has not ended: divisor and hyper hold if it is taken, these if it is skipped. NULL: it has. */
    const struct tr_if_skipped *if_skipped;
};

/* The result of a step. */
struct tr_outcome {
    struct tr_tally tally; /* of this rank, or of all after sum_tally() */
    const double *losses;  /* of each rank, until the next step; their sum is the tally's; NULL: not kept */
    uint32_t loss_count;
    double norm;  /* of the gradient of the mean loss, before clipping */
    bool skipped; /* norm and skipped are set if decide() was part of the step */
};

/* Sums over the ranks. On a device, in its memory and in the order of the stream, as struct
 * tr_comm_ops.reduce_on; in host memory (stream is NULL) it is done when sum() returns. A nonzero result ends
 * the step and is returned by it: negative errno, or a positive status to leave with. */
struct tr_rank_sum {
    void *context;
    int (*sum)(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream);
    /* (optional; in host memory) x[i] <- ((before[i] + x[i] of rank 0) + x[i] of rank 1) + ..., of the first `ranks`;
     * before: the same on all ranks, NULL: it begins with rank 0's. The same bits as if one rank had added all. */
    int (*sum_in_order)(void *context, float *x, const float *before, size_t count, uint32_t ranks);
    /* (optional; in host memory) x <- that of rank `root`. */
    int (*take)(void *context, float *x, size_t count, int root);
    /* (optional) After a sum of doubles: the first one of each rank. */
    const double *parts;
    uint32_t part_count;
    /* (optional) Polled while the host waits for the device; pauses briefly itself. A nonzero result ends the
     * waiting, and wait() returns it. */
    int (*watch)(void *context);
};

/* The averages to update. */
struct tr_averages {
    float *params, *stats;   /* NULL: there are none */
    const float *from_stats; /* the parameters come from tr_update.w */
    size_t param_count, stat_count;
};

/* Enqueued work runs in the order of the calls; only sums may overlap with later work. */
struct tr_step_ops {
    /* Stages the inputs for the next forward ops with tr_exec.staged. */
    int (*stage)(struct tr_backend *b, const struct tr_inputs *in);
    /* (optional) Starts to copy the pixels of a batch whose stage() comes later, concurrently with the
     * running step. They must stay valid until that step's outcome, or until sync(). */
    int (*prefetch)(struct tr_backend *b, const uint8_t *pixels, size_t bytes);
    /* (optional) Whether the pixels of the last stage() have been copied: 1, or 0: not yet. Does not wait. */
    int (*input_consumed)(struct tr_backend *b);
    /* (optional) Refreshes repacked parameters from `params` at this version, for existing plans; update()
     * refreshes them too. NULL: ops compare tr_exec.param_version, which each update increments. */
    int (*refresh)(struct tr_backend *b, const float *params, size_t count, uint64_t param_version);

    /* For a rank without samples, instead of forward and backward: zero gradients and an empty tally; and,
     * instead of each BN with op.synced, zero contributions to its sums. */
    int (*empty_batch)(struct tr_backend *b, float *g, size_t count);
    int (*empty_norm)(struct tr_backend *b, const struct tr_bn_sync *sync, int channels, bool forward);
    /* Sums x[] and the tally over the ranks. sum() is called for gradients in parts of sum_floats, as
     * backward finishes them; 0: all at once. Work enqueued after sum_tally() runs after all sums; before it,
     * sums may overlap with other work, except a BN with op.synced, which waits for its own sums behind
     * them. */
    void (*set_ranks)(struct tr_backend *b, const struct tr_rank_sum *ranks); /* outlives the backend */
    size_t sum_floats;
    int (*sum)(struct tr_backend *b, float *x, size_t count);
    /* (optional: in host memory) As those of struct tr_rank_sum. */
    int (*sum_in_order)(struct tr_backend *b, float *x, const float *before, size_t count, uint32_t ranks);
    int (*take)(struct tr_backend *b, float *x, size_t count, int root);
    /* (optional) Where ops have dw_apart: work enqueued from now on runs after all gradients of weights that were made
     * apart in this pass, but for the last `behind`, at most TR_DW_BEHIND. Sums wait for them by themselves. 0: of
     * all, which ends the pass. */
    int (*await_dw)(struct tr_backend *b, int behind);
    int (*sum_tally)(struct tr_backend *b);
    /* By the staged hyper: norm = |g| unscale / loss_scale; the step is skipped when it or the tally's loss
     * is not finite; the gradient is multiplied by unscale / loss_scale, and clipped to clip_norm as
     * torch.nn.utils.clip_grad_norm_ does, min(1, clip_norm / (norm + 1e-6)). lamb: as LAMB's definition has
     * it, 1 / max(1, norm / clip_norm), clip_norm 1 where it is 0. */
    int (*decide)(struct tr_backend *b, const float *g, size_t count, bool lamb);
    /* As update() of backend.h with the staged hyper and the decision (those of u are not read), unless the
     * step is skipped; then updates the averages. */
    int (*update)(struct tr_backend *b, const struct tr_update *u, const struct tr_averages *a);
    /* After decide(): y = x if the step is skipped. */
    int (*restore)(struct tr_backend *b, float *y, const float *x, size_t count);
    int (*outcome)(struct tr_backend *b); /* (optional) enqueued last, and not captured */

    /* Waits for the step. Call once for each outcome(), in their order. */
    int (*wait)(struct tr_backend *b, struct tr_outcome *ret_outcome);
    /* One more step, which was captured and ends a window as the one before it does, may be staged and enqueued before
     * the wait for the one before: with tr_inputs.if_skipped. */
    bool goes_ahead;

    /* (optional) All four or none. */
    int (*capture_begin)(struct tr_backend *b);
    int (*capture_end)(struct tr_backend *b, struct tr_captured_graph **ret_recording);
    int (*replay)(struct tr_backend *b, struct tr_captured_graph *r);
    void (*captured_graph_free)(struct tr_backend *b, struct tr_captured_graph *r); /* NULL is fine */
};

#endif
