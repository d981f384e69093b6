/* The local folder of a remote data set. Below the cache folder:
 *
 *     HASH/url       where it comes from; HASH is made of it
 *     HASH/listing   a line an object, sorted: path, size and ETag, separated by tabs; size and ETag may be "".
 *                    Written last: where it is, all of data/ is
 *     HASH/data/     the objects at their paths. One that is not here is an empty file
 *     HASH/data/DIR/.X.tar/AT-MARK.part  a member of the shard DIR/X.tar: its bytes, by where they begin and the mark of
 *                    its header (rd_tar_mark()). DIR/X.tar itself is the table of its members (shard_table.h)
 *     lock, book, tmp/   of the fetchers (fetcher/cache.h)
 *
 * So that a mirror is a folder like any other: layouts, labels and the index need no change. An object is replaced by
 * rename, never written in place. An empty file whose owner may not write it marks an object that cannot be fetched. */
#ifndef READER_DATASET_MIRROR_H
#define READER_DATASET_MIRROR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base/err.h"

/* The folder of a remote data set in the cache; nothing is made. The environment's AWS_ENDPOINT_URL_S3 and
 * AWS_ENDPOINT_URL are a part of what s3:// means. */
int rd_mirror_path(const char *url, const char *cache_dir, char *ret_path, size_t size, struct im_text *text);

/* The same, with the objects listed (by imsuper-fetcher) where they were not before, or are to be again. ret_root is its
 * data/. 0, or negative errno with a sentence. */
int rd_mirror_open(const char *url, const char *cache_dir, bool renew, char *ret_root, size_t size,
                   struct im_text *text);

/* How much of a data set's root (rd_index_root()) is the data/ of its mirror; 0: it is in none. */
size_t rd_mirror_length(const char *root);

/* The same by the name alone, also where the mirror was removed. */
size_t rd_mirror_length_of(const char *url, const char *cache_dir, const char *root);

/* When the objects of the mirror that a root is in were listed last; 0: it is in none. */
int64_t rd_mirror_listed_ns(const char *root);

/* The folder of a shard's members, and the object of one. The length, or -ENAMETOOLONG. */
int rd_mirror_members(const char *shard, char *ret_path, size_t size);
int rd_mirror_member(const char *shard, uint64_t offset, uint32_t mark, char *ret_path, size_t size);
/* Whether a file of a mirror is an object that may make room for others: an image or a member, by its name. */
bool rd_mirror_may_go(const char *name);

#define RD_MIRROR_AWAY_MODE 0600
#define RD_MIRROR_FAILED_MODE 0400

enum rd_object { RD_OBJECT_AWAY, RD_OBJECT_HERE, RD_OBJECT_FAILED };

/* What of the mirror a data set's root is, by its name alone, which takes no system call, or by its files: "", or a path that ends with /. -EBADMSG: it is in none;
 * -ENAMETOOLONG. *ret_length: of the mirror's data/ in the root. */
int rd_mirror_below(const char *url, const char *cache_dir, const char *root, char *ret_below, size_t size,
                    size_t *ret_length);

/* The hash of an object's path in the mirror, which is `below` and `path`. */
uint64_t rd_mirror_place(const char *below, const char *path);

/* Whether the object `below` + `path` is here, by its path in root_fd; *ret_seal is then the seal of its bytes (ipc/object_seal.h). AWAY, too, where somebody has removed its file or put
 * another in its place. FAILED: it was asked for after `since_ns` (CLOCK_REALTIME), and cannot be fetched. A negative errno: the folder
 * cannot be asked, or was removed. */
int rd_mirror_look(int root_fd, const char *below, const char *path, int64_t since_ns, uint32_t *ret_seal);

#endif
