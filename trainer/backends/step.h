/* The step: how a network is trained and evaluated on a backend. Every backend has it; trainer/network/step.c drives
 * it, and there is no other way to take a step.
 *
 * The host hands in what the step takes from outside (stage), then enqueues: batch norm's statistics kept,
 * all forward and backward ops with tr_exec.staged, restore, sums over the ranks, decide, update, outcome;
 * and waits once. An evaluation is stage, forward, outcome, wait.
 *
 * host_step.c implements it over the ops of backend.h for backends that work in host memory: what is enqueued
 * is done when the call returns. A device of its own enqueues on a stream, and the host waits at the end:
 * everything enqueued between capture_begin() and capture_end() reads what changes from step to step from the
 * staged block, so that replay() does all of it again for the next one.
 *
 * Over several ranks batch norm (op.synced) adds up by tr_exec.sync in host memory, and by set_ranks() on a
 * device, in the order of the ops.
 *
 * What a recording holds: addresses of the arenas passed to it and the plans used. It is freed before any of
 * those. It goes stale, and replay() says -ESTALE, when the backend has moved memory of its own since, which
 * only plan() and tune() do: then it is recorded again. */
#ifndef TRAINER_BACKENDS_STEP_H
#define TRAINER_BACKENDS_STEP_H

#include "kernels/hyper.h"
#include "trainer/backends/backend.h"

struct CUstream_st;
struct tr_captured_graph;

/* What a step takes from outside; host memory that may go when the step is enqueued, but for the pixels,
 * which may go when input_consumed() says so, or the outcome is there. */
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
};

/* What a step has come to. */
struct tr_outcome {
    struct tr_tally tally; /* of this rank, or of all after sum_tally() */
    double norm;           /* of the gradient of the mean loss, before clipping */
    bool skipped;          /* these two: if decide() was part of the step */
};

/* Adds up over the ranks. On a device in its memory and in the order of the stream, as struct
 * tr_comm_ops.reduce_on; in host memory (stream is NULL) it is done when sum() returns. Anything but 0 ends
 * the step and comes out of it: negative errno, or a positive status to leave with. */
struct tr_rank_sum {
    void *context;
    int (*sum)(void *context, void *x, size_t count, bool is_double, struct CUstream_st *stream);
    /* (optional) Called again and again while the host waits for the device; pauses a moment itself. Anything
     * but 0 ends the waiting, and wait() returns it. */
    int (*watch)(void *context);
};

/* The averages that follow an update. */
struct tr_averages {
    float *params, *stats;   /* NULL: there are none */
    const float *from_stats; /* the parameters come from tr_update.w */
    size_t param_count, stat_count;
};

/* What all calls enqueue is done in their order; sums alone run beside what is enqueued after them. */
struct tr_step_ops {
    /* The next forward ops with tr_exec.staged read it. */
    int (*stage)(struct tr_backend *b, const struct tr_inputs *in);
    /* (optional) Begins to copy the pixels of a batch whose stage() comes later, beside the step that runs.
     * They must stay until that step's outcome is there, or until sync(). */
    int (*prefetch)(struct tr_backend *b, const uint8_t *pixels, size_t bytes);
    /* (optional) Whether the pixels of the last stage() have been copied: 1, or 0: not yet. Does not wait. */
    int (*input_consumed)(struct tr_backend *b);
    /* (optional) Repacked parameters become those of `params` at this version, where plans that exist use
     * them, and follow each update(). NULL: ops look at tr_exec.param_version, which each update moves on. */
    int (*refresh)(struct tr_backend *b, const float *params, size_t count, uint64_t param_version);

    /* For a rank without samples, in place of forward and backward: zero gradients, an empty tally; and, in
     * place of each BN with op.synced, its part in the others' sums. */
    int (*empty_batch)(struct tr_backend *b, float *g, size_t count);
    int (*empty_norm)(struct tr_backend *b, const struct tr_bn_sync *sync, int channels, bool forward);
    /* y = x if the loss of this rank's batch is not finite. */
    int (*restore)(struct tr_backend *b, float *y, const float *x, size_t count);
    /* The sum over the ranks of x[], and of the tally. sum() takes the gradients in parts of sum_floats, as
     * backward finishes them; 0: all at once. What is enqueued after sum_tally() finds all sums done; until
     * then they may run beside it, but for a BN with op.synced, which waits for sums of its own behind them.
     */
    void (*set_ranks)(struct tr_backend *b, const struct tr_rank_sum *ranks); /* outlives the backend */
    size_t sum_floats;
    int (*sum)(struct tr_backend *b, float *x, size_t count);
    int (*sum_tally)(struct tr_backend *b);
    /* By the staged hyper: norm = |g| unscale / loss_scale; the step is skipped when it or the tally's loss is
     * not finite; the gradient is multiplied by unscale / loss_scale, and clipped to clip_norm as
     * torch.nn.utils.clip_grad_norm_ does, min(1, clip_norm / (norm + 1e-6)). lamb: as LAMB's definition has
     * it, 1 / max(1, norm / clip_norm), clip_norm 1 where it is 0. */
    int (*decide)(struct tr_backend *b, const float *g, size_t count, bool lamb);
    /* As backend.h's update() with the staged hyper and what was decided (those of u are not read) unless the step is
     * skipped; then the averages take in the new values. */
    int (*update)(struct tr_backend *b, const struct tr_update *u, const struct tr_averages *a);
    int (*outcome)(struct tr_backend *b); /* (optional) the last that is enqueued */

    /* The host waits. Once for each outcome(). */
    int (*wait)(struct tr_backend *b, struct tr_outcome *ret_outcome);

    /* (optional) All four or none. */
    int (*capture_begin)(struct tr_backend *b);
    int (*capture_end)(struct tr_backend *b, struct tr_captured_graph **ret_recording);
    int (*replay)(struct tr_backend *b, struct tr_captured_graph *r);
    void (*captured_graph_free)(struct tr_backend *b, struct tr_captured_graph *r); /* NULL is fine */
};

#endif
