/* What a reader gives up before it opens the first file of a data set. */
#ifndef READER_SANDBOX_H
#define READER_SANDBOX_H

#include "ipc/sandbox.h"

/* The process may from now on open its index, the seek index (NULL, "": there is none) and files below `read_root` ("": anywhere) for reading, use
 * io_uring, start threads and wait. Anything else kills it with SIGSYS. io_uring opens files past the filter of
 * system calls, but not past Landlock. `tells`: writes to the log what is in force. Returns as
 * im_sandbox_enter(). */
int rd_sandbox_enter(const char *read_root, const char *index_file, const char *seek_file, bool tells,
                     struct im_sandbox_state *ret, struct im_text *text);

#endif
