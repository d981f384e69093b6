/* The seek index of a whole data set (ipc/seek_file.h), made before a run. */
#ifndef READER_TOOLS_DATA_SEEK_H
#define READER_TOOLS_DATA_SEEK_H

#include <stdbool.h>

#include "ipc/config/conf.h"
#include "reader/dataset/data.h"

/* Images. */
struct rd_seek_counts {
    uint64_t made, present; /* have an index: a new one; one that was there */
    uint64_t without;       /* are no JPEG files, or such as have none */
    uint64_t failed;        /* cannot be read */
    uint64_t made_bytes;
    double seconds;
};

/* Makes those of all images of the index that have none. 0; an exit status, the reason having been said; or a negative
 * errno with a sentence. */
int rd_seek_make(const struct im_conf *conf, const struct rd_index *index, const char *file, bool is_shown,
                 struct rd_seek_counts *ret, struct im_text *text);

#endif
