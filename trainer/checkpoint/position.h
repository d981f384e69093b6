/* Where a run stands, to the batch: what a checkpoint holds beside tensors. */
#ifndef TRAINER_CHECKPOINT_POSITION_H
#define TRAINER_CHECKPOINT_POSITION_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/config/conf.h"
#include "ipc/plan.h"
#include "trainer/backends/backend.h"
#include "trainer/optim/scaler.h"

struct tr_safetensors;
struct tr_pair;

/* Sums over the batches of a pass so far. */
struct tr_sums {
    double loss;
    uint64_t valid, top1, top5;
};

struct tr_position {
    uint64_t next_batch;     /* global: of training and validation alike */
    uint64_t steps;          /* training steps, skipped ones too: what the learning rate follows */
    uint64_t updates;        /* steps that were not skipped: what moments and averages follow */
    uint32_t bad_steps;      /* skipped in a row up to here */
    uint32_t window_batches; /* of the next step, done already */
    struct tr_sums window;   /* of those */
    struct tr_scaler scaler;
    uint32_t epochs;                     /* finished */
    struct tr_sums sums[IM_SPLITS];      /* of the current epoch */
    struct tr_sums ema;                  /* of its validation with averaged weights */
    double train_seconds, epoch_seconds; /* of the current epoch, by earlier processes too */
    double best_top1;       /* of validation, with averaged weights where there are some; -1 = none yet */
    uint64_t train_samples; /* of the current epoch, timed in train_seconds */
};

/* The start of a run. */
struct tr_position tr_position_start(const struct im_conf *conf);

void tr_sums_add(struct tr_sums *sums, const struct tr_tally *tally);

/* Mean loss and shares of correct answers; NaN when there were no valid samples. */
double tr_mean_loss(const struct tr_sums *sums);
double tr_top1(const struct tr_sums *sums);
double tr_top5(const struct tr_sums *sums);

/* The position and what must stay the same for it to mean the same, as checkpoint metadata. Text lives in the
 * object. The batch is written as (epoch, split, step), which other passes of a longer plan do not move. */
#define TR_POSITION_PAIRS 64
#define TR_POSITION_WINDOW "window.batches" /* key of window_batches */
struct tr_position_text {
    char value[TR_POSITION_PAIRS][64];
    const char *key[TR_POSITION_PAIRS];
    size_t count;
};
void tr_position_write(const struct tr_position *p, const struct im_conf *conf, const struct im_plan *plan,
                       const uint64_t samples[IM_SPLITS], struct tr_position_text *ret);
size_t tr_position_pairs(const struct tr_position_text *text,
                         struct tr_pair *ret_pairs); /* room for TR_POSITION_PAIRS */

/* Reads it back for this plan, which may have more epochs. -EBADMSG: not readable; -EINVAL: the run was begun
 * with other flags, or has done more epochs already; the sentence names the flag. */
int tr_position_read(const struct tr_safetensors *state, const struct im_conf *conf,
                     const struct im_plan *plan, const uint64_t samples[IM_SPLITS], struct tr_position *ret,
                     struct im_text *text);

#endif
