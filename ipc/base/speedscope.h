/* A profile, stacks with weights: in speedscope's file format (https://www.speedscope.app/file-format-schema.json), from which
 * it draws flame graphs, or as Chrome's trace events, which Perfetto opens. */
#ifndef IPC_BASE_SPEEDSCOPE_H
#define IPC_BASE_SPEEDSCOPE_H

#include <stddef.h>

#include "ipc/base/err.h"

struct im_speedscope;

/* Weights are milliseconds. NULL: no memory. */
struct im_speedscope *im_speedscope_new(const char *name);

/* Time that was spent at the end of the stack, the outermost frame first, at most 8. Less than 0 counts as 0. */
void im_speedscope_add(struct im_speedscope *s, const char *const stack[], size_t depth, double ms);

/* Writes the file and frees. One whose name ends with ".trace.json" gets trace events: the stacks one after another, frames that
 * follow on themselves as one. Negative errno with a sentence. */
int im_speedscope_write(struct im_speedscope *s, const char *path, struct im_text *text);

void im_speedscope_free(struct im_speedscope **s); /* unwritten; nulls; NULL is fine */

#endif
