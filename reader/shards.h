/* Shards that were written since they were indexed are named. A member is known by the header before it (its name, its size,
 * its time): one that is in its place is read with the bytes that are there now, as files in a folder are. */
#ifndef READER_SHARDS_H
#define READER_SHARDS_H

#include <stdbool.h>
#include <stdint.h>

#include "reader/dataset/index.h"

/* Zero-initialise. */
struct rd_shards {
    bool *known; /* of each container's number: it was looked at */
    uint32_t count;
    bool told;
};

/* Once for each container, before it is opened. The first that has changed is logged. */
void rd_shards_look(struct rd_shards *s, const struct rd_index *index, int root_fd, uint32_t container,
                    const char *path);

/* They are opened anew. */
void rd_shards_forget(struct rd_shards *s);

#endif
