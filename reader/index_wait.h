/* The index of a run, for a reader that starts. */
#ifndef READER_INDEX_WAIT_H
#define READER_INDEX_WAIT_H

#include "ipc/child.h"
#include "reader/dataset/index.h"

/* Opens the index: that which the run has kept open since it started, also where its file is gone. Else by its
 * name, for as long as it takes: a file system that is away comes back. 0, an exit status to leave with, or negative errno where it is another one. */
int rd_wait_for_index(struct im_child *child, struct rd_index *index, struct im_text *text);

#endif
