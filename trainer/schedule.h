/* The learning rate as a pure function of the step, so that continuing a run needs nothing but the step's
 * number.
 *
 * With T steps in all, w of them warm-up, and s = 0, 1, ... the number of steps already taken:
 *
 *     warm-up, s < w          lr * (f + (1 - f) * s / w)
 *     constant, s >= w        lr
 *     cosine, w <= s < T      lr_min + (lr - lr_min) * (1 + cos(pi * (s - w) / (T - w))) / 2
 *     cosine, s >= T          lr_min
 *
 * PyTorch gives the same numbers, stepped once a batch: LinearLR(start_factor=f, total_iters=w) and
 * CosineAnnealingLR(T_max=T-w, eta_min=lr_min), joined by SequentialLR with milestone w (Loshchilov and
 * Hutter 2017, "SGDR", eq. 5, without restarts; Goyal et al. 2017, section 2.2, for the warm-up). w and T may
 * be fractional: they are epochs times steps per epoch. */
#ifndef TRAINER_SCHEDULE_H
#define TRAINER_SCHEDULE_H

#include <stdint.h>

struct im_text;

enum tr_schedule_kind { TR_SCHEDULE_COSINE, TR_SCHEDULE_CONSTANT };

struct tr_schedule_config {
    enum tr_schedule_kind kind;
    double lr;              /* the peak, >= 0 */
    double lr_min;          /* cosine: the end, 0 .. lr */
    double epochs;          /* > 0 */
    double warmup_epochs;   /* 0 .. epochs */
    double warmup_factor;   /* of the peak, at step 0; above 0, at most 1, so that no step is wasted */
    double steps_per_epoch; /* > 0 */
};

/* A checked config. Plain value. */
struct tr_schedule {
    enum tr_schedule_kind kind;
    double lr, lr_min, warmup_factor;
    double warmup_steps, total_steps;
};

/* -EINVAL with a sentence that names the value and its bounds. */
int tr_schedule_init(struct tr_schedule *s, const struct tr_schedule_config *config, struct im_text *text);

/* The learning rate of the step that is taken after `step` others. */
double tr_schedule_lr(const struct tr_schedule *s, uint64_t step);

#endif
