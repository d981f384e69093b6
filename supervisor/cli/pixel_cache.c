#include "supervisor/cli/pixel_cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "ipc/base/file.h"
#include "ipc/base/sysinfo.h"
#include "ipc/seek_file.h"
#include "supervisor/report/screen.h"

/* The folder of the file. */
static int folder_of(const struct im_conf *conf, char *ret, size_t n, struct im_text *text)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int length;

    if (strcmp(conf->pixel_cache, "disk") != 0)
        length = snprintf(ret, n, "%s", conf->pixel_cache);
    else if (xdg && *xdg == '/')
        length = snprintf(ret, n, "%s/imsuper", xdg);
    else if (home && *home == '/')
        length = snprintf(ret, n, "%s/.cache/imsuper", home);
    else
        return im_fail(
            text, -ENOENT,
            "--pixel-cache disk: HOME and XDG_CACHE_HOME are not set; --pixel-cache DIR names a folder");
    return length < 0 || (size_t)length >= n
               ? im_fail(text, -ENAMETOOLONG, "--pixel-cache '%.700s': the path is too long",
                         conf->pixel_cache)
               : 0;
}

/* A path that is there: the folder, or one above it. */
static void find_existing(const char *folder, char *ret, size_t n)
{
    struct stat st;

    snprintf(ret, n, "%s", folder);
    while (stat(ret, &st) < 0 && errno == ENOENT) {
        char *slash = strrchr(ret, '/');

        if (slash == ret)
            slash++;
        if (slash && *slash)
            *slash = 0;
        else
            snprintf(ret, n, ".");
    }
}

/* Of a disk: what is free but for a twentieth and what always stays free, and what the file has already. */
static int disk_room(struct sv_pixel_cache *c, const char *folder, struct im_text *text)
{
    char there[PATH_MAX];
    struct statvfs fs;
    struct stat st;
    uint64_t available, spared;

    find_existing(folder, there, sizeof there);
    if (stat(there, &st) < 0 || statvfs(there, &fs) < 0)
        return im_fail(text, -errno, "--pixel-cache: %.700s: %s", there, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return im_fail(text, -ENOTDIR, "--pixel-cache: '%.700s' is not a folder", there);
    if (im_seek_is_remote(c->path))
        return im_fail(text, -EREMOTE,
                       "--pixel-cache: '%.700s' is on a network file system; name a folder on a local disk",
                       folder);
    available = (uint64_t)fs.f_bavail * fs.f_frsize;
    spared = (uint64_t)fs.f_blocks * fs.f_frsize / 20;
    spared = spared > IM_PIXEL_DISK_SPARED ? spared : IM_PIXEL_DISK_SPARED;
    c->room = available > spared ? available - spared : 0;
    if (stat(c->path, &st) == 0)
        c->room += (uint64_t)st.st_blocks * 512;
    return 0;
}

/* Of memory: what is available but for a tenth of all. */
static uint64_t memory_room(void)
{
    const uint64_t available = im_memory_available(), spared = im_memory_total() / 10;

    return available > spared ? available - spared : 0;
}

static int check_room(const struct im_conf *conf, const struct sv_pixel_cache *c, uint64_t size,
                      struct im_text *text)
{
    const bool by_size = size > 0 && size < c->room;
    const uint64_t room = by_size ? size : c->room;
    char need[24], there[24];
    struct rlimit limit;

    if (c->bytes > room)
        return im_fail(
            text, -ENOSPC,
            "--pixel-cache %.300s needs about %s for %" PRIu64 " images of %u and %" PRIu64
            " of %u pixels, and %s %s%s: use a smaller --pixel-cache-side, %s, or --pixel-cache off",
            conf->pixel_cache, sv_format_bytes(c->bytes, need, sizeof need), c->shape.samples[IM_TRAIN],
            c->shape.side[IM_TRAIN], c->shape.samples[IM_VAL], c->shape.side[IM_VAL],
            by_size    ? "--pixel-cache-size is"
            : *c->path ? "the disk has room for"
                       : "there is memory for",
            sv_format_bytes(room, there, sizeof there),
            !by_size && *c->path ? " beside a twentieth of it, or 256 MiB, that stay free" : "",
            by_size    ? "a larger --pixel-cache-size"
            : *c->path ? "another folder"
                       : "--pixel-cache disk");
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
        limit.rlim_cur < im_pixel_cells_size(&c->shape))
        return im_fail(text, -EFBIG,
                       "--pixel-cache makes a file with holes of %" PRIu64
                       " bytes, and this shell allows %" PRIu64 " a file: ulimit -f unlimited",
                       im_pixel_cells_size(&c->shape), (uint64_t)limit.rlim_cur);
    return 0;
}

int sv_pixel_cache_plan(struct im_conf *conf, const uint64_t samples[IM_SPLITS], const char *hash,
                        struct sv_pixel_cache *c, struct im_text *text)
{
    char folder[PATH_MAX - 128];
    struct im_text why = {""};
    uint64_t size;
    int err;

    *c = (struct sv_pixel_cache){.is_on = im_conf_has_pixel_cache(conf)};
    if (!c->is_on)
        return 0;
    c->shape = im_pixel_shape_of(conf, samples);
    c->bytes = im_pixel_estimate(&c->shape);
    err = im_conf_cache_size(conf->pixel_cache_size, &size);
    if (err == 0 && !im_conf_pixel_cache_is_memory(conf)) {
        err = folder_of(conf, folder, sizeof folder, text);
        if (err < 0)
            return err;
        snprintf(c->path, sizeof c->path, "%s/%.32s-%u-%u.pixels", folder, hash, c->shape.side[IM_TRAIN],
                 c->shape.side[IM_VAL]);
        err = disk_room(c, folder, text);
    } else if (err == 0) {
        c->room = memory_room();
    }
    if (err == 0)
        err = check_room(conf, c, size, text);
    if (err == 0 && *c->path && !conf->dry_run && (err = im_mkdirs(folder, 0700, &why)) < 0)
        im_fail(text, err, "--pixel-cache: %.900s", why.s);
    conf->pixel_cache_limit = (int64_t)(size > 0 && size < c->room ? size : c->room);
    return err;
}

int sv_pixel_cache_open(const struct sv_pixel_cache *c, struct im_text *text)
{
    struct im_text why = {""};
    int fd;

    if (!c->is_on)
        return -1;
    fd = *c->path ? im_pixel_cells_file(c->path, &c->shape, &why) : im_pixel_cells_memory(&c->shape, &why);
    return fd < 0 ? im_fail(text, fd, "--pixel-cache: %.900s", why.s) : fd;
}

const char *sv_pixel_cache_line(const struct sv_pixel_cache *c, char *buffer, size_t n)
{
    char bytes[24], room[24];

    snprintf(
        buffer, n,
        "decoded images are kept in %s: about %s of %s; training images are resized to a short side of %u "
        "(bilinear, antialiased) before they are cropped, which changes their pixels; validation has the "
        "same as "
        "without",
        *c->path ? c->path : "memory", sv_format_bytes(c->bytes, bytes, sizeof bytes),
        sv_format_bytes(c->room, room, sizeof room), c->shape.side[IM_TRAIN]);
    return buffer;
}
