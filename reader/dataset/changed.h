/* Which images of an index have changed since a time: a run that continues says it. An index has no times of
 * single files, so each file is asked for them. */
#ifndef READER_DATASET_CHANGED_H
#define READER_DATASET_CHANGED_H

#include <stdbool.h>

#include "reader/dataset/index.h"

#define RD_CHANGED_NAMED 3
#define RD_CHANGED_NAME_BYTES 512

struct rd_changed {
    uint64_t checked; /* images asked; fewer than there are when the time was over */
    uint64_t changed;
    char name[RD_CHANGED_NAMED][RD_CHANGED_NAME_BYTES]; /* of the first ones found, relative; "": none */
};

/* Changed: written after `since_ns` (CLOCK_REALTIME), or, by its time of change and that of its folder, put in place
 * of another after it. Files that cannot be asked are not counted. Stops asking after `limit_ns`. */
void rd_index_changed(const struct rd_index *index, int64_t since_ns, int64_t limit_ns,
                      struct rd_changed *ret);

/* The same of one file or container, since the index was built, without asking a server: from what the kernel has cached. */
bool rd_index_file_changed(const struct rd_index *index, int root_fd, const char *path);

#endif
