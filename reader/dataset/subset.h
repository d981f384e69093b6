/* A part of the training images, the same share of each class, chosen by a seed. */
#ifndef READER_DATASET_SUBSET_H
#define READER_DATASET_SUBSET_H

#include "reader/dataset/index.h"

/* Chooses `size` training images: as many of each class as of the others, as far as the class has them; which
 * classes give one more, and which images, is drawn from `seed`. Validation images stay as they are. The
 * order of the index is kept. ret_bytes is a malloc'ed index file, the caller's. -EINVAL with a sentence for
 * a size that is not known. */
int rd_subset_choose(const struct rd_index *index, uint64_t size, uint64_t seed, void **ret_bytes,
                     size_t *ret_size, struct im_text *text);

/* Writes `index` and a list of its training images, one relative path a line, into `folder` (made if missing)
 * as data.index and subset.txt. */
int rd_subset_write(const char *folder, const void *bytes, size_t size, struct im_text *text);

#endif
