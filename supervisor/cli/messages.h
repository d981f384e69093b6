/* Messages on standard error before a run begins, and by a server: by a thread, for a terminal that was stopped or a pipe that nobody
 * reads takes nothing, and must hold up neither the run nor Ctrl-C. */
#ifndef SUPERVISOR_CLI_MESSAGES_H
#define SUPERVISOR_CLI_MESSAGES_H

#include <stdio.h>

struct sv_terminal;

struct sv_messages {
    struct sv_terminal *terminal;
    FILE *usual; /* NULL: stderr is as it was */
};

/* stderr leads to the thread from here on. Where that cannot be had it is left as it is. */
void sv_messages_begin(struct sv_messages *m);

/* Waits until they are written, for a bounded time, and gives stderr back. Twice is fine. */
void sv_messages_end(struct sv_messages *m);

#endif
