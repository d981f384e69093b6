/* How many readers and augmenters a run should have, from which stage limits it: the decisions of
 * `--augmenters auto` and `--readers auto`. Pure, so that tests can play whole runs.
 *
 * More when training waits for images, fewer when a stage hardly works and training does not wait. A
 * condition must hold for some time; after a change it is waited for its effect, and a change that did not
 * help is undone and not tried again for a while. */
#ifndef SUPERVISOR_SCALER_H
#define SUPERVISOR_SCALER_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"

enum sv_scaled { SV_SCALED_READERS, SV_SCALED_AUGMENTERS, SV_SCALED };

#define SV_SCALE_WAIT 0.10                 /* training that waits longer for images is limited by them */
#define SV_SCALE_FILES 0.10                /* augmenters that wait longer for files are limited by readers */
#define SV_SCALE_CALM 0.02                 /* training that waits no longer than this does not wait */
#define SV_SCALE_LIGHT 0.50                /* load of a stage after it was made smaller, at most */
#define SV_SCALE_GAIN 1.05                 /* growth that brings less than this is undone */
#define SV_SCALE_GROW_HOLD (5 * IM_SECOND) /* how long training must wait before a stage grows */
#define SV_SCALE_SHRINK_HOLD (30 * IM_SECOND)
#define SV_SCALE_SETTLE (10 * IM_SECOND) /* from a change to its judgement: twice the window of the rates */
#define SV_SCALE_REST (300 * IM_SECOND)  /* after a change was undone; doubled each time */
#define SV_SCALE_REST_MAX (3600 * IM_SECOND)

/* What the supervisor sees now. Shares are of the wall time of the last seconds. */
struct sv_scale_seen {
    im_ns now;
    bool steady; /* everyone is there and works; otherwise the numbers mean nothing */
    uint32_t cores;
    struct {
        uint32_t count, max;
        bool automatic; /* it may be changed */
        double busy;    /* share of their time */
    } stage[SV_SCALED];
    double augment_wait; /* share of the augmenters' time in which they wait for files */
    double train_wait;   /* share of the trainers' time in which they wait for images */
    double rate;         /* images/s */
};

enum sv_scale_why { SV_SCALE_GROW, SV_SCALE_SHRINK, SV_SCALE_UNDO };

struct sv_scale_change {
    enum sv_scaled what;
    enum sv_scale_why why;
    uint32_t from, to;
    double rate_before; /* before the change that is undone */
};

/* Zero-initialise. */
struct sv_scaler {
    im_ns grow_since[SV_SCALED], shrink_since[SV_SCALED]; /* the condition holds since then; 0: it does not */
    im_ns rest_until[SV_SCALED][2];                       /* [grow, shrink] */
    im_ns rest[SV_SCALED][2];
    bool judging; /* the last change is not judged yet */
    im_ns judge_at;
    struct sv_scale_change last;
};

/* What to change now; false: nothing. The caller makes the change. */
bool sv_scaler_decide(struct sv_scaler *scaler, const struct sv_scale_seen *seen,
                      struct sv_scale_change *ret);

#endif
