/* Which objects there are: asked once, kept in the mirror (reader/dataset/mirror.h), and its folders made from it. */
#ifndef FETCHER_LISTING_H
#define FETCHER_LISTING_H

#include <stdbool.h>
#include <stdint.h>

#include "fetcher/client.h"

/* Objects as they are collected, in one block of lines "path\tsize\tetag\n". Zero-initialise. */
struct fe_objects {
    char *bytes;
    size_t n, capacity;
    size_t *line; /* where each begins */
    uint64_t count, line_capacity;
    uint64_t refused; /* names that cannot be files here */
    char first_refused[256];
};

/* Whether a path may be made below the cache: relative, without . and .. and control characters. */
bool fe_path_is_good(const char *path);

/* -ENOMEM, -EFBIG. A path that is not good is only counted. size < 0: not known. */
int fe_objects_add(struct fe_objects *objects, const char *path, int64_t size, const char *etag);
void fe_objects_sort(struct fe_objects *objects); /* by path; of a path that comes twice, one stays */
void fe_objects_fini(struct fe_objects *objects);

/* A text: a path a line, or path, size and ETag separated by tabs. */
int fe_objects_parse(struct fe_objects *objects, const char *bytes, size_t n, struct im_text *text);

/* An answer of ListObjectsV2. ret_token: of the next page, "" at the end. */
int fe_objects_parse_s3(struct fe_objects *objects, const char *bytes, size_t n, const char *prefix,
                        char *ret_token, size_t token_size, struct im_text *text);

/* The file, mapped. */
struct fe_listing {
    const char *bytes;
    size_t n;
};
int fe_listing_open(const char *mirror, struct fe_listing *ret, struct im_text *text);
void fe_listing_close(struct fe_listing *listing);

/* What it says of an object: false: nothing. size -1: not known; etag "": not known. */
bool fe_listing_find(const struct fe_listing *listing, const char *path, int64_t *ret_size, char *ret_etag,
                     size_t etag_size);

enum fe_list_how {
    FE_LIST_WHOLLY, /* says on stderr what it does */
    FE_LIST_QUIETLY, /* for a run that has an index: members of shards, which it has, are not listed. The list has no age
                        (rd_mirror_listed_ns()), so that the index stays */
};

/* Lists what is at an address, shards with their members, and makes the mirror below the cache folder. */
int fe_list(const char *data_dir, const char *cache_dir, enum fe_list_how how, struct im_text *text);

#endif
