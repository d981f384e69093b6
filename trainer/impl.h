/* What the files trainer*.c share: one trainer's state, from opening to closing. */
#ifndef TRAINER_IMPL_H
#define TRAINER_IMPL_H

#include "ipc/batch.h"
#include "ipc/child.h"
#include "ipc/config/lr_range.h"
#include "trainer/backends/cuda/module.h"
#include "trainer/backends/cuda/telemetry.h"
#include "trainer/checkpoint/snapshot.h"
#include "trainer/checkpoint/state.h"
#include "trainer/network/network.h"
#include "trainer/optim/schedule.h"
#include "trainer/ranks.h"
#include "trainer/report.h"
#include "trainer/training_step.h"

struct tr_trainer {
    struct im_child *child;
    struct tr_ranks team;
    struct tr_network *net;
    struct tr_state state;
    struct tr_checkpoint_store store;
    struct tr_snapshot snapshot;
    struct tr_report report;
    const struct tr_cuda_table *cuda; /* NULL: trains on the CPU */
    struct tr_telemetry *telemetry;   /* of this rank's GPU; NULL: there is none */
    double peak;                      /* FLOP/s that it can do; 0: not known */
    char plans[PATH_MAX];             /* file of what is known of the GPU's kernels */
    void *locked;                     /* the batch ring, page-locked for the device; NULL: it is not */
    struct tr_schedule schedule;
    struct tr_training_step recipe;
    struct tr_position at;
    unsigned char *valid;             /* [batch_size_max] */
    uint64_t pass_from;               /* sample number that the current pass was entered at */
    im_ns epoch_mark;                 /* for the clocks of the position */
    double lr;                        /* of the last step */
    uint32_t saves_seen;              /* requests for a checkpoint that were met */
    struct im_lr_range_smooth smooth; /* of a learning-rate range test */
    bool swept;                       /* which is over */
};

/* One batch of this rank. */
struct tr_ring_batch {
    uint64_t g;
    uint32_t count, valid, usable; /* samples; of them those that could be read, and that count in the loss */
    const struct im_phase *phase;
    struct im_batch_view view;
    struct tr_batch batch;
    bool is_back; /* its places were given back */
};

static inline bool tr_trainer_leads(const struct tr_trainer *t)
{
    return t->child->index == 0;
}

/* Names what the trainer does for profilers of the GPU. */
static inline void tr_trainer_begin_stage(const struct tr_trainer *t, const char *stage)
{
    if (t->cuda)
        t->cuda->range_push(stage);
}

static inline void tr_trainer_end_stage(const struct tr_trainer *t)
{
    if (t->cuda)
        t->cuda->range_pop();
}

/* All of these: 0; > 0: leave with that status; a negative errno, with a sentence or without. */

/* open.c. t->child is set. tr_trainer_close takes what opening left, whole or in part. */
int tr_trainer_open(struct tr_trainer *t, struct im_text *text);
void tr_trainer_close(struct tr_trainer *t, bool failed);

/* trainer/batch.c */

/* Waits until `count` samples of the batch are there. IM_EXIT_RESUMABLE: asked to stop. */
int tr_batch_wait(struct tr_trainer *t, uint64_t batch, uint32_t count);
/* The complete batch g of this rank. Its samples enter the ledger when all ranks have agreed on the step. */
void tr_batch_view(struct tr_trainer *t, const struct im_phase *phase, uint64_t g, uint32_t count,
                   struct tr_ring_batch *ret);
/* Trains or validates on it and gives it back. usable: of all ranks' batches together. */
int tr_batch_run(struct tr_trainer *t, struct tr_ring_batch *b, uint64_t usable, struct im_text *text);

/* save.c */

void tr_trainer_position(const struct tr_trainer *t, struct tr_position_text *ret);
/* Moves the wall time since the last call into the position. */
void tr_trainer_count_time(struct tr_trainer *t, bool training);
/* Rank 0 saves for all, when all hold the same. epoch: its end; -1: between. > 0: nothing was saved: somebody
 * else may own the run directory by now. */
int tr_trainer_save(struct tr_trainer *t, int epoch, bool best, struct im_text *text);
/* SIGUSR2: a checkpoint now, and on. */
uint32_t tr_trainer_save_requests(const struct tr_trainer *t);
int tr_trainer_save_on_request(struct tr_trainer *t, uint32_t requests, bool training, struct im_text *text);
/* When it is due. Only between steps, and after an epoch's end only once its checkpoint is saved: whoever
 * goes on from a snapshot does the epoch's end again. */
int tr_trainer_snapshot(struct tr_trainer *t, bool training, struct im_text *text);

#endif
