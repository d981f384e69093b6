/* Fork and exec of the programs of a run, with exactly the descriptors that each needs. Called by
 * the warden only. */
#ifndef SUPERVISOR_WARDEN_SPAWN_H
#define SUPERVISOR_WARDEN_SPAWN_H

#include <sys/types.h>

#include "ipc/run.h"
#include "supervisor/warden/programs.h"
#include "supervisor/warden/warden.h"

/* Copies of the descriptors at numbers above every number that children expect, so that no dup2
 * overwrites a source. */
struct sv_spawn_fds {
    int control, encoded, batch[IM_RANKS_MAX];
    int lease_read, lease_write, log_read, log_write, snapshot, lock, index, pixels, meeting, listener, null;
    uint32_t ranks, readers;
    int oom_score_adj;                    /* ours */
    const struct sv_placement *placement; /* borrowed; NULL: nobody is bound to cores */
    struct sv_programs programs;
    const struct sv_kept *kept; /* borrowed; NULL: none */
};

int sv_spawn_prepare(const struct im_run *run, const struct sv_warden_fds *fds, struct sv_spawn_fds *ret);

/* Starts `imsuper-ROLE --index I --incarnation N`. The pid, or negative errno. */
pid_t sv_spawn_role(const struct sv_spawn_fds *fds, enum im_role role, uint32_t index, uint32_t incarnation);

/* Starts `imsuper-trainer --save-snapshot`, which writes the snapshot as a checkpoint. */
pid_t sv_spawn_saver(const struct sv_spawn_fds *fds);

/* Starts `imsuper supervise` with its end of the channel. */
pid_t sv_spawn_supervisor(const struct sv_spawn_fds *fds, int channel);

#endif
