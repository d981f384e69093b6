/* Sleeping until something may have changed: an event counter over a futex in shared memory.
 *
 *   seen = im_event_look(e);          // before looking for work
 *   if (no work found)
 *       im_event_wait(e, seen, timeout);
 *
 * A waker signals after it made work visible. Every wait is bounded by IM_WAIT_MAX_NS, because a process
 * killed between making work visible and signalling takes the signal with it: then its peers are late by one
 * bound, never stuck. */
#ifndef IPC_WAIT_H
#define IPC_WAIT_H

#include <stdbool.h>

#include "ipc/abi.h"
#include "ipc/base/clock.h"

#define IM_WAIT_MAX_NS (50 * IM_MS)

uint32_t im_event_look(struct im_event *e);

/* Sleeps until the event's sequence is no longer `seen`, a wake, or min(timeout, IM_WAIT_MAX_NS). May return
 * early. True: the time ran out, and nobody had woken it. */
bool im_event_wait(struct im_event *e, uint32_t seen, im_ns timeout);

/* Wakes up to `wake` sleepers, if there are any (a system call only then). */
void im_event_signal(struct im_event *e, int wake);

/* Wakes all. */
void im_event_broadcast(struct im_event *e);

#endif
