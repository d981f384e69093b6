/* How long a trainer may take for a step before it counts as stuck, from the steps before it. Pure. Times are
 * those of an observer's clock (warden/turns.h). */
#ifndef SUPERVISOR_PACE_H
#define SUPERVISOR_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "supervisor/warden/turns.h"

#define SV_PACE_STEPS 32 /* the recent steps */
#define SV_PACE_FACTOR 20
#define SV_PACE_LEAST_NS (60 * IM_SECOND)
#define SV_PACE_FIRST_NS                                                                                     \
    (1800 * IM_SECOND)          /* until the first step of a process has ended, and while one saves */
#define SV_PACE_FIRST_FACTOR 10 /* the same, of a bound that the user gave */

/* What is known of the steps of one trainer. Zero-initialised. */
struct sv_pace {
    uint32_t incarnation; /* of the process; another one begins anew */
    uint64_t position, progress;
    im_ns since; /* of the last progress, or of the last moment without work to do */
    im_ns began; /* of the current step, with its waits */
    uint64_t steps;
    im_ns step[SV_PACE_STEPS]; /* durations, of step i at [i % SV_PACE_STEPS], saves and snapshots included */
};

/* What the observer sees of a trainer at a turn. */
struct sv_pace_seen {
    uint32_t incarnation;
    uint64_t position; /* next batch + 1; 0: not known yet */
    uint64_t progress; /* whatever the trainer counts: batches, plans */
    bool has_work; /* all trainers have the input of their next step: nothing but they can be waited for */
    bool paused;   /* by the user: no time of a step */
};

/* Takes in what was seen when the clock showed `now`. How long the trainer has had work and shown no progress. */
im_ns sv_pace_see(struct sv_pace *pace, const struct sv_pace_seen *seen, im_ns now);

/* A step has ended that took this long: for who sees the ends of steps himself. */
void sv_pace_add(struct sv_pace *pace, im_ns duration);

/* The slowest of the recent steps; 0: none has ended yet. */
im_ns sv_pace_slowest(const struct sv_pace *pace);

/* The longest that it may take. `seconds`: of --trainer-deadline; < 0: from the steps, 0: for ever. `saving`: a
 * trainer writes to the disk, and the others wait for it. */
im_ns sv_pace_bound(const struct sv_pace *pace, double seconds, bool saving);

/* The same once the run is to end: never for ever, and not as long as a first step. */
im_ns sv_pace_stop_bound(const struct sv_pace *pace, double seconds);

#endif
