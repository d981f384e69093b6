/* Links: how a reader finds the seek index of an image (seek_file.h) before it has read the image, so that it reads
 * only what a crop needs. A link is a record of the same file, whose key is made of the image's place; it says whose bytes
 * were there when it was made, and has a checksum of each block of them. Blocks are those of the file that the image is in: of a
 * member of a shard, the first is shorter where the member does not begin with one.
 *
 * Nothing is believed of it but its checksums: a reader compares those of all blocks that it has read, and reads the whole file
 * where one differs. So the parts of a file that it hands on are those of the very bytes that the index was made of,
 * whatever became of the path. A file that has changed elsewhere only is taken for what it was; the crop of a JPEG file
 * differs then only where its other parts do not fit together. */
#ifndef IPC_SEEK_LINK_H
#define IPC_SEEK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/seek_file.h"

#define IM_LINK_BLOCK 4096u /* bytes: a page of the kernel's memory, the least that a disk is asked for */
#define IM_LINK_BLOCKS_MAX ((IM_SEEK_BYTES_MAX - 64) / (uint32_t)sizeof(uint32_t))

struct im_seek_link {
    uint64_t image;         /* im_seek_key() of the file's bytes */
    uint32_t bytes;         /* of the image */
    uint32_t scan;          /* the first code of its only scan */
    uint16_t width, height; /* pixels */
    uint8_t mcu_width, mcu_height;
    uint8_t looks_sideways, looks_up;   /* struct au_scan_shape of augment/decode/seek.h */
    uint32_t phase;                     /* bytes of the first block that are before the image */
    uint32_t check[IM_LINK_BLOCKS_MAX]; /* of the blocks, the last of which may be shorter */
};

/* The key of an image that is a file, or begins at `offset` of one. The path is absolute. */
uint64_t im_seek_link_key(const char *path, uint64_t offset);

/* The phase of an image that begins there. */
static inline uint32_t im_seek_link_phase(uint64_t offset)
{
    return (uint32_t)(offset % IM_LINK_BLOCK);
}

/* The beginning of the block in which byte `at` of an image is, or the image's; and the end of the block of the byte before
 * `at`, which is at least 1. */
static inline uint32_t im_seek_link_down(uint32_t phase, uint32_t at)
{
    const uint32_t block = (at + phase) / IM_LINK_BLOCK * IM_LINK_BLOCK;

    return block > phase ? block - phase : 0;
}
static inline uint32_t im_seek_link_up(uint32_t phase, uint32_t at)
{
    return im_seek_link_down(phase, at + IM_LINK_BLOCK - 1);
}

/* The checksum of a block of 1 to IM_LINK_BLOCK bytes. */
uint32_t im_seek_link_check(const void *bytes, size_t n);

/* Fills the checksums of an image's bytes, by the link's phase. Returns the size of the record, which begins at `link`; 0: too large for
 * one. */
size_t im_seek_link_fill(struct im_seek_link *link, const void *bytes, size_t n);

/* The link of a path. As im_seek_find(); > 0: it is complete. */
int im_seek_link_find(struct im_seek_file *file, uint64_t key, struct im_seek_link *ret);

/* Two parts of an image that were read by its link. */
struct im_seek_parts {
    uint64_t link, image;                /* key of the link; of the image */
    uint32_t bytes, phase;               /* of the image; of the link */
    uint32_t head, from, to;             /* [0, head) and [from, to) */
    const unsigned char *first, *second; /* what was read of them */
};

/* Are they those that the link, as it is now, is of? It is read to *link. */
bool im_seek_link_proves(struct im_seek_file *file, const struct im_seek_parts *parts,
                         struct im_seek_link *link);

/* Are the bytes [from, to) of an image those of the link? from is the beginning of a block, to the end of one. `bytes` begin
 * with that of `from`. */
bool im_seek_link_agrees(const struct im_seek_link *link, const unsigned char *bytes, uint32_t from,
                         uint32_t to);

#endif
