/* Layouts whose classes stand in tables: which tables there are, and where the files lie that they name. */
#ifndef READER_DATASET_LAYOUT_TABLE_H
#define READER_DATASET_LAYOUT_TABLE_H

#include "reader/dataset/layout.h"

/* Looks for tables of training and validation images in the data folder, or takes those of `files`. 1: *layout is filled
 * (kind CSV). 0: there is none whose files are here, with a sentence if one was looked into; negative errno with a
 * sentence. */
int rd_layout_find_table(int root_fd, const struct rd_label_files *files, struct rd_layout *layout,
                         struct im_text *text);

/* A table for validation images that lie in the folder layout->val without class folders: 1: *layout is filled, 2: likewise, with
 * a file of the devkit's; 0: there is none. */
int rd_layout_find_val_table(int root_fd, const struct rd_label_files *files, struct rd_layout *layout,
                             struct im_text *text);

/* Writes base/file, without a base that is "." and without the root in front. -ENOENT: it leads out of the root. */
int rd_table_join(const char *root, const char *base, const char *file, char ret_path[PATH_MAX]);

#endif
