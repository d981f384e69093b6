/* The reader role: claims tickets in order, reads their files into the encoded ring, hands them on. */
#ifndef READER_READER_H
#define READER_READER_H

#include "ipc/child.h"

/* Works until the run asks to leave. Returns the exit status to leave with, or a negative errno
 * with a sentence. */
int rd_run(struct im_child *child, struct im_text *text);

#endif
