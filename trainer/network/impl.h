/* Private to this folder. */
#ifndef TRAINER_NETWORK_IMPL_H
#define TRAINER_NETWORK_IMPL_H

#include "trainer/backends/step.h"
#include "trainer/network/network.h"

enum { TR_GRAPHS_MAX = 16, TR_STEP_KINDS = 4 };

struct tr_graph_entry {
    struct tr_graph *graph;
    int n, size;
    bool training;
    uint64_t used; /* the clock at its last use */
    bool has_run[TR_STEP_KINDS];
    struct tr_captured_graph *recordings[TR_STEP_KINDS]; /* of whole steps; NULL: not captured */
};

/* A part of the gradient arena; complete when backward has finished layer `layer` and all after it. */
struct tr_bucket {
    size_t first, count;
    int layer;
};

struct tr_network {
    const struct tr_backend_ops *ops;
    struct tr_backend *backend;
    struct tr_model *model;
    struct tr_groups groups; /* what is trained */
    bool trains_norms;
    struct tr_span *spans;
    size_t span_count;
    float *arenas[TR_ARENA_COUNT];
    size_t floats[TR_ARENA_COUNT]; /* of each; 0: the configuration does not need it */
    size_t arena_bytes;            /* of all */
    uint64_t param_version;
    int64_t tracked;
    uint32_t moved;     /* batches of the window so far that moved the statistics */
    float *kept_stats;  /* host memory, [floats of TR_ARENA_STATS]; NULL: no batch has kept them yet */
    uint32_t ending[2]; /* of the steps in progress: `moved` of the window that ends with it; 0: it goes on */
    uint64_t begun, ended;                    /* steps */
    const struct tr_captured_graph *replayed; /* by the last step, which was a whole window; NULL: none */
    struct tr_graph_entry graphs[TR_GRAPHS_MAX];
    uint64_t clock;
    char *values; /* the arena of activations */
    size_t value_bytes;
    size_t unshared_bytes; /* of the graph that determined its size */
    float mean[3], std[3];
    struct tr_loss loss; /* its weights are this network's */
    float *class_weights;
    uint32_t *label_sets;
    enum im_optimizer optimizer;
    bool muon, muon_fixed_norm;
    bool accumulates, averages;
    uint64_t seed;
    size_t memory_max;
    enum imk_dtype precision;
    const struct tr_bn_sync *bn_sync;
    struct tr_bucket *buckets;
    size_t bucket_count;
    bool plain_steps, dw_apart;
    struct tr_shadow *shadow; /* NULL: none */
    unsigned shadow_arenas;
    size_t shadow_bytes;         /* on the device */
    struct tr_step_times *times; /* of training steps; NULL: not measured */
};

/* Arenas of the same size. */
static inline int tr_network_copy(struct tr_network *net, enum tr_arena to, enum tr_arena from)
{
    return net->ops->lerp(net->backend, net->arenas[to], net->arenas[from], 1, net->floats[to]);
}

/* step.c. Fills in the sentence for err: the backend's, if it has one. */
int tr_network_failed(struct tr_network *net, int err, const char *what, struct im_text *text);

/* graphs.c: the entry of this shape, made if missing, with memory for its activations. */
int tr_network_entry(struct tr_network *net, int n, int size, bool training,
                     struct tr_graph_entry **ret_entry, struct im_text *text);

const struct tr_graph_entry *tr_network_find(struct tr_network *net, int n, int size,
                                             bool training); /* NULL: none */

void tr_network_drop_graphs(struct tr_network *net, bool only_training); /* frees them */

#endif
