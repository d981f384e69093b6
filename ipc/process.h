/* The process table: who is who, by incarnation. PROTOCOL.md has its states (P1..P4). */
#ifndef IPC_PROCESS_H
#define IPC_PROCESS_H

#include "ipc/run.h"

/* Supervisor: announces that slot will be started; the slot must be NONE. Returns its incarnation (never
 * reused), or 0 when 2^24 - 1 of them are used up. (P1) */
uint32_t im_process_announce(struct im_run *run, enum im_role role, uint32_t index);

/* Child: SPAWN(incarnation) -> RUN, with its pid. 0 or -ESTALE: another process has been started in
 * our place. (P2) */
int im_process_enter(struct im_run *run, uint32_t slot, uint32_t incarnation);

/* Supervisor: marks the process dead; then reclaims its cells; then im_process_clear(). 0 or
 * -ESTALE. (P3, P4) */
int im_process_mark_dead(struct im_run *run, uint32_t slot, uint32_t incarnation);
void im_process_clear(struct im_run *run, uint32_t slot);

enum im_process_state im_process_state(const struct im_run *run, uint32_t slot);
uint32_t im_process_incarnation(const struct im_run *run, uint32_t slot);

/* Is this incarnation still the one that the table has as running? */
bool im_process_is_current(const struct im_run *run, uint32_t slot, uint32_t incarnation);

/* Start time of a process in clock ticks since boot (/proc/PID/stat field 22); 0 when there is
 * no such process. */
uint64_t im_process_start_time(int32_t pid);

/* State of a process as the kernel gives it: 'R' runs or waits for a processor, 'S' and 'D' sleep, 'T' is stopped, 't' is held by a
 * debugger, 'Z' is dead; 0 when there is no such process. */
char im_process_letter(int32_t pid);

#endif
