#include "reader/pixels.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "ipc/base/hash.h"

#define SETTLED 2 /* seconds: all clocks of file systems tell them apart */
#define STAMP_SEED UINT64_C(0x7374616d70)

void rd_pixels_open(struct rd_pixels *p, const struct im_child *child)
{
    struct im_pixel_shape shape;

    *p = (struct rd_pixels){.cells = {.fd = -1}, .settled = SETTLED};
    if (!im_conf_has_pixel_cache(child->conf))
        return;
    shape = im_pixel_shape_of(child->conf, child->run->geometry.samples);
    if (im_pixel_cells_take(child->pixels_fd, &shape, 0, im_conf_pixel_cache_is_memory(child->conf),
                            &p->cells) < 0)
        return;
    for (int split = 0; split < IM_SPLITS; split++)
        p->settings[split] =
            im_pixel_settings(child->conf, (enum im_split)split, child->run->control->build_hash);
}

bool rd_pixels_have(struct rd_pixels *p, enum im_split split, uint64_t sample, int root_fd, const char *path,
                    const struct rd_source_of *source, uint64_t *ret_stamp)
{
    struct im_pixel_cell cell;
    struct statx st;
    struct timespec now;

    *ret_stamp = 0;
    if (p->cells.fd < 0 ||
        statx(root_fd, path, 0, STATX_SIZE | STATX_MTIME | STATX_CTIME | STATX_INO, &st) < 0)
        return false;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!S_ISREG(st.stx_mode) || st.stx_mtime.tv_sec + p->settled > now.tv_sec ||
        st.stx_ctime.tv_sec + p->settled > now.tv_sec)
        return false;
    const uint64_t said[] = {p->settings[split],
                             (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor,
                             st.stx_ino,
                             st.stx_size,
                             (uint64_t)st.stx_mtime.tv_sec,
                             st.stx_mtime.tv_nsec,
                             (uint64_t)st.stx_ctime.tv_sec,
                             st.stx_ctime.tv_nsec,
                             source->container != 0,
                             source->container ? source->offset : 0,
                             source->container ? source->bytes : 0};
    *ret_stamp = im_hash64(said, sizeof said, STAMP_SEED) | 1;
    if (im_pixel_cells_find(&p->cells, split, sample, &(struct im_pixel_name){.stamp = *ret_stamp}, &cell) !=
        1)
        return false;
    im_pixel_cells_ask(&p->cells, &cell);
    return true;
}
