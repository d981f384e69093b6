/* The file: a page that says its shape, then the cells of the training split, then those of validation. A cell is a head
 * and pixels, in whole pages. */
#include "ipc/pixel_cells.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "ipc/base/fault.h"
#include "ipc/base/file.h"
#include "ipc/base/hash.h"

#define MAGIC UINT64_C(0x6c65786970736d69) /* "imspixel" in a little-endian file */
#define VERSION 2                          /* 1: hashes of bands were im_hash64() */
#define ENDIAN 0x01020304u
#define CELL_MAGIC UINT64_C(0x6c6c6563)
#define LOCK_WAIT_NS (5 * IM_SECOND)
#define ROOM_EVERY 64 /* cells: how often the disk is asked for its room */

struct page {
    uint64_t magic;
    uint32_t version, endian;
    struct im_pixel_shape shape;
    uint64_t check; /* of all above */
};

struct head {
    uint64_t key, stamp;
    uint64_t check; /* of all others */
    uint32_t width, height;
    uint64_t memory;
    uint64_t bands[IM_PIXEL_BANDS_MAX];
};
#define HEAD_BYTES 4096
static_assert(sizeof(struct page) == 48 && sizeof(struct head) <= HEAD_BYTES, "version 2");

static uint64_t cell_bytes(uint32_t side)
{
    return HEAD_BYTES + (im_pixel_room(side) + IM_PAGE - 1) / IM_PAGE * IM_PAGE;
}

static uint64_t cell_at(const struct im_pixel_shape *shape, enum im_split split, uint64_t sample)
{
    const uint64_t before =
        split == IM_TRAIN ? 0 : shape->samples[IM_TRAIN] * cell_bytes(shape->side[IM_TRAIN]);

    return IM_PAGE + before + sample * cell_bytes(shape->side[split]);
}

uint64_t im_pixel_settings(const struct im_conf *conf, enum im_split split, uint64_t build_hash)
{
    const uint64_t said[] = {(uint64_t)VERSION << 32 | (uint64_t)split,
                             split == IM_TRAIN ? (uint64_t)im_conf_pixel_cache_side(conf)
                                               : (uint64_t)im_conf_eval_resize(conf),
                             conf->scaled_decode,
                             (uint64_t)conf->max_side,
                             (uint64_t)conf->max_pixels,
                             (uint64_t)conf->max_scans,
                             (uint64_t)conf->max_file_bytes,
                             build_hash};

    return im_hash64(said, sizeof said, MAGIC);
}

uint64_t im_pixel_key(uint64_t settings, uint64_t bytes_key, size_t n)
{
    const uint64_t said[] = {settings, bytes_key, n};

    return im_hash64(said, sizeof said, MAGIC) | 1;
}

struct im_pixel_shape im_pixel_shape_of(const struct im_conf *conf, const uint64_t samples[IM_SPLITS])
{
    return (struct im_pixel_shape){
        .samples = {samples[IM_TRAIN], samples[IM_VAL]},
        .side = {(uint32_t)im_conf_pixel_cache_side(conf), (uint32_t)im_conf_eval_resize(conf)}};
}

uint64_t im_pixel_cells_size(const struct im_pixel_shape *shape)
{
    return cell_at(shape, IM_VAL, shape->samples[IM_VAL]);
}

/* Of a cell's, those that a photograph of 4 to 3 takes. */
static uint64_t usual_bytes(uint32_t side)
{
    return HEAD_BYTES + ((uint64_t)4 * side * side + IM_PAGE - 1) / IM_PAGE * IM_PAGE;
}

uint64_t im_pixel_estimate(const struct im_pixel_shape *shape)
{
    return IM_PAGE + shape->samples[IM_TRAIN] * usual_bytes(shape->side[IM_TRAIN]) +
           shape->samples[IM_VAL] * usual_bytes(shape->side[IM_VAL]);
}

static uint32_t band_count(uint32_t height)
{
    return (height + IM_PIXEL_BAND - 1) / IM_PIXEL_BAND;
}

static uint64_t band_hash(const unsigned char *image, uint32_t width, uint32_t height, uint32_t band)
{
    const uint32_t first = band * IM_PIXEL_BAND;
    const uint32_t rows = height - first < IM_PIXEL_BAND ? height - first : IM_PIXEL_BAND;
    const size_t row = (size_t)3 * width;

    return im_hash_bulk(image + first * row, rows * row, band);
}

static uint64_t head_check(const struct head *h)
{
    struct head copy = *h;

    copy.check = CELL_MAGIC;
    return im_hash64(&copy, sizeof copy, MAGIC);
}

/* ---- reading and writing ---- */

/* All bytes, or an error: -EAGAIN: they would have to be waited for; -ENODATA: the file has not so many. */
static int read_at(struct im_pixel_cells *c, void *to, size_t n, uint64_t at)
{
    for (size_t have = 0; have < n;) {
        struct iovec part = {(char *)to + have, n - have};
        ssize_t got = -1;

        if (!c->may_wait) {
            got = preadv2(c->fd, &part, 1, (off_t)(at + have), RWF_NOWAIT);
            if (got < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
                c->may_wait = true;
                continue;
            }
        } else {
            got = pread(c->fd, part.iov_base, part.iov_len, (off_t)(at + have));
        }
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ENODATA;
        have += (size_t)got;
    }
    return 0;
}

/* ---- opening ---- */

static uint64_t page_check(const struct page *p)
{
    return im_hash64(p, offsetof(struct page, check), MAGIC);
}

static bool has_shape(int fd, const struct im_pixel_shape *shape)
{
    struct page p;

    return pread(fd, &p, sizeof p, 0) == sizeof p && p.magic == MAGIC && p.version == VERSION &&
           p.endian == ENDIAN && p.check == page_check(&p) && memcmp(&p.shape, shape, sizeof *shape) == 0;
}

/* Empties the file. Its first page comes last: before it, it is none. */
static int make(int fd, const struct im_pixel_shape *shape)
{
    struct page p = {.magic = MAGIC, .version = VERSION, .endian = ENDIAN, .shape = *shape};

    p.check = page_check(&p);
    if (ftruncate(fd, 0) < 0 || ftruncate(fd, (off_t)im_pixel_cells_size(shape)) < 0)
        return -errno;
    return im_write_all_at(fd, &p, sizeof p, 0);
}

/* Two runs that start at once: one makes it, and the other finds it made. -EWOULDBLOCK: who holds the lock does not leave it. */
static int make_alone(int fd, const struct im_pixel_shape *shape)
{
    const im_ns until = im_now() + LOCK_WAIT_NS;
    int err;

    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EINTR && (errno != EWOULDBLOCK || im_now() > until))
            return -errno;
        nanosleep(&(struct timespec){.tv_nsec = 10 * (long)IM_MS}, NULL);
    }
    err = has_shape(fd, shape) ? 0 : make(fd, shape);
    flock(fd, LOCK_UN);
    return err;
}

int im_pixel_cells_memory(const struct im_pixel_shape *shape, struct im_text *text)
{
    int fd = memfd_create("pixel cache", MFD_CLOEXEC);
    int err = fd < 0 ? -errno : make(fd, shape);

    if (err == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return im_fail(text, err, "cannot make memory for decoded images: %s", strerror(-err));
}

int im_pixel_cells_file(const char *path, const struct im_pixel_shape *shape, struct im_text *text)
{
    struct stat st;
    int err = 0, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);

    if (fd < 0)
        return im_fail(text, -errno, "cannot open '%.700s': %s", path, strerror(errno));
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0))
        err = im_fail(text, -EPERM, "'%.700s' is no file, or belongs to another user; remove it", path);
    else if (!has_shape(fd, shape)) {
        err = make_alone(fd, shape);
        if (err == -EWOULDBLOCK)
            im_fail(text, err,
                    "'%.700s' is locked by a process that has been making it for 5 s, and may be stopped: "
                    "end that "
                    "process, or name another folder",
                    path);
        else if (err < 0)
            im_fail(text, err, "cannot write '%.700s': %s", path, strerror(-err));
    }
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int im_pixel_cells_take(int fd, const struct im_pixel_shape *shape, uint64_t limit, bool is_memory,
                        struct im_pixel_cells *ret)
{
    *ret = (struct im_pixel_cells){.fd = -1};
    if (!has_shape(fd, shape))
        return -EBADMSG;
    *ret = (struct im_pixel_cells){
        .fd = fd, .shape = *shape, .limit = limit, .is_memory = is_memory, .may_wait = is_memory};
    return 0;
}

uint64_t im_pixel_cells_bytes(const struct im_pixel_cells *c)
{
    struct stat st;

    return c->fd >= 0 && fstat(c->fd, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

int im_pixel_cells_empty(int fd, const struct im_pixel_shape *shape)
{
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, IM_PAGE,
                     (off_t)(im_pixel_cells_size(shape) - IM_PAGE));
}

/* ---- cells ---- */

int im_pixel_cells_find(struct im_pixel_cells *c, enum im_split split, uint64_t sample,
                        const struct im_pixel_name *name, struct im_pixel_cell *ret)
{
    struct head h;
    uint64_t at;
    int err;

    if (c->fd < 0 || sample >= c->shape.samples[split] || (name->key == 0 && name->stamp == 0))
        return 0;
    at = cell_at(&c->shape, split, sample);
    err = read_at(c, &h, sizeof h, at);
    if (err == -EAGAIN) /* a part of it may be a hole, which is not to fill memory */
        posix_fadvise(c->fd, (off_t)at, (off_t)usual_bytes(c->shape.side[split]), POSIX_FADV_WILLNEED);
    if (err < 0)
        return err == -EAGAIN ? -EAGAIN : 0;
    if ((name->key != 0 ? h.key != name->key : h.stamp != name->stamp) || h.check != head_check(&h) ||
        !im_pixel_fits(c->shape.side[split], h.width, h.height))
        return 0;
    *ret = (struct im_pixel_cell){.at = at + HEAD_BYTES,
                                  .name = {h.key, h.stamp},
                                  .width = h.width,
                                  .height = h.height,
                                  .memory = h.memory};
    memcpy(ret->bands, h.bands, sizeof h.bands);
    return 1;
}

void im_pixel_cells_ask(struct im_pixel_cells *c, const struct im_pixel_cell *cell)
{
    if (!c->is_memory)
        posix_fadvise(c->fd, (off_t)cell->at, (off_t)3 * cell->width * cell->height, POSIX_FADV_WILLNEED);
}

int im_pixel_cells_rows(struct im_pixel_cells *c, const struct im_pixel_cell *cell, uint32_t first,
                        uint32_t count, unsigned char *image)
{
    const uint32_t from = first / IM_PIXEL_BAND, to = band_count(first + count);
    const size_t row = (size_t)3 * cell->width;
    const uint32_t top = from * IM_PIXEL_BAND,
                   end = to * IM_PIXEL_BAND < cell->height ? to * IM_PIXEL_BAND : cell->height;
    const uint64_t at = cell->at + top * row;

    const int err = read_at(c, image + top * row, (end - top) * row, at);

    if (err == -EAGAIN)
        posix_fadvise(c->fd, (off_t)at, (off_t)((end - top) * row), POSIX_FADV_WILLNEED);
    if (err < 0)
        return err == -EAGAIN ? -EAGAIN : 0;
    for (uint32_t band = from; band < to; band++)
        if (band_hash(image, cell->width, cell->height, band) != cell->bands[band])
            return 0;
    return 1;
}

static bool ask_disk(const struct im_pixel_cells *c)
{
    struct statfs fs;

    return IM_FAULT_ERR("pixels.room") < 0 ||
           (fstatfs(c->fd, &fs) == 0 && (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize < IM_PIXEL_DISK_SPARED);
}

/* Whether so many bytes more are allowed, and there. */
static int check_room(struct im_pixel_cells *c, uint64_t bytes)
{
    if (im_pixel_cells_bytes(c) + bytes > c->limit)
        return -ENOSPC;
    if (!c->is_memory && c->puts++ % ROOM_EVERY == 0)
        c->is_full = ask_disk(c);
    return c->is_full ? -ENOSPC : 0;
}

static int write_head(struct im_pixel_cells *c, const struct im_pixel_cell *cell, uint64_t at)
{
    struct head h = {.key = cell->name.key,
                     .stamp = cell->name.stamp,
                     .width = cell->width,
                     .height = cell->height,
                     .memory = cell->memory};

    memcpy(h.bands, cell->bands, sizeof h.bands);
    h.check = head_check(&h);
    return im_write_all_at(c->fd, &h, sizeof h, at);
}

int im_pixel_cells_put(struct im_pixel_cells *c, enum im_split split, uint64_t sample,
                       const struct im_pixel_cell *cell, const unsigned char *image)
{
    const size_t bytes = (size_t)3 * cell->width * cell->height;
    struct im_pixel_cell own = *cell;
    uint64_t at;
    int err;

    if (c->fd < 0 || sample >= c->shape.samples[split] || cell->name.key == 0 ||
        !im_pixel_fits(c->shape.side[split], cell->width, cell->height))
        return -EINVAL;
    at = cell_at(&c->shape, split, sample);
    memset(own.bands, 0, sizeof own.bands);
    for (uint32_t band = 0; band < band_count(cell->height); band++)
        own.bands[band] = band_hash(image, cell->width, cell->height, band);
    err = check_room(c, HEAD_BYTES + bytes);
    if (err == 0)
        err = IM_FAULT_ERR("pixels.put.before");
    if (err == 0)
        err = im_write_all_at(c->fd, image, bytes, at + HEAD_BYTES);
    if (err == 0)
        err = IM_FAULT_ERR("pixels.put.half");
    if (err == 0)
        err = write_head(c, &own, at);
    if (err == 0)
        IM_FAULT("pixels.put.after");
    return err;
}

void im_pixel_cells_drop(struct im_pixel_cells *c, enum im_split split, uint64_t sample)
{
    const uint64_t none[3] = {0};

    if (c->fd >= 0 && sample < c->shape.samples[split])
        (void)im_write_all_at(c->fd, none, sizeof none, cell_at(&c->shape, split, sample));
}

int im_pixel_cells_restamp(struct im_pixel_cells *c, struct im_pixel_cell *cell, uint64_t stamp)
{
    cell->name.stamp = stamp;
    return write_head(c, cell, cell->at - HEAD_BYTES);
}
