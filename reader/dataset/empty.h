/* Which files of an index hold nothing: a start says it before training does. An index has no sizes, so each file is
 * asked for its own. */
#ifndef READER_DATASET_EMPTY_H
#define READER_DATASET_EMPTY_H

#include "reader/dataset/index.h"
#include "reader/dataset/names.h"

struct rd_empty {
    uint64_t checked;      /* files asked; fewer than there are when the time was over */
    struct rd_names paths; /* of the empty ones, relative to the root, in the order of the index */
};

/* Stops asking after `limit_ns`. -ENOMEM, or 0. */
int rd_index_empty(const struct rd_index *index, int64_t limit_ns, struct rd_empty *ret);
void rd_empty_fini(struct rd_empty *empty);

#endif
