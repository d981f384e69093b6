/* Moves aside what stands where a file of a run has to be: a folder, a pipe, a link to itself, a file of another
 * program. Nothing is deleted. */
#ifndef IPC_BASE_ASIDE_H
#define IPC_BASE_ASIDE_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/err.h"

/* Is there something of this name that is no file? */
bool im_is_no_file(const char *path);

/* im_file_replace() of a file of a run: what is no file there is moved aside first. */
int im_file_replace_any(const char *path, const void *bytes, size_t n, struct im_text *text);

/* Renames `path` to the first of path.1 to path.99 that is free, and says that. 0, also if nothing is there;
 * negative errno with a sentence. */
int im_move_aside(const char *path, struct im_text *text);

#endif
