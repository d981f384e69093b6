/* Which images need not be read, since the pixel cache has them (ipc/pixel_cells.h). */
#ifndef READER_PIXELS_H
#define READER_PIXELS_H

#include "ipc/child.h"
#include "ipc/pixel_cells.h"
#include "reader/dataset/index.h"

struct rd_pixels {
    struct im_pixel_cells cells; /* fd < 0: there is no cache */
    uint64_t settings[IM_SPLITS];
    int64_t settled; /* seconds since a file changed last: another change shows in its times */
};

/* Of a run; without a cache, or with one that cannot be read, every image is read. */
void rd_pixels_open(struct rd_pixels *pixels, const struct im_child *child);

/* Whether there is a cell of the file as it is now; *ret_stamp for the one that is made of it otherwise, 0 where nothing can be
 * said of the file. Asks the file system: not where that may hang. */
bool rd_pixels_have(struct rd_pixels *pixels, enum im_split split, uint64_t sample, int root_fd,
                    const char *path, const struct rd_source_of *source, uint64_t *ret_stamp);

#endif
