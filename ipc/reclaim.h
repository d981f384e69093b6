/* Returning the cells of a dead process. Supervisor only, and only after the process is known to be dead (its
 * pidfd says so): the right action for each cell follows from the words alone (PROTOCOL.md, R1..R3).
 * Idempotent: a supervisor killed halfway is continued by its successor. */
#ifndef IPC_RECLAIM_H
#define IPC_RECLAIM_H

#include "ipc/run.h"

struct im_reclaimed {
    uint32_t filling; /* FILLING -> FREE: will be read again */
    uint32_t writing; /* WRITING -> EMPTY: will be rendered again */
    uint32_t taken;   /* TAKEN -> READY: handed to another augmenter */
    uint32_t done;    /* TAKEN -> FREE: its sample was committed before the death */
};

void im_reclaim(struct im_run *run, const struct im_plan *plan, uint32_t incarnation,
                struct im_reclaimed *ret);

#endif
