/* How long to pause between two polls of a wait that takes about as long as the one before: a step on the
 * GPU whose end depends on other ranks, so that the host may not block in the driver. Polls often only around
 * the expected end: a step is not found finished half a pause late, and the core is free meanwhile. */
#ifndef TRAINER_COMM_POLL_H
#define TRAINER_COMM_POLL_H

#include "ipc/base/clock.h"

/* Zeroed: no wait yet. */
struct tr_poll {
    im_ns since, last; /* of the wait in progress: its first poll and its last; 0: none yet */
    im_ns usual;       /* length of the wait before; 0: not known */
};

/* A new wait begins with the next poll. */
void tr_poll_begin(struct tr_poll *p);

/* Counts a poll at the time now. Returns the pause until the next; ret_waited: since the first poll. */
im_ns tr_poll_pause(struct tr_poll *p, im_ns now, im_ns *ret_waited);

#endif
