/* How long an augmenter may be busy with one image. What counts is its own processor time, which hardly depends
 * on what else the machine does; the clock only tells that it does nothing at all (stopped, or waiting for a
 * device that does not answer). Both are fences behind limits that depend on the file alone: pixels, scans,
 * memory and bytes (augment/decode). */
#ifndef SUPERVISOR_DEADLINE_H
#define SUPERVISOR_DEADLINE_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"

/* What is remembered of a process that is busy. Zero-initialised. */
struct sv_work {
    uint64_t item;       /* that it is busy with; 0: none */
    uint64_t cpu_before; /* its processor time when that was first seen, ns */
    uint64_t cpu;        /* ... and when last seen */
    im_ns seen;          /* when that was */
    im_ns still;         /* for how long it has not changed, as far as we were there to see it */
};

enum sv_work_verdict {
    SV_WORK_GOES_ON,
    SV_WORK_TOO_MUCH, /* more processor time than `deadline` */
    SV_WORK_HANGS     /* none for as long */
};

/* The process is seen with `item` and has used `cpu_ns` in its life. wants_cpu: it is ready to run, and waits for
 * others to let it. Time in which nobody looked (we were stopped, too) counts as little. Pure. */
enum sv_work_verdict sv_work_judge(struct sv_work *work, uint64_t item, uint64_t cpu_ns, bool wants_cpu,
                                   im_ns now, im_ns deadline);

struct sv_super;

/* Ends augmenters that are beyond the deadline. */
void sv_check_deadlines(struct sv_super *s);

#endif
