/* The index of images whose classes stand in tables (layout csv). */
#ifndef READER_DATASET_INDEX_TABLE_H
#define READER_DATASET_INDEX_TABLE_H

#include "reader/dataset/data.h"
#include "reader/dataset/index_file.h"

/* Fills the writer with classes, samples, stamps and what is left out; *leads_out as in struct rd_index_origin. Errors
 * as rd_index_build(). */
int rd_index_build_table(const struct rd_layout *layout, int root_fd, const struct rd_progress *progress,
                         struct rd_index_writer *writer, bool *ret_leads_out, struct im_text *text);

#endif
