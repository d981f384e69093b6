/* The clock of somebody who watches others: it counts the watcher's own turns and stands while the watcher
 * itself does not run. When all processes of a run are stopped and go on later (a frozen cgroup, a debugger, a
 * suspended machine), nobody has waited for anybody meanwhile, and nobody is to blame. Pure. */
#ifndef SUPERVISOR_WARDEN_TURNS_H
#define SUPERVISOR_WARDEN_TURNS_H

#include "ipc/base/clock.h"

/* Zero-initialised. */
struct sv_clock {
    im_ns turned; /* CLOCK_MONOTONIC at the last turn; 0: none yet */
    im_ns now;    /* what it shows */
};

/* One turn at CLOCK_MONOTONIC `now`; of the time since the last one at most `turn_max` counts. What the clock
 * shows then. */
im_ns sv_clock_turn(struct sv_clock *clock, im_ns now, im_ns turn_max);

#endif
