/* The warden: the process that the user started. Small on purpose: no threads, no ZeroMQ, no decisions, no
 * heap after start. It is the parent of everyone, holds the descriptors of the shared memory, starts
 * processes when the supervisor asks, reaps them, passes signals on, and starts another supervisor when that
 * one dies.
 *
 * In this folder: starting processes (spawn), their CPU and memory affinity (placement, topology), and the
 * socket to the supervisor (channel). Code here must not fail: it keeps a run alive. It makes no decisions,
 * allocates nothing after start and checks every message: the supervisor may have crashed. */
#ifndef SUPERVISOR_WARDEN_WARDEN_H
#define SUPERVISOR_WARDEN_WARDEN_H

#include "ipc/run.h"
#include "supervisor/warden/kept.h"
#include "supervisor/warden/programs.h"
#include "supervisor/warden/topology.h"

/* Descriptors that the warden owns; all close-on-exec. */
struct sv_warden_fds {
    int lease_read, lease_write;
    int log_read, log_write;
    int snapshot; /* empty: its size is the trainer's to give (ipc/snapshot.h) */
    int lock;
    int index;             /* that of the images, for readers that start when its file is gone; -1: none */
    int pixels;            /* the pixel cache, for readers and augmenters; -1: none */
    int meeting, listener; /* for supervisors: IM_FD_MEETING, IM_FD_LISTENER; -1: none */
    struct sv_programs programs;
    const struct sv_kept *kept; /* borrowed; NULL: none */
};

/* A saver that has not attached to the run by then never will: its libraries hang, or it is another program. */
#define SV_SAVER_SILENT_NS (10 * IM_SECOND)

/* Makes the lease and log pipes, and the memory of the snapshot. 0 or negative errno with a sentence. */
int sv_warden_open(struct sv_warden_fds *ret, struct im_text *text);

/* Runs a created run to its end, its processes placed by `placement`. Returns the exit status of
 * `imsuper start`. On return no process of the run is alive. */
int sv_warden_run(const struct im_run *run, const struct sv_warden_fds *fds,
                  const struct sv_placement *placement);

#endif
