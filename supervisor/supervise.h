/* The supervisor process: `imsuper supervise`, started by the warden with its descriptors
 * in place (ipc/run.h). */
#ifndef SUPERVISOR_SUPERVISE_H
#define SUPERVISOR_SUPERVISE_H

/* Runs until the run is over; returns the process's exit status. */
int sv_supervise(void);

#endif
