/* Validation images taken from the training images, of a data set that has none of its own. */
#ifndef READER_DATASET_SPLIT_H
#define READER_DATASET_SPLIT_H

#include "reader/dataset/index.h"

/* Of each class the share, rounded, but at least one image and not all; of a class of one image, none. Which ones
 * depends on `seed`, class and file name alone: images that come or go later change the side of few others. The order of
 * the index is kept in both parts. With several labels an image each label gets its share as far as images have them
 * together, rare labels before common ones, and so do the images without labels; there an image that comes or goes may
 * change the side of more. ret_bytes is a malloc'ed index file, the caller's. -EINVAL with a sentence where
 * the index has validation images, or would have none. */
int rd_split_choose(const struct rd_index *index, double share, uint64_t seed, void **ret_bytes,
                    size_t *ret_size, struct im_text *text);

#endif
