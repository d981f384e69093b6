/* What the files of a run's folder say of it. Any file may be missing, torn or another user's. */
#ifndef SUPERVISOR_REPORT_RUN_STATE_H
#define SUPERVISOR_REPORT_RUN_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* running: its processes hold the lock. starting: and no step has been taken in any start. done: all epochs. stopped:
 * saved, on request. failed: ended by itself, with a reason. unstarted: ended, by whatever, before its processes
 * were there. crashed: it has not said how it ended. unknown: nor may
 * this user see whether it goes on. */
const char *sv_run_state(const char *run_dir);

/* The end of a file of the run: at most n - 1 bytes and a NUL; empty when it cannot be read. */
void sv_run_tail(const char *run_dir, const char *name, char *ret, size_t n);

/* Is the line of log.txt one of this process? role NULL: of any; index -1: of any of the role. */
bool sv_log_is_of(const char *line, size_t bytes, const char *role, int64_t index);

#endif
