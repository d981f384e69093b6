/* The members of shards on a server: headers and labels are asked for, a few KiB a member, images are passed over. */
#ifndef FETCHER_SHARDS_H
#define FETCHER_SHARDS_H

#include "fetcher/client.h"
#include "reader/dataset/shard_table.h"

struct fe_shard {
    const char *path; /* of the object; the caller's */
    struct rd_shard_object
        object;     /* the caller's: as the table that is here says, bytes 0: there is none. Of the
                                      server, afterwards */
    bool is_listed; /* the caller's: the list says what the object is, in `now` */
    struct rd_shard_object now;

    bool is_kept; /* the table that is here is of this object */
    void *table;  /* else the new one, malloc'ed */
    size_t table_bytes;
    uint32_t members;
    struct im_text why; /* of err */
    int err;
};

struct fe_shards {
    const struct fe_address *address;
    struct fe_shard *shards;
    uint32_t count;
    /* Called in threads, several at once: the shard is done, and may be put away. 0 or negative errno. */
    int (*done)(void *context, struct fe_shard *shard);
    /* Ten times a second. May be NULL. */
    void (*tick)(void *context, uint64_t shards, uint64_t members);
    void *context;
};

/* Scans all, some at a time. The first error, with a sentence. */
int fe_shards_scan(struct fe_shards *shards, unsigned stall_ms, struct im_text *text);

#endif
