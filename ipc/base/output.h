/* Files that a user names for a result, as after -o. What a user names is never replaced unless it is a file: a device,
 * a pipe or /dev/stdout is written to as it is, and a link stays a link. */
#ifndef IPC_BASE_OUTPUT_H
#define IPC_BASE_OUTPUT_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "ipc/base/err.h"

/* Whether im_output_write() could write there now: for commands that work for long before they write. 0, or negative
 * errno with a sentence. */
int im_output_check(const char *path, struct im_text *text);

/* For what is written in pieces and read again, such as weights: replaces the name of a link by that of its file. -EINVAL
 * with a sentence where something is that is no file, other errors where the folder is missing or may not be written. */
int im_output_find_file(char *path, size_t room, struct im_text *text);

/* Writes all bytes there: im_file_replace() for a file. A pipe waits for its reader. 0, or negative errno with a
 * sentence. */
int im_output_write(const char *path, const void *bytes, size_t n, struct im_text *text);

#endif
