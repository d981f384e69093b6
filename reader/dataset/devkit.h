/* Validation labels as ILSVRC's devkit gives them: line N of a file is the class of image N, by a number of the devkit's
 * own or by name. */
#ifndef READER_DATASET_DEVKIT_H
#define READER_DATASET_DEVKIT_H

#include <limits.h>
#include <stdbool.h>

#include "ipc/base/err.h"
#include "reader/dataset/mat.h"

/* Is it the devkit's file of numbers, or the list of names that TensorFlow's scripts bring, by its name? */
bool rd_is_ground_truth(const char *path);
bool rd_is_synset_list(const char *path);

/* What says which class a number is: meta.mat or map_clsloc.txt beside the file of labels, or in the folder
 * above. 0 with its path, relative to the root where labels_path is; -ENOENT. */
int rd_devkit_find(int root_fd, const char *labels_path, char ret_path[PATH_MAX]);
int rd_devkit_read(const char *path, struct rd_numbering *ret_numbering, struct im_text *text);

#endif
