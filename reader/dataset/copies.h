/* Whether two machines have the same images under the same names: lines that are equal where the files are, whatever their
 * times. */
#ifndef READER_DATASET_COPIES_H
#define READER_DATASET_COPIES_H

#include "reader/dataset/index.h"

/* Lines "name=value\n", at most RD_COPIES_BYTES in all, made of
 *   the size of each image, up to RD_COPIES_SIZES of a data set (those of shards, which the index has, all),
 *   a hash of the first and last RD_COPIES_PIECE bytes, of up to RD_COPIES_HASHED of them.
 * The names of two machines are the same where their indexes are. The value "?" means that nothing is known of
 * those files here: they lie on another machine, or cannot be read now.
 * malloc'ed; NULL: no memory. */
#define RD_COPIES_LINES 256
#define RD_COPIES_BYTES (64 * 1024)
#define RD_COPIES_SIZES 16384
#define RD_COPIES_HASHED 1024
#define RD_COPIES_PIECE 4096
char *rd_index_copies(const struct rd_index *index);

#endif
