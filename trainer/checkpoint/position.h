/* The position of a run, to the batch: what a checkpoint holds beside tensors. */
#ifndef TRAINER_CHECKPOINT_POSITION_H
#define TRAINER_CHECKPOINT_POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/config/conf.h"
#include "ipc/plan.h"
#include "trainer/backends/backend.h"
#include "trainer/model/groups.h"
#include "trainer/optim/scaler.h"

struct tr_safetensors;
struct tr_pair;

/* Of a validation of images with several labels. */
struct tr_multi_scores {
    bool known; /* at its end */
    double map; /* mean over the classes of the average precision */
    double f1, f1_macro;
};

/* Sums over the batches of a pass so far. */
struct tr_sums {
    double loss;
    uint64_t valid, top1, top5;
    struct tr_multi_scores multi; /* of no checkpoint: known between a pass's end and its epoch's */
};

/* The weights that are validated. The averages exist with --ema. */
enum tr_weights { TR_PLAIN, TR_AVERAGED };
#define TR_WEIGHTS 2

struct tr_position {
    uint64_t next_batch; /* global: of training and validation alike */
    uint64_t order; /* with --elastic drop: batches of the training pass done, in its order (ipc/plan.h), */
    uint64_t window_order;   /* ... and those before the current accumulation window; 0 between passes */
    uint64_t steps;          /* training steps, skipped ones too: the schedule's step */
    uint64_t updates;        /* steps that were not skipped: the update count of moments and averages */
    uint32_t bad_steps;      /* skipped in a row, most recently */
    uint32_t window_batches; /* batches of the current accumulation window done so far */
    struct tr_sums window;   /* of those */
    double window_weight;    /* of their samples, each 1 without --class-weights */
    struct tr_scaler scaler;
    uint32_t epochs;                     /* finished */
    struct tr_sums sums[IM_SPLITS];      /* of the current epoch */
    struct tr_sums ema;                  /* of its validation with averaged weights */
    struct tr_groups groups;             /* trained in the last step, and since when */
    double train_seconds, epoch_seconds; /* of the current epoch, by earlier processes too */
    double best_top1[TR_WEIGHTS];        /* of validation, or mAP; -1: none yet */
    uint32_t stop_epoch;                 /* with --early-stop: finished epochs when validation was best, */
    uint32_t stop_seen;                  /* ... and at the last validation */
    double stop_best;                    /* ... and how good: the accuracy, or the loss below 0 */
    uint64_t train_samples;              /* of the current epoch, timed in train_seconds */
};

/* The start of a run. */
struct tr_position tr_position_start(const struct im_conf *conf);

void tr_sums_add(struct tr_sums *sums, const struct tr_tally *tally);

/* Mean loss and accuracies; NaN without valid samples. */
double tr_mean_loss(const struct tr_sums *sums);
double tr_top1(const struct tr_sums *sums);
double tr_top5(const struct tr_sums *sums);

/* What the best epoch is chosen by: top-1, or mAP. */
double tr_accuracy(const struct tr_sums *sums);

/* The position and the options that it depends on, as checkpoint metadata. The object owns the text. The
 * batch is written as (epoch, split, step), which stays valid when the plan gets more epochs. */
#define TR_POSITION_PAIRS 80
#define TR_POSITION_WINDOW "window.batches" /* key of window_batches */
struct tr_position_text {
    char value[TR_POSITION_PAIRS][64];
    const char *key[TR_POSITION_PAIRS];
    size_t count;
};
void tr_position_write(const struct tr_position *p, const struct im_conf *conf, const struct im_plan *plan,
                       const uint64_t samples[IM_SPLITS], struct tr_position_text *ret);
/* Adds the seconds: of a snapshot, not of a file, which equal runs write byte for byte alike (times.h). */
void tr_position_write_times(const struct tr_position *p, struct tr_position_text *ret);
bool tr_position_has_times(const struct tr_safetensors *state); /* a file of 0.2 has them, too */
size_t tr_position_pairs(const struct tr_position_text *text,
                         struct tr_pair *ret_pairs); /* room for TR_POSITION_PAIRS */

/* Reads it back for this plan, which may have more epochs. -EBADMSG: malformed; -EINVAL: the run was started
 * with other flags, or has finished more epochs already; the sentence names the flag. */
int tr_position_read(const struct tr_safetensors *state, const struct im_conf *conf,
                     const struct im_plan *plan, const uint64_t samples[IM_SPLITS], struct tr_position *ret,
                     struct im_text *text);

#endif
