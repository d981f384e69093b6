/* A model for one batch size, one image size and one mode: the plans of its layers, their order, and the
 * offset of each value in the arena.
 *
 * Training keeps what backward reads; all other values share memory by lifetime, and ops run in place where
 * possible. The graph owns its plans but no memory for values: the arena is passed at each call, so that all
 * graphs of a network use one, sized for the largest. */
#ifndef TRAINER_NETWORK_GRAPH_H
#define TRAINER_NETWORK_GRAPH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/backend.h"
#include "trainer/model/groups.h"

struct im_text;
struct tr_graph;
struct imk_hyper;
struct tr_if_skipped;

struct tr_graph_config {
    const struct tr_backend_ops *ops;
    struct tr_backend *backend;
    const struct tr_model *model;   /* outlives the graph */
    const struct tr_groups *groups; /* what of it is trained; NULL: all. Not needed once the graph is made */
    int n, size;                    /* images of size x size */
    bool training;
    enum imk_dtype precision;
    float mean[3], std[3];
    struct tr_loss loss;              /* of training */
    uint64_t seed;                    /* of random draws in training */
    const struct tr_bn_sync *bn_sync; /* batch norm over several ranks; NULL: this rank only. Unused by
                                         backends on devices */
    bool dw_apart; /* in training: gradients of convolutions' weights beside the rest of the backward pass */
    bool only_measure; /* plan with ops->measure only: the graph has tr_graph_bytes() and
                                         cannot run */
};

/* Times of a layer, in ns. */
struct tr_layer_time {
    uint64_t forward, backward;
};

/* Times of training steps: each adds its own. */
struct tr_step_times {
    struct tr_layer_time *layers; /* [tr_graph_layers()] */
    uint64_t update;              /* of the parameters, with the gradient's norm */
};

/* Device memory that a step works on, all in the model's order. grads may be NULL in evaluation. */
struct tr_graph_memory {
    char *arena; /* at least tr_graph_bytes() */
    const float *params;
    float *grads, *stats;
    uint64_t param_version;
    struct tr_step_times *times; /* NULL: not measured */
};

/* One batch, in host memory. */
struct tr_batch {
    const uint8_t *pixels; /* [n][size][size][3] */
    const int32_t *labels; /* [n] */
    const uint8_t *valid; /* [n], 0 = no part in the loss; NULL = all valid. Batch norm sees the pixels of all
                             samples. */
    int n, size;
    struct tr_mix mix; /* training only; zeroed: none */
    /* Which images of the run these are, for the draws of stochastic depth: image i has place first + i *
     * apart (0 counts as 1) in training step `step`. So N ranks draw what one rank would. */
    uint64_t step;
    uint32_t first, stride;
    /* Batch norm's running statistics stay as they are. Of a trainer that does the work of others, which are gone, or
     * of virtual ranks: they follow the batches that rank 0 would have, so that they are those of a run without deaths. */
    bool keeps_statistics;
    /* With virtual ranks, where there are several ranks: the first `ranks` of these have samples in this step, and their
     * gradients are added in their order. 0: in the transport's. */
    uint32_t ranks;
    int32_t
        statistics_from; /* then: the rank whose running statistics all take after the batch; -1: each has its own */
};

/* -EINVAL: the image is smaller than the model's stride; otherwise errors of the backend. */
int tr_graph_new(const struct tr_graph_config *config, struct tr_graph **ret_graph, struct im_text *text);
void tr_graph_free(struct tr_graph *g); /* NULL is fine */

size_t tr_graph_bytes(const struct tr_graph *g); /* size of its arena */

size_t tr_graph_own_bytes(const struct tr_graph *g); /* other memory of its plans, at most */

/* Size of the arena if no two blocks shared memory. */
size_t tr_graph_bytes_unshared(const struct tr_graph *g);

/* Stages the batch: hyper and if_skipped as in tr_inputs, divisor as in tr_exec. */
int tr_graph_stage(struct tr_graph *g, const struct tr_batch *batch, float smoothing, double divisor,
                   const struct imk_hyper *hyper, const struct tr_if_skipped *if_skipped);

/* Forward and, for a training graph, the loss's gradient, of the batch that was staged. The tally is the
 * backend's (trainer/backends/step.h). */
int tr_graph_forward(struct tr_graph *g, const struct tr_graph_memory *m);

/* Gradients of all trained parameters into m->grads; others are not written. Right after tr_graph_forward with the same arena. done(context,
 * i) (may be NULL) is called when the backward pass of layer i is enqueued, from the last layer to the first;
 * a nonzero result ends the pass and is returned. */
int tr_graph_backward(struct tr_graph *g, const struct tr_graph_memory *m,
                      int (*done)(void *context, int layer), void *context);

/* The logits of the last forward, [n][classes] in host memory; before backward. */
int tr_graph_logits(struct tr_graph *g, const struct tr_graph_memory *m, float *logits);

/* Memory of a layer. */
struct tr_layer_size {
    struct tr_shape y;
    size_t bytes;      /* of the output, for the whole batch; 0 if in place */
    size_t save_bytes; /* saved state for backward */
};
struct tr_layer_size tr_graph_size(const struct tr_graph *g, int layer);

int tr_graph_layers(const struct tr_graph *g);

/* Work of a layer in a step, forward and backward together. */
struct tr_layer_work {
    const char *name, *kernel; /* name "": fused into another layer (enum tr_fusion) */
    char shape[48];            /* "64x56x56 -> 64x56x56 k3 s1" */
    double flop;               /* of convolutions and fully connected layers; 0 for others */
    double bytes;              /* of values and their gradients, read or written once by each op */
};
struct tr_layer_work tr_graph_layer(const struct tr_graph *g, int layer);

#endif
