/* Workers as processes and a supervisor (the calling process) that watches them by pidfd, buries the dead and
 * starts others. */
#ifndef TESTS_STRESS_CREW_H
#define TESTS_STRESS_CREW_H

#include <sys/types.h>

#include "ipc/base/clock.h"
#include "tests/stress/sim.h"

/* What is done to one run. All optional. */
struct crew_plan {
    const char *victim_rule;  /* fault rule of the victim's first life */
    enum im_role victim_role; /* its first worker of this role is the victim */
    const char *bury_rule;  /* fault rule of a supervisor that is killed while it buries the victim; the next
                               one goes on */
    bool bury_late;         /* only when all that can go on without the victim's cells has gone on */
    uint32_t linger;        /* as in struct sim: 1 makes sure that others hold cells when the victim dies */
    uint32_t kill_every_us; /* mean time between random kills; 0 = none */
    im_ns stuck_after;      /* without a finished batch */
};

struct crew_result {
    uint64_t kills_sent;   /* random ones */
    uint64_t kills_hit;    /* of those, worker found alive */
    uint64_t resets;       /* data-plane resets after a trainer's death */
    bool victim_died;      /* by its rule */
    bool bury_interrupted; /* by its rule */
    int faults;
};

/* Runs the shape to its end. Faults are told on stderr and counted. No process is left over. */
struct crew_result crew_run(const struct sim_shape *shape, const struct crew_plan *plan);

#endif
