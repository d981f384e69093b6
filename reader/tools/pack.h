/* Shards from the images of any layout: tar files in WebDataset's naming, which are the same bytes whenever and wherever
 * they are made of the same images.
 *
 * First a plan, which says what stands in each shard and how large it is. A shard is written under a temporary name, read
 * again from the disk and compared, then renamed: whatever has its name is whole. The same call goes on after a kill. */
#ifndef READER_TOOLS_PACK_H
#define READER_TOOLS_PACK_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "reader/dataset/index.h"
#include "reader/dataset/tar.h"

#define RD_PACK_FILE ".pack.json" /* in the folder of the shards: what they were made of */

struct rd_pack_sample {
    uint64_t bytes; /* of the image */
};

struct rd_pack_shard {
    enum im_split split;
    uint32_t number;       /* in the split */
    uint64_t first, count; /* samples of the split */
    uint64_t bytes;        /* of the file */
    bool is_done;          /* it was there before */
};

struct rd_pack {
    /* Filled by the caller. */
    const struct rd_index *index;
    const char *folder;                         /* where the shards go, absolute */
    uint64_t shard_bytes, shard_images;         /* limits of a shard */
    unsigned threads;                           /* 0: as many as fit the machine */
    void (*tick)(void *context, uint64_t done); /* shards */
    void *context;

    /* Made by rd_pack_plan(). */
    struct rd_pack_sample *samples[IM_SPLITS];
    struct rd_pack_shard *shards;
    uint32_t count, shards_of[IM_SPLITS];
    uint64_t bytes;   /* of all shards */
    uint64_t hash;    /* of all that the shards' bytes follow from, but for the images' content */
    uint32_t already; /* shards that were there; set by rd_pack_write() */
};

/* Looks at all files. Negative errno with a sentence. */
int rd_pack_plan(struct rd_pack *pack, struct im_text *text);

/* Writes the shards, classes.txt and _info.json. Negative errno with a sentence: what is there stays. */
int rd_pack_write(struct rd_pack *pack, struct im_text *text);
void rd_pack_fini(struct rd_pack *pack);

/* "train-000003.tar" */
void rd_pack_name(const struct rd_pack_shard *shard, char ret[64]);

/* The members of a sample before its image, and the header of the image, as bytes of a tar. */
struct rd_pack_head {
    unsigned char bytes[16 * RD_TAR_BLOCK];
    uint32_t n;
};

int rd_pack_head(const struct rd_pack *pack, enum im_split split, uint64_t id, struct rd_pack_head *ret,
                 struct im_text *text);

static inline uint64_t rd_tar_padded(uint64_t bytes)
{
    return (bytes + RD_TAR_BLOCK - 1) / RD_TAR_BLOCK * RD_TAR_BLOCK;
}

#endif
