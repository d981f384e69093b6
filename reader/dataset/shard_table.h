/* What the scan of a shard has found, as the bytes of a file. In the mirror of a remote data set it stands in place of
 * the shard (mirror.h), for whose bytes there are requests by member. Native byte order: it is a cache for this machine. */
#ifndef READER_DATASET_SHARD_TABLE_H
#define READER_DATASET_SHARD_TABLE_H

#include "reader/dataset/shard.h"

#define RD_SHARD_TABLE_MAX ((size_t)4 << 30)
#define RD_SHARD_ETAG_BYTES 128

/* The object that was scanned. */
struct rd_shard_object {
    uint64_t bytes;
    char etag[RD_SHARD_ETAG_BYTES]; /* "": the server said none */
};

/* malloc'ed, the caller's. Of a scan that succeeded, or found that the shard is damaged. -ENOMEM, -EFBIG. */
int rd_shard_table_make(const struct rd_shard *shard, const struct rd_shard_object *object, void **ret_bytes,
                        size_t *ret_n);

/* Fills what rd_shard_scan() does, its err too. Any bytes may be given. -EBADMSG with a sentence: they are no such table.
 * ret_object may be NULL. */
int rd_shard_table_take(const void *bytes, size_t n, struct rd_shard *shard,
                        struct rd_shard_object *ret_object, struct im_text *text);

#endif
