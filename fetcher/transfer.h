/* One object on its way: claimed, promised its room, written, checked, put in place. */
#ifndef FETCHER_TRANSFER_H
#define FETCHER_TRANSFER_H

#include <stdalign.h>

#include "fetcher/cache.h"
#include "fetcher/client.h"
#include "fetcher/listing.h"
#include "reader/dataset/tar.h"

#define FE_SUM_BYTES 128

struct fe_store {
    struct fe_cache cache;
    struct fe_listing listing;
    struct fe_client *client;
    struct fe_address address;
    int root_fd;       /* data/ of the mirror */
    const char *below; /* what of it is the data set's root: "" or ends with / */
};

/* Of an object that is a member of a shard: where its bytes are. bytes 0 and shard "": it is a whole one. */
struct fe_part {
    char shard[PATH_MAX]; /* in the mirror */
    uint64_t offset, bytes;
    uint32_t mark; /* of the header before them */
};

struct fe_transfer {
    struct fe_store *store;
    char path[PATH_MAX]; /* in the mirror */
    struct fe_part part;
    int64_t shard_bytes; /* as listed; -1: not known */
    unsigned char header[RD_TAR_BLOCK];
    uint32_t header_bytes; /* of it that came */
    char etag[FE_ETAG_BYTES];
    int64_t size, said, have; /* of what is asked for, as listed and as the server says, -1: not; what came */
    struct fe_claim claim;
    alignas(8) unsigned char md5[FE_SUM_BYTES]; /* of what came, as far as it did */
    void *tag;
};

/* Asks for the object. -EBUSY: another fetcher has it; others: it could not be begun. */
int fe_transfer_start(struct fe_transfer *t);

/* The request has ended. 0: the object is here; else what was wrong, with the reason in result->why. */
int fe_transfer_end(struct fe_transfer *t, struct fe_result *result);
void fe_transfer_drop(struct fe_transfer *t);

#endif
