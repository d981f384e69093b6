/* --on-event: a command that gets each event of the run, a line of JSON on its standard input. A thread starts them,
 * one after another, so that nobody waits for one: events wait in a bounded queue, whose oldest give way and are
 * counted; a command that takes too long is killed with all that it started. */
#ifndef SUPERVISOR_REPORT_HOOK_H
#define SUPERVISOR_REPORT_HOOK_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

enum { SV_HOOK_EVENTS = 256 }; /* that wait */

struct sv_hook_limits {
    im_ns command; /* that one command may take */
};

struct sv_hook;

/* The command is the shell's; what it prints is appended to the file `log`. -ENOMEM; -EAGAIN: no thread. */
int sv_hook_open(struct sv_hook **ret, const char *command, const char *log,
                 const struct sv_hook_limits *limits);

/* Passes a line on, soon. */
void sv_hook_event(struct sv_hook *h, const char *line);

/* Says once that a command failed, or was killed, or that events were dropped, and again when one succeeded in between. */
bool sv_hook_news(struct sv_hook *h, struct im_text *ret);

/* How many events wait or are with the command now. */
uint64_t sv_hook_pending(struct sv_hook *h);

/* Waits at most `timeout` until all events were passed on, ends the thread and nulls (NULL is fine). Returns how many
 * were not, the dropped ones included. A command that still runs is left to itself. */
uint64_t sv_hook_close(struct sv_hook **h, im_ns timeout);

#endif
