/* Which bytes of a JPEG file the crop of its ticket needs, known before the file is read: from its link (ipc/seek_link.h),
 * its seek index and the crop, which is a function of seed, epoch and sample (augment/transform/crop.h).
 *
 * Any doubt means the whole file: no link, another file than when the link was made, little to be saved, a crop of another kind. The
 * augmenter has the last word: it decodes nothing but what was read, and where that does not do the ticket comes back
 * (im_encoded_asks_whole()). */
#ifndef READER_RANGES_H
#define READER_RANGES_H

#include "augment/decode/seek.h"
#include "augment/transform/crop.h"
#include "ipc/child.h"
#include "ipc/plan.h"
#include "ipc/seek_link.h"
#include "reader/dataset/index.h"
#include "reader/io.h"

struct rd_ranges {
    struct im_seek_file file; /* fd < 0: files are read whole */
    const char *root;
    bool is_auto, is_cold;
    struct au_crop_options crop;
    uint64_t seed;
    uint64_t images, bytes,
        disk; /* since the last look at where bytes come from; disk: of the process, at that look */
    struct au_seek seek;
    struct im_seek_link link;
    unsigned char record[IM_SEEK_BYTES_MAX];
};

/* What to read of an image: a file, or a member of a shard. */
struct rd_range {
    uint64_t link;  /* key of its link, that there is or should be; 0: none is wanted */
    uint64_t image; /* key of the whole image */
    uint32_t bytes; /* of the image */
    uint32_t phase; /* of its link */
    struct rd_io_two
        two; /* to == 0: all of it. Parts keep their places where the image fits, else one follows the other */
    bool is_too_large; /* parts do not fit either: whoever decodes the image is to read them */
};

/* Of a run; before the sandbox allows it no more. `root` stays the caller's. */
void rd_ranges_open(struct rd_ranges *ranges, const struct im_child *child, const char *root);
void rd_ranges_close(struct rd_ranges *ranges);

/* For a place, whose random numbers go by `item` (rd_order_item()), and an image that is at `source` of `path`, as
 * rd_index_source() has them; room: bytes of a cell. is_whole: parts of it did not do. */
struct rd_range rd_ranges_find(struct rd_ranges *ranges, const struct im_place *at, uint64_t item,
                               const struct rd_source_of *source, const char *path, uint64_t room,
                               bool is_whole);

/* Are these the bytes that the link is of? As they were read: range->two of a cell. */
bool rd_ranges_agree(struct rd_ranges *ranges, const struct rd_range *range, const unsigned char *bytes);

/* After an image of which so many bytes were read by this process, which those too large are not. */
void rd_ranges_count(struct rd_ranges *ranges, uint64_t bytes);

#endif
