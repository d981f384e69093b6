/* A network in training: a model, its parameters on a device, and the graphs that run it. The trainer's loop
 * drives it.
 *
 * One step is tr_network_step_begin(), then tr_network_step_end(): forward and backward, the sums over the
 * ranks, and at the end of a window the update. Graphs are made at the first batch of their (n, size, mode)
 * and kept; tr_network_prepare() makes one ahead of time. With a fixed thread count every run of the same
 * calls gives the same bits. Called by one thread at a time.
 *
 * In this folder: what turns a model into ops and memory (graph, fuse, arena, graphs), and the step over a
 * backend (network, step). It uses model/ and the contract in backends/ only: no file, no rank and no
 * option is read here. Fusion and placement are pure functions; keep them so. */
#ifndef TRAINER_NETWORK_NETWORK_H
#define TRAINER_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/hyper.h"
#include "trainer/backends/backend.h"
#include "trainer/model/model.h"
#include "trainer/network/graph.h"

struct im_text;
struct tr_network;
struct tr_outcome;
struct tr_rank_sum;

struct tr_network_config {
    const char *model; /* this and the next ones: tr_model_config */
    enum tr_stem stem;
    enum tr_head head;
    enum tr_blurpool blurpool;
    int classes;
    double drop_path_rate;
    bool zero_init_residual;
    const char *backend;                /* tr_backend_find */
    const struct tr_backend_ops *ops;   /* instead, for tests; NULL: by name */
    int threads;                        /* 0: all processors */
    struct tr_device_config device;     /* for backends of devices; its precision is that below */
    const struct tr_rank_sum *rank_sum; /* sums over the ranks; NULL: single rank; outlives the network */
    bool plain_steps;                   /* enqueue every step, capture none */
    enum imk_dtype precision;
    uint64_t seed;
    float mean[3], std[3]; /* of pixels / 255, per channel; std > 0 */
    struct tr_loss
        loss; /* of training, its weights in host memory; validation always has cross-entropy without
                              weights */
    enum im_optimizer optimizer;
    bool muon;                        /* steps the hidden matrices, the optimiser the other tensors */
    bool muon_fixed_norm;             /* of struct tr_update */
    struct tr_groups groups;          /* what is trained at first; zeroed: all, at one rate */
    bool accumulates;                 /* steps may consist of several batches */
    bool averages;                    /* of parameters and statistics, with each update */
    const struct tr_bn_sync *bn_sync; /* see struct tr_graph_config; outlives the network */
    size_t memory_max; /* limit of activations in bytes; 0: free device memory, less the copy for
                          snapshots */
};

/* Arrays on the device. Those of one column below have the same size and order: tr_network_floats(). */
enum tr_arena {
    TR_ARENA_PARAMS,
    TR_ARENA_GRADS,
    TR_ARENA_MOMENTUM,    /* the optimiser's first moment */
    TR_ARENA_STATS,       /* running means and variances of batch norm */
    TR_ARENA_SECOND,      /* second moment: AdamW and LAMB */
    TR_ARENA_SUM,         /* gradients of earlier batches: with accumulates */
    TR_ARENA_EMA,         /* averaged parameters: with averages */
    TR_ARENA_EMA_STATS,   /* averaged statistics: with averages */
    TR_ARENA_STATS_BEFORE /* statistics before the current window */
};
#define TR_ARENA_COUNT 9

/* Memory held now, in bytes, by kind. */
struct tr_network_bytes {
    size_t parameters;
    size_t gradients; /* with the sum over earlier batches of the window */
    size_t optimizer; /* both moments */
    size_t statistics;
    size_t averages;
    size_t arenas;      /* the sum of those above */
    size_t activations; /* the arena that all graphs share */
    size_t unshared;    /* its size without sharing of memory */
    size_t backend;     /* repacked parameters, scratch */
    size_t shadow;      /* the device's copy for snapshots */
};

/* Opens the backend and draws the initial parameters. Negative errno with a sentence. */
int tr_network_new(const struct tr_network_config *config, struct tr_network **ret_network,
                   struct im_text *text);
void tr_network_free(struct tr_network *net); /* NULL is fine */

/* Trains these groups of parameters from the next step on, the head among them. Frees the graphs of training;
 * prepare them again. */
int tr_network_train(struct tr_network *net, const struct tr_groups *groups, struct im_text *text);
const struct tr_groups *tr_network_groups(const struct tr_network *net);

/* Makes the graph for batches of n images of size x size. -ENOMEM, before anything is allocated, with the
 * bytes needed and the largest batch that fits. */
int tr_network_prepare(struct tr_network *net, int n, int size, bool training, struct im_text *text);

/* The largest batch of training, up to `most`, that tr_network_prepare() would take with `kept` bytes less of memory; 0: not even one
 * image. -ENOTSUP with a sentence: the backend cannot report how much memory is left. */
int tr_network_largest(struct tr_network *net, int size, int most, size_t kept, struct im_text *text);

/* ---- steps (trainer/backends/step.h) ---- */

/* A batch, and its place in its window. The step fills the gradient arena, sums it over the ranks, and adds
 * it to the window's; at the window's end the optimiser steps and the averages follow, unless the loss or the
 * gradient is not finite: then nothing changes, and the running statistics, which advance with each batch, are
 * again what they were before the window. Its batches count as tracked at its end. */
struct tr_step {
    float label_smoothing;
    double divisor;         /* divisor of the summed loss for the gradient: the usable samples of all ranks,
                               over loss_scale; 0: the valid samples of this batch */
    uint32_t number;        /* of the batch in its window, from 1 */
    bool last;              /* batch of its window; the update follows it */
    struct imk_hyper hyper; /* if last */
    /* Not NULL: begun before the _end() of the step before, which tr_network_goes_ahead() allows. The numbers above hold
     * if that one is taken, these if it is skipped. */
    const struct tr_if_skipped *if_skipped;
};

/* Begins a step; the batch may be empty. Its pixels must stay valid until _end(), or until they are consumed;
 * other memory may be reused on return. -EINVAL: the label of a valid sample is outside 0 .. classes-1. > 0:
 * the result of tr_rank_sum.sum. */
int tr_network_step_begin(struct tr_network *net, const struct tr_batch *batch, const struct tr_step *step,
                          struct im_text *text);
/* Whether the step of this batch may begin before the _end() of the step before: both end windows of one batch, and the
 * device has captured the step. */
bool tr_network_goes_ahead(struct tr_network *net, const struct tr_batch *batch);

/* Of steps in their order. > 0: the result of tr_rank_sum.watch. */
int tr_network_step_end(struct tr_network *net, struct tr_outcome *ret_outcome, struct im_text *text);

/* Between the two, if the backend supports it: starts to copy the pixels of the next batch, which must stay
 * valid until its own _end(), or until they are consumed after its own _begin(). */
int tr_network_prefetch(struct tr_network *net, const struct tr_batch *batch, struct im_text *text);
/* Between the two: whether the device has copied the batch's pixels, so that their memory may be reused. Does
 * not wait. */
bool tr_network_input_consumed(struct tr_network *net);

/* Forward with the running statistics, or with the averaged parameters and statistics; loss without
 * smoothing. logits (may be NULL): [n][classes] in host memory. */
int tr_network_evaluate(struct tr_network *net, const struct tr_batch *batch, bool averaged, float *logits,
                        struct tr_tally *ret_tally, struct im_text *text);

/* Resets the averages to the current parameters and statistics. */
int tr_network_reset_averages(struct tr_network *net);

enum im_optimizer tr_network_optimizer(const struct tr_network *net);
bool tr_network_has_muon(const struct tr_network *net);

/* The description of the tensors; tr_param_tensor.offset counts elements of the arena
 * that tr_tensor_home() names. */
const struct tr_model *tr_network_model(const struct tr_network *net);

/* Size of an arena in floats: param_floats or stat_floats of the model; 0 if the configuration does not need
 * it. */
size_t tr_network_floats(const struct tr_network *net, enum tr_arena arena);

/* The same without a network: of a model that is trained so. */
struct tr_arena_use {
    enum im_optimizer optimizer;
    bool accumulates, averages;
};
size_t tr_arena_floats(const struct tr_model *model, const struct tr_arena_use *use, enum tr_arena arena);

/* Copies a whole arena to or from host memory. Gaps between tensors are zero and must be written as zero. */
int tr_network_read(struct tr_network *net, enum tr_arena arena, float *host);
int tr_network_write(struct tr_network *net, enum tr_arena arena, const float *host);

/* Snapshots that later steps do not wait for, of the arenas in the bits 1 << enum tr_arena (shadow.h). 0: there is
 * memory for one; -ENOTSUP: the backend has none; -ENOMEM with a sentence: tr_network_read() remains. */
int tr_network_shadow_open(struct tr_network *net, unsigned arenas, struct im_text *text);
void tr_network_shadow_close(struct tr_network *net); /* none is fine */
/* Where an arena of the last one that arrived lies; NULL: it is not among them. */
float *tr_network_shadow_arena(struct tr_network *net, enum tr_arena arena);
/* Between steps: the arenas as they are now. Not before the last one has arrived. */
int tr_network_shadow_take(struct tr_network *net, struct im_text *text);
/* 1: it has arrived and stays until the next take; 0: not yet, unless `wait`. */
int tr_network_shadow_arrived(struct tr_network *net, bool wait, struct im_text *text);

/* The arena on the device, for collectives over gradients and statistics; parameters change by
 * tr_network_write() and the optimiser only. */
float *tr_network_arena(struct tr_network *net, enum tr_arena arena);

/* Pins memory that pixels of batches are read from: see tr_backend_ops.host_pin. 0 also if the backend does
 * not use it; an error with a sentence only costs speed. */
int tr_network_pin_host(struct tr_network *net, void *memory, size_t bytes, struct im_text *text);
void tr_network_unpin_host(struct tr_network *net, void *memory);

/* num_batches_tracked of every batch norm: the batches of all windows that were not skipped, without those in which
 * all batch norms were frozen. */
int64_t tr_network_tracked(const struct tr_network *net);
void tr_network_set_tracked(struct tr_network *net, int64_t batches);

struct tr_network_bytes tr_network_bytes(const struct tr_network *net);

enum imk_dtype tr_network_precision(const struct tr_network *net);

/* A warning about the precision on this machine, a sentence; NULL: none. */
const char *tr_network_precision_warning(const struct tr_network *net);

/* From now on each enqueued training step adds its times to *times; NULL: stops. Of a network with plain_steps. */
void tr_network_time(struct tr_network *net, struct tr_step_times *times);

/* The graph of that shape, for tools; it may be freed when another is made. */
int tr_network_graph(struct tr_network *net, int n, int size, bool training, struct tr_graph **ret_graph,
                     struct im_text *text);

#endif
