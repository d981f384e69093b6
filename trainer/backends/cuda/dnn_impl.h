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
    uint64_t ns;   /* of the plan in use; 0: not known */
    bool had_turn; /* in this start, to go on */
    int tried,
        listed; /* engines of the formulation that were tried, in their order, of those that there are */
    size_t
        rounded; /* BACKWARD_WEIGHTS in 16 bits: elements of dw, which the plan writes to `rounded` of its room */
    enum imk_dtype type;
    int users, users_apart; /* those apart are among them */
};

/* What the runs of one stream share. */
struct tr_dnn_room {
    void *workspace, *rounded;
    size_t workspace_bytes, rounded_bytes;
};

struct tr_dnn {
    struct tr_gpu *gpu;
    struct tr_cudnn *cudnn;
    struct tr_dnn_config config;
    struct tr_plan_cache *known;
    struct tr_dnn_choice **choices;
    int choice_count, choice_room;
    struct tr_dnn_room room, apart; /* of COMPUTE; of WEIGHTS */
    struct tr_dnn_stats stats;
    float epsilon, factor, zero;      /* scalars that graphs read from host memory */
    bool holds_lock, gave_up_waiting; /* the lock of the cache; gave up waiting for it */
    bool cancelled;
    bool went_on; /* with choices that earlier starts had made */
};

static inline struct tr_cudnn_rules tr_dnn_rules(const struct tr_dnn *dnn, const struct tr_dnn_choice *c)
{
    return (struct tr_cudnn_rules){.deterministic = dnn->config.deterministic,
                                   .exact = c->exact,
                                   .workspace_limit = dnn->config.workspace_limit};
}

/* Lists the engines of one formulation. -ENOTSUP: there are none. */
int tr_dnn_list_engines(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, struct im_text *text);
/* Makes the plan of an engine, unless it is the current one, and makes it current. */
int tr_dnn_select(struct tr_dnn_choice *c, int formulation, int engine, struct im_text *text);
/* The same with a plan that was saved; engine: its place in the list, -1 where none was made. */
int tr_dnn_adopt(struct tr_dnn *dnn, struct tr_dnn_choice *c, int formulation, int engine,
                 const struct tr_cudnn_saved *saved);
/* Takes the plan that the cache has. */
bool tr_dnn_plan_from_cache(struct tr_dnn *dnn, struct tr_dnn_choice *c);
/* Frees the engines that were not chosen; all when a plan was restored. */
void tr_dnn_trim(struct tr_dnn_choice *c);

/* Stores the choice in the cache, compiled code included. What cannot be stored is timed, or compiled, again
 * next time. */
void tr_dnn_cache_store(struct tr_dnn *dnn, const struct tr_dnn_choice *c, uint64_t ns);
/* The same in deterministic mode, where nothing is timed: stores cuDNN's first engine only, which is the
 * choice without a cache too. */
void tr_dnn_cache_store_first(struct tr_dnn *dnn, const struct tr_dnn_choice *c);

/* dnn_compile.c: engines that are compiled, several at once, each thread with a cuDNN handle of its own. */
struct tr_dnn_compilers;
#define TR_DNN_COMPILERS_MAX 16
/* As many as there are processors to run on; NULL: one, so that nothing is gained, or no memory. */
struct tr_dnn_compilers *tr_dnn_compilers_new(struct tr_dnn *dnn);
void tr_dnn_compilers_free(struct tr_dnn_compilers *p); /* NULL is fine */
int tr_dnn_compilers_count(const struct tr_dnn_compilers *p);
/* Compiles engines [first, first + count) of a formulation, count <= tr_dnn_compilers_count(). ret_plans[i]:
 * for tr_dnn_adopt(), the caller frees its bytes; bytes NULL: it cannot be planned, or not saved. */
void tr_dnn_compile(struct tr_dnn_compilers *p, const struct tr_dnn_choice *c, int formulation, int first,
                    int count, struct tr_cudnn_saved *ret_plans);

/* dnn_progress.c. Calls config.progress. 0 or -ECANCELED. */
int tr_dnn_report_progress(struct tr_dnn *dnn, const char *what, int at, int of);
/* Waits until no other process makes plans for this model of GPU. 1: look in the cache again; 0;
 * -ECANCELED. */
int tr_dnn_lock(struct tr_dnn *dnn);
void tr_dnn_unlock(struct tr_dnn *dnn);

/* Times the engines of all new choices. -EIO: the GPU failed; -ENOTSUP: a choice has no engine that runs;
 * -ENOMEM: no memory to check those that accumulate. */
int tr_dnn_tune_all(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, struct im_text *text);
/* Goes on with choices of earlier starts, which tried some of the engines: once a process, for a bounded time, and
 * by one of the processes that wait for each other. Errors as above. */
int tr_dnn_tune_more(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, struct im_text *text);

#endif
