/* Learning rate, momentum and the decay of averages as pure functions of the step, so that continuing a run needs
 * only the step number.
 *
 * A step is one update of the weights; s = 0, 1, ... counts those already taken, T is their number in the
 * run, w of them are warm-up. Epochs may differ in steps (the batch size can change), so T, w and the epoch e
 * that a step belongs to come from a table. Two families:
 *
 * One cycle from the end of the warm-up to the end of the run, with t = s - w and N = T - w:
 *
 *     constant     lr
 *     cosine       lr_min + (lr - lr_min) * (1 + cos(pi * t / N)) / 2     [CosineAnnealingLR; Loshchilov and
 *                                                                          Hutter 2017, eq. 5, no restarts]
 *     polynomial   lr_min + (lr - lr_min) * (1 - t / N) ^ poly_power      [PolynomialLR where lr_min is 0]
 *     onecycle     lr / div_factor up to lr and down to lr / div_factor / final_div_factor; the phases end at
 *                  pct_start * N - 1 and N - 1, or with three_phase at pct_start * N - 1,
 *                  2 * pct_start * N - 2 and N - 1                        [OneCycleLR; Smith 2017]
 *
 * With schedule_restarts each entry of resize_schedule has its own cycle, from its first step to its last [a
 * new scheduler for each size]. The warm-up before it rises linearly from warmup_factor times the cycle's
 * first value to that value [LinearLR, joined by SequentialLR at w]. Epochs counted from the start of the
 * run:
 *
 *     step         lr * gamma ^ floor(e / step_epochs)                    [StepLR]
 *     multistep    lr * gamma ^ (milestones that are <= e)                [MultiStepLR]
 *     exponential  lr * gamma ^ e                                         [ExponentialLR]
 *     triangular   1e-4 * lr at epoch 0, lr at lr_peak_epoch, 0 at the end: that line's values at whole
 *                  epochs, and lines between them over an epoch's steps   [ffcv-imagenet, get_cyclic_lr]
 *
 * The warm-up multiplies these by a factor from warmup_factor to 1 [LinearLR, by ChainedScheduler]; so
 * milestones stay in place, as in Goyal et al. 2017. Names in brackets are PyTorch's, stepped once a step in
 * the first family and once an epoch in the second; values are equal up to rounding.
 *
 * onecycle also runs the momentum (Adam's first beta) from max_momentum down to base_momentum and back (up
 * and down with three_phase), on the same phases, while cycle_momentum says so. All rates are multiplied by
 * the epoch's scale: lr_scale linear or sqrt of (images per step / 256), Goyal et al. 2017 section 2.1 and
 * Krizhevsky 2014 section 5. A learning-rate range test uses the rates of ipc/config/lr_range.h instead.
 *
 * The decay of averaged weights (EMA) at each update; t counts updates of the weights from 1, this one included:
 *
 *     none   decay                                        timm's ModelEmaV2, torch's get_ema_multi_avg_fn
 *     tf     min(decay, (1 + t) / (10 + t))               TensorFlow's ExponentialMovingAverage
 *     timm   min(decay, 1 - (1 + (t - 1))^(-2/3))         timm's ModelEmaV3 with use_warmup: 0 at t = 1
 *
 * In this folder: rules as pure functions of the step and of random draws (schedule, mixup, loss scale).
 * No device, no file and no global state: a resumed run must compute the same numbers. The arithmetic of
 * optimisers is not here but in the backends and kernels/hyper.h. */
#ifndef TRAINER_OPTIM_SCHEDULE_H
#define TRAINER_OPTIM_SCHEDULE_H

#include <stdint.h>

#include "ipc/config/conf.h"

struct im_text;

struct tr_schedule_epoch {
    uint32_t steps;  /* > 0; not read with a pace */
    uint32_t images; /* of a full step, over all ranks: input of lr_scale */
};

/* Of a run whose steps have fewer or more batches now than it began with: rates and momenta are those of the same place in the
 * data as without the change. From `taken` steps on each takes ranks x accumulate batches, where it took order_ranks x
 * accumulate. */
struct tr_schedule_pace {
    uint64_t taken; /* steps that were taken */
    uint64_t
        order; /* batches of the pass before the next one, and steps of it at this pace; both 0 at its start */
    uint64_t step;
    uint32_t epoch; /* of that pass */
    uint32_t ranks, order_ranks, accumulate;
    const uint64_t *batches; /* [epochs] of their passes; read by tr_schedule_init_paced() alone */
};

struct tr_schedule {
    const struct im_conf *conf;   /* borrowed: the keys named above */
    uint64_t *first;              /* [epochs + 1] first step of each epoch, and their end; owned */
    double *scale;                /* [epochs]; owned */
    uint32_t (*course)[2];        /* [epochs] first epoch of its cycle, and the one after its last; owned */
    uint64_t *batches;            /* [epochs]; owned */
    struct tr_schedule_pace pace; /* order_ranks 0: there is none */
    uint32_t epochs;
    uint32_t milestone[IM_CONF_MILESTONES_MAX];
    int milestones;
    double warmup_steps;
    double momentum; /* of schedules that do not change it; Adam's first beta where it has one */
};

/* `conf` must have passed im_conf_check() and outlive the schedule. -EINVAL with a sentence if the values do
 * not fit this number of steps; -ENOMEM. */
int tr_schedule_init(struct tr_schedule *s, const struct im_conf *conf, const struct tr_schedule_epoch *epoch,
                     uint32_t epochs, struct im_text *text);
int tr_schedule_init_paced(struct tr_schedule *s, const struct im_conf *conf,
                           const struct tr_schedule_epoch *epoch, uint32_t epochs,
                           const struct tr_schedule_pace *pace, struct im_text *text);
void tr_schedule_fini(struct tr_schedule *s); /* zeroed is fine */

/* Learning rate of the step after `step` others. */
double tr_schedule_lr(const struct tr_schedule *s, uint64_t step);
double tr_schedule_momentum(const struct tr_schedule *s, uint64_t step);
/* 1 - decay of the averages at the update after `updates` others; 1 without averages. */
double tr_schedule_ema_weight(const struct tr_schedule *s, uint64_t updates);
double tr_ema_decay(double decay, enum im_conf_ema_warmup warmup, uint64_t update);

#endif
