/* imsuper's other programs, which lie beside this one. */
#ifndef SUPERVISOR_CLI_PROGRAM_H
#define SUPERVISOR_CLI_PROGRAM_H

#include <stddef.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

/* Says the sentence on standard error; returns the exit status that it is given. */
int sv_print_failure(const struct im_text *text, int status);

/* The path of a program such as "imsuper-reader". */
void sv_program_find(const char *name, char *path, size_t n);

/* From here on Ctrl-C, SIGTERM and SIGHUP wait to be asked for: by sv_program_read(), which ends the program, by
 * sv_stop_signal(), and by the warden. Those that are ignored stay so. */
void sv_hold_stop_signals(void);

/* The one that waits; 0: none. */
int sv_stop_signal(void);

/* They act again, one that waits at once: when all that is left to do is to print, for whoever reads it may take
 * nothing. */
void sv_release_stop_signals(void);

/* This process ends with that status within the time, whatever it waits for then: a pipe that nobody reads, with the last
 * sentences in it. */
void sv_leave_within(int status, im_ns time);

/* Runs argv (argv[0] the path) with its stdout read into answer, n bytes with the final 0; its stderr is
 * ours. Its exit status, or negative errno; -ETIMEDOUT: it did not end within timeout_ms (0: no limit) and
 * was killed; -EINTR: the same because of a signal that waits. */
int sv_program_read(char *const argv[], int timeout_ms, char *answer, size_t n);

/* Replaces this process by a program of imsuper, with these arguments (argv[0] is set); returns only on failure,
 * with an exit status. */
int sv_program_exec(const char *name, char **argv);

#endif
