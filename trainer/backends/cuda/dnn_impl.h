/* Shared by dnn.c (plans and runs), dnn_tune.c (timing of engines) and dnn_progress.c (progress, the cache
 * lock). */
#ifndef TRAINER_BACKENDS_CUDA_DNN_IMPL_H
#define TRAINER_BACKENDS_CUDA_DNN_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/cuda/cudnn.h"
#include "trainer/backends/cuda/dnn.h"
#include "trainer/backends/cuda/dnn_graphs.h"
#include "trainer/backends/cuda/plan_cache.h"

#define TR_DNN_FORMULATIONS 2 /* formulations of an operation as a graph; BACKWARD_ADD has two */
#define TR_DNN_KEY 192

/* One operation on one shape in one type, shared by all layers that have it. */
struct tr_dnn_choice {
    char key[TR_DNN_KEY];
    struct tr_dnn_graph graphs[TR_DNN_FORMULATIONS];
    struct tr_cudnn_graph *formulations[TR_DNN_FORMULATIONS]; /* NULL: no engines, or not queried */
    struct tr_cudnn_plan *plan; /* the one in use, of formulations[formulation] */
    int formulation_count, formulation, engine;
    char name[200]; /* of the engine, with its formulation */
    bool exact;     /* fp32 stays fp32 */
    bool adds;      /* the output accumulates; engines are checked for that */
    bool timed, checked;
    size_t rounded; /* BACKWARD_WEIGHTS in 16 bits: elements of dw, which the plan writes to dnn->rounded */
    enum imk_dtype type;
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
    struct tr_dnn_stats stats;
    float epsilon, factor, zero;      /* scalars that graphs read from host memory */
    bool holds_lock, gave_up_waiting; /* the lock of the cache; gave up waiting for it */
    bool cancelled;
};

/* Lists the engines of one formulation. -ENOTSUP: there are none. */
int tr_dnn_list_engines(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, struct im_text *text);
/* Makes the plan of an engine, unless it is the current one, and makes it current. */
int tr_dnn_select(struct tr_dnn_choice *c, int formulation, int engine, struct im_text *text);
/* Frees the engines that were not chosen. */
void tr_dnn_trim(struct tr_dnn_choice *c);

/* Stores the choice in the cache, compiled code included. What cannot be stored is timed, or compiled, again
 * next time. */
void tr_dnn_cache_store(struct tr_dnn *dnn, const struct tr_dnn_choice *c, uint64_t ns);
/* The same in deterministic mode, where nothing is timed: stores cuDNN's first engine only, which is the
 * choice without a cache too. */
void tr_dnn_cache_store_first(struct tr_dnn *dnn, const struct tr_dnn_choice *c);

/* dnn_progress.c. Calls config.progress. 0 or -ECANCELED. */
int tr_dnn_report_progress(struct tr_dnn *dnn, const char *what, int at, int of);
/* Waits until no other process makes plans for this model of GPU. 1: look in the cache again; 0;
 * -ECANCELED. */
int tr_dnn_lock(struct tr_dnn *dnn);
void tr_dnn_unlock(struct tr_dnn *dnn);

/* Times the engines of all new choices. -EIO: the GPU failed; -ENOTSUP: a choice has no engine that runs;
 * -ENOMEM: no memory to check those that accumulate. */
int tr_dnn_tune_all(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, struct im_text *text);

#endif
