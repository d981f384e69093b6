/* The index of shards: samples are members of tar files, in the order of the shards and of their places in them. */
#ifndef READER_DATASET_INDEX_SHARDS_H
#define READER_DATASET_INDEX_SHARDS_H

#include "reader/dataset/index_file.h"

/* As rd_index_build(), for RD_LAYOUT_SHARDS. */
int rd_index_build_shards(const struct rd_layout *layout, int root_fd, const struct rd_progress *progress,
                          struct rd_index_writer *writer, bool *ret_leads_out, struct im_text *text);

#endif
