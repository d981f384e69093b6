/* What trainer/backends/cuda/dnn.c (plans and runs) and dnn_tune.c (which engine is fastest) share. */
#ifndef TRAINER_BACKENDS_CUDA_DNN_IMPL_H
#define TRAINER_BACKENDS_CUDA_DNN_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/cuda/cudnn.h"
#include "trainer/backends/cuda/dnn.h"
#include "trainer/backends/cuda/dnn_graphs.h"
#include "trainer/backends/cuda/plan_cache.h"

#define TR_DNN_WAYS 2 /* in which an operation can be said as a graph; BACKWARD_ADD has two */
#define TR_DNN_KEY 192

/* One operation on one shape in one type, however many layers have it. */
struct tr_dnn_choice {
    char key[TR_DNN_KEY];
    struct tr_dnn_graph graphs[TR_DNN_WAYS];
    struct tr_cudnn_graph *ways[TR_DNN_WAYS]; /* NULL: has no engines, or was not asked for any */
    struct tr_cudnn_plan *plan;               /* the one that runs; of ways[way] */
    int way_count, way, engine;
    char name[200]; /* of the engine, with its way */
    bool exact;     /* fp32 stays fp32 */
    bool adds;      /* what is written is added to what was there, and engines are checked for that */
    bool timed, checked;
    size_t rounded; /* BACKWARD_WEIGHTS in 16 bits: elements of dw, which the plan writes into dnn->rounded */
    enum tr_gpu_type type;
    int users;
};

struct tr_dnn {
    struct tr_gpu *gpu;
    struct tr_cudnn *cudnn;
    struct tr_dnn_config config;
    struct tr_plan_cache *known;
    struct tr_dnn_choice **choices;
    int choice_count, choice_room;
    void *workspace, *rounded;
    size_t rounded_bytes;
    struct tr_dnn_facts facts;
    float epsilon, factor, zero; /* numbers that graphs read from host memory */
    bool owns, alone;            /* the cache's lock; waits for it no more */
    bool cancelled;
};

/* Asks cuDNN for the engines of one way to say it. -ENOTSUP: there are none. */
int tr_dnn_ask(struct tr_dnn *dnn, struct tr_dnn_choice *c, int way, struct im_text *text);
/* Makes the plan of an engine, unless it is there, and puts it in place of the choice's. */
int tr_dnn_take(struct tr_dnn_choice *c, int way, int engine, struct im_text *text);
/* Forgets the engines that were not chosen. */
void tr_dnn_trim(struct tr_dnn_choice *c);

/* Into the cache, its compiled code included. What cannot be kept is timed, or compiled, again next time. */
void tr_dnn_remember(struct tr_dnn *dnn, const struct tr_dnn_choice *c, uint64_t ns);
/* The same where nothing is timed, and only of cuDNN's first engine: that is the same one without a cache. */
void tr_dnn_remember_first(struct tr_dnn *dnn, const struct tr_dnn_choice *c);

/* dnn_progress.c. Tells config.progress. 0 or -ECANCELED. */
int tr_dnn_tell(struct tr_dnn *dnn, const char *what, int at, int of);
/* Waits until no other process makes plans for such a GPU. 1: look into the cache again; 0; -ECANCELED. */
int tr_dnn_own(struct tr_dnn *dnn);
void tr_dnn_disown(struct tr_dnn *dnn);

/* Times the engines of all choices that are new. -EIO: the GPU failed; -ENOTSUP: no engine of one runs;
 * -ENOMEM: there is no memory to check those that add. */
int tr_dnn_time_all(struct tr_dnn *dnn, struct im_text *text);

#endif
