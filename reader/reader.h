/* The reader role: claims tickets in order, reads their files into the encoded ring, and passes them on.
 *
 * In this folder: the role's loop (reader.c), its I/O engines (io_engine.h: io_uring and pread), the order of samples
 * (order, balance), what a failed read means (retry, probe) and the sandbox. dataset/
 * has the data set and its index, tools/ the commands that run without a supervisor. The reader reads bytes
 * and never decodes them. It may block only in the engine and in ipc/wait, with bounds: it must notice a stop
 * at any time. */
#ifndef READER_READER_H
#define READER_READER_H

#include "ipc/child.h"

/* Works until the run asks to leave. Returns the exit status to leave with, or a negative errno
 * with a sentence. */
int rd_run(struct im_child *child, struct im_text *text);

#endif
