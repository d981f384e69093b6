/* The state of one trainer, shared by the files of this folder. */
#ifndef TRAINER_IMPL_H
#define TRAINER_IMPL_H

#include "ipc/batch.h"
#include "ipc/child.h"
#include "ipc/config/lr_range.h"
#include "ipc/shuffle.h"
#include "trainer/backends/cuda/module.h"
#include "trainer/backends/cuda/telemetry.h"
#include "trainer/checkpoint/identity.h"
#include "trainer/checkpoint/resume.h"
#include "trainer/checkpoint/snapshot.h"
#include "trainer/checkpoint/state.h"
#include "trainer/multi_label.h"
#include "trainer/network/network.h"
#include "trainer/optim/schedule.h"
#include "trainer/outcomes.h"
#include "trainer/per_class.h"
#include "trainer/ranks.h"
#include "trainer/report.h"
#include "trainer/saving.h"
#include "trainer/training_step.h"

/* Own copies of what shared memory says of a batch's places, [batch_size_max] each: they do not change while a step
 * uses them. */
struct tr_places {
    int32_t *labels;
    uint32_t *verdicts;
    uint64_t *samples, *positions; /* positions: in the pass */
};

/* Rank 0's checkpoints that could not be written. */
struct tr_save {
    uint32_t failures; /* in a row; 0: the last one was written */
    bool lacks_state;  /* what continuing needs could not be written either */
    uint32_t retries;  /* asked for, as if somebody had requested a checkpoint */
    im_ns retry_at, delay;
    uint64_t next_batch; /* the position of the last failure, and what it was to be */
    int epoch;
    unsigned best;                               /* TR_BEST_* */
    double top1[TR_WEIGHTS], before[TR_WEIGHTS]; /* the accuracy of `best`; that of the files as they are */
    struct im_text why;
    int why_err;
    bool is_known;        /* what is on disk */
    uint64_t saved_batch; /* next batch of it */
    uint64_t saved_steps;
    uint32_t saved_epochs;
};

/* One batch of this rank. */
struct tr_ring_batch {
    uint64_t g;
    uint32_t count, valid; /* samples; decoded ones */
    double weight;         /* of those that take part in the loss */
    const struct im_phase *phase;
    struct im_batch_view view;
    struct tr_batch batch;
    bool released; /* its slots were returned to the ring */
    im_ns began;   /* its step, or the end of the one before */
};

struct tr_trainer {
    struct im_child *child;
    struct tr_ranks ranks;
    struct tr_network *net;
    struct tr_state state;
    struct tr_checkpoint_store store;
    struct tr_snapshot snapshot;
    struct tr_identity identity; /* of its snapshots; zeroed: the run uses one machine */
    struct tr_report report;
    const struct tr_cuda_table *cuda; /* NULL: trains on the CPU */
    struct tr_telemetry *telemetry;   /* of this rank's GPU; NULL: none */
    double peak;                      /* peak FLOP/s of the GPU; 0: unknown */
    char plan_cache[PATH_MAX];        /* path of the plan cache */
    void *pinned_ring;                /* the batch ring, pinned for the device; NULL: not pinned */
    struct tr_schedule schedule;
    struct tr_training_step training_step;
    struct tr_outcomes outcomes; /* of an evaluation */
    float *class_weights;        /* NULL: none */
    struct tr_multi_label multi; /* zeroed: images have one label */
    struct tr_per_class per_class;
    struct tr_position at;
    unsigned char *valid;          /* [batch_size_max] */
    struct tr_places places, next; /* of this batch, and of the prefetched one */
    uint64_t pass_from;            /* first sample of the current pass in this process */
    im_ns epoch_mark;              /* start of the interval not yet counted in the position */
    double lr;                     /* of the last step */
    bool begins_again;             /* trainers of this run have died before */
    struct {
        uint64_t first_position;   /* im_control.first_position of rank 0's node; 0: one machine */
        uint64_t first_order;      /* im_control.first_order there */
        uint64_t ended[IM_SPLITS]; /* im_ledger.ended there */
    } leader;                      /* of a run on several machines: this one may have come later */
    uint32_t saves_seen;           /* checkpoint requests already served */
    uint32_t snapshots_seen;       /* snapshot requests already served */
    struct tr_save save;
    struct tr_saving saving;
    struct im_lr_range_smooth smooth; /* of a learning-rate range test */
    struct im_shuffle order;          /* of the samples of order_epoch; n = 0: of none yet */
    uint32_t order_epoch;
    bool lr_range_done;          /* the range test has finished */
    bool in_flight;              /* the device takes a step whose end was not waited for: */
    struct tr_ring_batch flying; /* ... its batch; all else is as before that step */
    uint64_t steps_ahead;        /* begun while one was in flight */
};

static inline bool tr_trainer_leads(const struct tr_trainer *t)
{
    return tr_rank(t->child) == 0;
}

/* The first of the trainers on this node: what is counted is counted in its shared memory. */
static inline bool tr_trainer_leads_node(const struct tr_trainer *t)
{
    return t->child->index == 0;
}

/* Marks a stage of the trainer for GPU profilers. */
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

/* All functions return 0, a positive exit status to leave with, or a negative errno, with or without a
 * sentence. */

/* open.c. t->child must be set. tr_trainer_close accepts a half-opened trainer. abandon: files only, see
 * tr_has_abandoned_gpu(). */
int tr_trainer_open(struct tr_trainer *t, struct im_text *text);
void tr_trainer_close(struct tr_trainer *t, bool abandon);

/* Before the position is published for the first time in this start of the run. */
void tr_trainer_note_order(const struct tr_trainer *t);

/* trainer/shared_state.c. Of a run on several machines, once its ranks are connected: all continue from the newest state
 * that any machine has, and tell their position then. `from`: what this rank has found; only rank 0 and the first of each
 * machine look. */
int tr_trainer_share_state(struct tr_trainer *t, struct tr_resume *from, struct im_text *text);
/* Of one whose ranks are all on this machine now: the identity of its snapshots. */
void tr_trainer_identify(struct tr_trainer *t, const struct tr_resume *from);

/* trainer/batch.c */

/* The rings are set up once every trainer has reported its position. 0, or the exit status to leave with. */
int tr_await_start(struct im_child *child);

/* Waits for `count` samples of the batch. IM_EXIT_RESUMABLE: asked to stop. */
int tr_batch_wait(struct tr_trainer *t, uint64_t batch, uint32_t count);
/* Views the complete batch g of this rank. Its samples are entered in the ledger after all ranks have agreed
 * on the step. IM_EXIT_CONTRADICTION with a sentence: it is not what its augmenters wrote. */
int tr_batch_view(struct tr_trainer *t, const struct im_phase *phase, uint64_t g, uint32_t count,
                  struct tr_ring_batch *ret, struct im_text *text);
/* Whether this rank's batch was trained on before, when the pass's batches were shared by another number of ranks. */
bool tr_batch_is_done(const struct tr_trainer *t, const struct im_phase *phase, uint64_t g);
/* trainer/whiten.c: before the run's first batch is trained on, of all ranks. Nothing for other batches, other networks, and
 * with --init-from. */
int tr_trainer_whiten(struct tr_trainer *t, const struct tr_ring_batch *b, struct im_text *text);
/* trainer/first_batch.c: the images of the first batch, for a picture. */
void tr_first_batch_keep(const struct tr_trainer *t, const struct tr_ring_batch *b);
/* Validates on the batch and returns its slots. weight: over all ranks. */
int tr_batch_validate(struct tr_trainer *t, struct tr_ring_batch *b, struct im_text *text);
/* Begins to train on the batch, and keeps it as t->flying; where one is in flight, ends that step. weight: over all
 * ranks. */
int tr_batch_train(struct tr_trainer *t, struct tr_ring_batch *b, double weight, struct im_text *text);
/* Waits for the step in flight, if there is one, and returns its slots. What is saved, and what is reported as done, is
 * as of the steps that have landed. */
int tr_batch_land(struct tr_trainer *t, struct im_text *text);
/* The next batch to train or validate on, behind the one in flight. */
static inline uint64_t tr_trainer_next_batch(const struct tr_trainer *t)
{
    return t->at.next_batch + t->in_flight;
}

/* save.c */

void tr_trainer_position(const struct tr_trainer *t, struct tr_position_text *ret);
/* Adds the wall time since the last call to the position. */
void tr_trainer_count_time(struct tr_trainer *t, bool training);
/* Rank 0 saves a checkpoint for all ranks after comparing their states. epoch: the finished epoch, or -1
 * within one. 0 also when it could not be written: it is reported, and tried again later. > 0: nothing was saved,
 * because another process may own the run directory by now. */
int tr_trainer_save(struct tr_trainer *t, int epoch, unsigned best, struct im_text *text);
/* The last save of this process: what could not be written is tried again and again, for a bounded time.
 * Negative errno with a sentence that says what is saved. */
int tr_trainer_save_last(struct tr_trainer *t, bool at_the_end, struct im_text *text);
/* SIGUSR2 requests a checkpoint, and so does one that could not be written. */
uint32_t tr_trainer_save_requests(struct tr_trainer *t);
int tr_trainer_save_on_request(struct tr_trainer *t, uint32_t requests, bool training, struct im_text *text);
/* Takes a snapshot if one is due; where ranks are on several machines, the first of each takes one if all have agreed
 * on it, and all call it. Call only between steps, and after an epoch's end only once its checkpoint
 * is saved: a run continued from a snapshot repeats the epoch's end. */
int tr_trainer_snapshot(struct tr_trainer *t, bool training, bool agreed, struct im_text *text);
/* The same while the run is paused: of this rank alone. */
int tr_trainer_snapshot_paused(struct tr_trainer *t, bool training, struct im_text *text);
/* While a step is in flight: goes on with one that is being made. */
int tr_trainer_snapshot_advance(struct tr_trainer *t, struct im_text *text);
/* Whether one is to be taken before batch `next_batch`. */
bool tr_trainer_snapshot_is_due(const struct tr_trainer *t, uint64_t next_batch);

/* trainer/pause.c */

bool tr_trainer_is_paused(const struct tr_trainer *t);
/* Waits between two steps until the run goes on, is stopped, or asks for a checkpoint. Snapshots that are
 * asked for are taken, and the time is not counted. */
int tr_trainer_wait_paused(struct tr_trainer *t, bool training, struct im_text *text);

/* validation.c */
bool tr_validation_has_loss(const struct tr_sums *sums);
/* At the end of a validation pass. -EDOM with a sentence: the weights are not finite. */
int tr_trainer_check_validation(struct tr_trainer *t, struct im_text *text);

#endif
