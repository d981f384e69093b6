/* What goes to the screen, written by a thread of its own: a terminal that was stopped (Ctrl-S), a pipe that
 * nobody reads and a connection that is gone stop nobody. Text waits in a bounded queue; where that is full,
 * lines of progress go first, then the oldest lines. */
#ifndef SUPERVISOR_REPORT_TERMINAL_H
#define SUPERVISOR_REPORT_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base/clock.h"

#define SV_TERMINAL_BYTES ((size_t)64 << 10) /* of text that waits */

struct sv_terminal;

enum sv_text_kind {
    SV_TEXT_LINE,
    SV_TEXT_PROGRESS, /* may be left out */
    SV_TEXT_REDRAW,   /* replaces one that waits */
};

/* `fd` is borrowed, and may block. NULL when out of memory: nothing is shown then. */
struct sv_terminal *sv_terminal_open(int fd);

/* Adds a text, a piece of the stream. */
void sv_terminal_put(struct sv_terminal *t, enum sv_text_kind kind, const char *text, size_t n);

/* True once after each time that the terminal took nothing and texts were dropped: how many, and for how long
 * it took nothing. */
bool sv_terminal_news(struct sv_terminal *t, uint64_t *ret_dropped, im_ns *ret_silence);

/* Waits at most `timeout` until all is written, then ends the thread and nulls. A thread that is stuck in a
 * write keeps its memory and is left to the end of the process. False: something was not written. */
bool sv_terminal_close(struct sv_terminal **t, im_ns timeout);

#endif
