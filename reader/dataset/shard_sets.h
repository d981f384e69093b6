/* Sets of classes that images of shards have. First every image's set is collected and added; settled, they are the labels of
 * the index. */
#ifndef READER_DATASET_SHARD_SETS_H
#define READER_DATASET_SHARD_SETS_H

#include "reader/dataset/index_file.h"

/* Zero-initialise, init, fini. */
struct rd_shard_sets {
    uint32_t classes;
    uint32_t *words; /* the set that is collected, as bits */
    char *key;       /* the same as text */
    struct rd_names all, unique;
};

int rd_shard_sets_init(struct rd_shard_sets *sets, uint32_t classes); /* -ENOMEM */
void rd_shard_set_begin(struct rd_shard_sets *sets);
void rd_shard_set_add(struct rd_shard_sets *sets, uint32_t class);

int rd_shard_sets_add(struct rd_shard_sets *sets); /* the set that is collected. -ENOMEM, -EFBIG */
int rd_shard_sets_settle(struct rd_shard_sets *sets, struct rd_index_writer *writer);
int64_t rd_shard_sets_find(struct rd_shard_sets *sets); /* the place of the set that is collected; -ENOENT */
void rd_shard_sets_fini(struct rd_shard_sets *sets);

#endif
