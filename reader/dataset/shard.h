/* The samples of one shard, a tar archive. In one of WebDataset's naming a sample is the members of one key, which is the
 * name up to the first dot: 000123.jpg with 000123.cls, or 000123.json with a field label or cls. In one without members
 * of labels each image is a sample. A label may be a list of any length (shard_labels.h). */
#ifndef READER_DATASET_SHARD_H
#define READER_DATASET_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "reader/dataset/scan.h"
#include "reader/dataset/tar.h"

#define RD_NO_NUMBER (-1)

struct rd_shard_image {
    uint32_t member; /* string: the member's name */
    uint32_t file;   /* string: the name that the label's JSON gives the file ("filename"); 0: none */
    uint32_t
        label; /* string: what the label says, of a list each label ended by a line feed; 0: there is none */
    int64_t number; /* what it says where that is one whole number; RD_NO_NUMBER */
    uint64_t offset, bytes;
    uint32_t mark; /* of its header */
};

/* A member that is no sample. */
struct rd_shard_skipped {
    uint32_t name, note; /* strings */
    uint8_t kind;        /* enum rd_skip */
};

/* Fill path and split; rd_shard_scan() fills the rest; fini. */
struct rd_shard {
    const char *path;  /* relative to the root; the caller's */
    uint32_t expected; /* samples that a list of shards gives it; 0: not known */
    int split;         /* enum im_split */
    struct rd_stamp stamp;
    struct rd_names strings;       /* only bytes are used; offset 0 holds "" */
    struct rd_shard_image *images; /* in the order of their offsets */
    uint32_t count;
    struct rd_shard_skipped *skipped;
    uint32_t skipped_count;
    bool in_mirror;  /* what stands at its path is its table (shard_table.h); the caller says so */
    bool has_labels; /* a member is a label */
    bool has_roles;  /* of index_shards.c: without labels, its members lie in train/ or val/ */
    bool leads_out;
    struct im_text cut; /* why it ends before its end, or is damaged, with the last whole sample; "" */
    struct im_text why; /* of err */
    int err;            /* 0, or why nothing is known of it */
};

static inline const char *rd_shard_string(const struct rd_shard *shard, uint32_t string)
{
    return shard->strings.bytes + string;
}

/* Reads the headers and labels of the shard. Any bytes may stand in it. */
void rd_shard_scan(int root_fd, struct rd_shard *shard);
/* The same of an archive that the caller reads. */
int rd_shard_read(struct rd_tar *tar, struct rd_shard *shard);
void rd_shard_fini(struct rd_shard *shard);

#endif
