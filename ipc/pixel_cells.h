/* Images that are decoded and resized already (--pixel-cache): a cell for each sample, in a file on a local disk, or in
 * memory that has no name. The descriptor is opened before the run and inherited; augmenters read and write cells
 * through it.
 *
 * A sample's cell has a place of its own, so nothing is allocated and no table can be torn. Of what lies there a hash of
 * the image's bytes and of all that its pixels depend on is the key: a cell of other bytes is none, whatever became of a
 * path. Pixels have a hash for each band of rows, and the head that holds these, written last, has one too. So a
 * cell that is torn, damaged or of two writers is a cell that is not there, which costs the time that it
 * would have saved. System calls and no mapping: a file that is cut, or a disk that fails, is no SIGBUS. The file is
 * sparse: images smaller than a cell take what they need.
 *
 * Augmenters write what later runs read, as with seek indexes (seek_file.h), and what is trusted is the same. */
#ifndef IPC_PIXEL_CELLS_H
#define IPC_PIXEL_CELLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/base/err.h"
#include "ipc/config/conf.h"

#define IM_PIXEL_SIDE_MAX (uint32_t) IM_CONF_PIXEL_SIDE_MAX
#define IM_PIXEL_SHAPE_MAX 4u /* an image that is longer than so many times its short side has no cell */
#define IM_PIXEL_DISK_SPARED                                                                                 \
    (UINT64_C(256) << 20) /* bytes of the disk that stay free, beside a share of it at the start */
#define IM_PIXEL_BAND 32u /* rows that one hash is of */
#define IM_PIXEL_BANDS_MAX (IM_PIXEL_SIDE_MAX * IM_PIXEL_SHAPE_MAX / IM_PIXEL_BAND)

/* What a file of cells is for: samples of each split, and the short side of their images. */
struct im_pixel_shape {
    uint64_t samples[IM_SPLITS];
    uint32_t side[IM_SPLITS]; /* 1 .. IM_PIXEL_SIDE_MAX */
};

/* That of a run. */
struct im_pixel_shape im_pixel_shape_of(const struct im_conf *conf, const uint64_t samples[IM_SPLITS]);

/* Bytes of pixels that a cell of this side has room for. */
static inline size_t im_pixel_room(uint32_t side)
{
    return (size_t)3 * side * side * IM_PIXEL_SHAPE_MAX;
}

/* Whether an image of so many pixels has a cell; by its size alone. */
static inline bool im_pixel_fits(uint32_t side, uint64_t width, uint64_t height)
{
    return width > 0 && height > 0 && height <= (uint64_t)IM_PIXEL_BANDS_MAX * IM_PIXEL_BAND &&
           3 * width * height <= im_pixel_room(side);
}

/* What cells of this shape will take where images are photographs, 4 to 3. */
uint64_t im_pixel_estimate(const struct im_pixel_shape *shape);

/* How long the file is, holes included. */
uint64_t im_pixel_cells_size(const struct im_pixel_shape *shape);

/* An open file. */
struct im_pixel_cells {
    int fd; /* < 0: none */
    struct im_pixel_shape shape;
    uint64_t limit; /* bytes that the file may take */
    bool is_memory;
    bool may_wait; /* the file system cannot say whether a read would wait */
    uint32_t puts; /* the disk is asked for its room every so many */
    bool is_full;  /* it had none when it was asked last */
};

/* Memory, or the file at `path`, which is made, or emptied where it is of another shape. The descriptor (close-on-exec), or negative
 * errno with a sentence. */
int im_pixel_cells_memory(const struct im_pixel_shape *shape, struct im_text *text);
int im_pixel_cells_file(const char *path, const struct im_pixel_shape *shape, struct im_text *text);

/* Gives back what all cells take; they are found no more. Others may read and write them meanwhile. 0 or -1 with errno. */
int im_pixel_cells_empty(int fd, const struct im_pixel_shape *shape);

/* Takes a descriptor that one of these made. -EBADMSG: it is none, or of another shape. */
int im_pixel_cells_take(int fd, const struct im_pixel_shape *shape, uint64_t limit, bool is_memory,
                        struct im_pixel_cells *ret);

/* What the file takes now, of memory or of the disk. */
uint64_t im_pixel_cells_bytes(const struct im_pixel_cells *cells);

/* By what a cell is known: the image's bytes and all that its pixels depend on; and the file that they were read from, as it was,
 * which can be asked for without reading it. */
struct im_pixel_name {
    uint64_t key, stamp; /* 0: not known */
};

/* All that the pixels of a split's cells depend on beside the bytes, and whether they may be made; of a run, by its options and
 * build. That another version of a library makes other pixels is not known here. */
uint64_t im_pixel_settings(const struct im_conf *conf, enum im_split split, uint64_t build_hash);
uint64_t im_pixel_key(uint64_t settings, uint64_t bytes_key, size_t n);

/* The head of a cell. */
struct im_pixel_cell {
    uint64_t at; /* of the pixels, in the file */
    struct im_pixel_name name;
    uint32_t width, height;
    uint64_t memory; /* that decoding the image takes, and its file: the larger of both */
    uint64_t bands[IM_PIXEL_BANDS_MAX];
};

/* 1: there is a cell of this key, or, where that is 0, of this stamp; 0: there is none; -EAGAIN: it is on its way into the page cache. */
int im_pixel_cells_find(struct im_pixel_cells *cells, enum im_split split, uint64_t sample,
                        const struct im_pixel_name *name, struct im_pixel_cell *ret);

/* Asks for the pixels of a cell that was found, so that they are in memory when somebody reads them. */
void im_pixel_cells_ask(struct im_pixel_cells *cells, const struct im_pixel_cell *cell);

/* Reads rows [first, first + count) of a cell that was found to their places in `image`, which has im_pixel_room() bytes: rows are
 * 3 * width bytes apart, and row 0 is at its beginning. Others are written over. 1; 0: the cell is none; -EAGAIN as above. */
int im_pixel_cells_rows(struct im_pixel_cells *cells, const struct im_pixel_cell *cell, uint32_t first,
                        uint32_t count, unsigned char *image);

/* Writes a cell of the name, size and memory that *cell says: `image` as above, im_pixel_fits(). 0; -ENOSPC: limit or disk do not hold
 * it; other negative errno. With an error there is no cell. */
int im_pixel_cells_put(struct im_pixel_cells *cells, enum im_split split, uint64_t sample,
                       const struct im_pixel_cell *cell, const unsigned char *image);

/* Forgets a cell. */
void im_pixel_cells_drop(struct im_pixel_cells *cells, enum im_split split, uint64_t sample);

/* Gives a cell that was found another stamp: its bytes are those of that file now. */
int im_pixel_cells_restamp(struct im_pixel_cells *cells, struct im_pixel_cell *cell, uint64_t stamp);

#endif
