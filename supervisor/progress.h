/* Watches the trainers' progress: who stands still although all have their input is ended, and all continue
 * from the last snapshot. */
#ifndef SUPERVISOR_PROGRESS_H
#define SUPERVISOR_PROGRESS_H

#include "ipc/plan.h"
#include "ipc/run.h"
#include "supervisor/children.h"
#include "supervisor/pace.h"

struct sv_progress_watch {
    struct sv_clock clock;
    struct sv_pace pace[IM_RANKS_MAX];
};

/* The trainers' largest position is remembered in shared memory: what a reset or a stop loses is counted from
 * there. */
void sv_progress_note(struct im_run *run);

/* Was anything trained in this start of the run? */
bool sv_progress_made(const struct im_run *run);

/* Has every trainer the input of its next step? Then the run goes on for now, whoever of the others is gone. */
bool sv_progress_possible(const struct im_run *run, const struct im_plan *plan);

/* One look at all trainers. The rank that is stuck, or -1. `stopping`: they have been asked to save and leave.
 * `seconds`: --trainer-deadline. */
int sv_progress_look(struct sv_progress_watch *w, const struct im_run *run, const struct im_plan *plan,
                     const struct sv_children *children, bool stopping, double seconds);

#endif
