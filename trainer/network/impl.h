/* What the files network*.c share. */
#ifndef TRAINER_NETWORK_IMPL_H
#define TRAINER_NETWORK_IMPL_H

#include "trainer/backends/step.h"
#include "trainer/network/network.h"

enum { TR_GRAPHS_MAX = 16, TR_STEP_KINDS = 4 };

struct tr_graph_entry {
    struct im_graph *graph;
    int n, size;
    bool training;
    uint64_t used; /* the clock at its last use */
    bool has_run[TR_STEP_KINDS];
    struct im_recording *recordings[TR_STEP_KINDS]; /* of whole steps; NULL: none */
};

/* A part of the gradient arena; it is whole when backward has done layer `layer` and all behind it. */
struct tr_bucket {
    size_t first, count;
    int layer;
};

struct im_network {
    const struct im_backend_ops *ops;
    struct im_backend *backend;
    struct im_model *model;
    struct im_span *spans;
    size_t span_count;
    float *arenas[IM_ARENA_COUNT];
    uint64_t param_version;
    int64_t tracked;
    struct tr_graph_entry graphs[TR_GRAPHS_MAX];
    uint64_t clock;
    char *values; /* the arena of activations */
    size_t value_bytes;
    size_t apart_bytes; /* of the graph that made it so large */
    float mean[3], std[3];
    struct im_loss loss;
    enum im_optimizer optimizer;
    bool accumulates, averages;
    uint64_t seed;
    size_t memory_max;
    enum im_precision precision;
    const struct im_bn_sync *bn_sync;
    struct tr_bucket *buckets;
    size_t bucket_count;
    bool plain_steps;
};

/* network.c */
int tr_network_check_labels(const struct im_network *net, const struct im_batch *batch, struct im_text *text);
struct im_graph_memory tr_network_memory(const struct im_network *net);
int tr_network_copy(struct im_network *net, enum im_arena to, enum im_arena from);
/* The sentence for err: the backend's where it has one. */
int tr_network_failed(struct im_network *net, int err, const char *what, struct im_text *text);

/* graphs.c: the entry of this shape, which is made where there is none; memory for its activations is
 * there. */
int tr_network_entry(struct im_network *net, int n, int size, bool training,
                     struct tr_graph_entry **ret_entry, struct im_text *text);

/* trainer/network/step.c */
int tr_network_buckets(struct im_network *net);
void tr_entry_forget(struct im_network *net, struct tr_graph_entry *e); /* its recordings */

#endif
