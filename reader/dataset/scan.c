/* Directories are listed by a handful of threads that take the next one from a shared counter: on a warm
 * cache this is bound by getdents and sorting, on a network file system by latency, and both gain from
 * several at once. Types come from d_type; only links and file systems that do not tell (DT_UNKNOWN) cost a
 * stat. Names are sorted by bytes, so that the order in which a file system lists them, and the number of
 * threads, leave no trace in the result.
 *
 * The stamp is taken before the directory is read: a change while it is read makes the stamp old,
 * never the listing. */
#include "reader/dataset/scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/image_type.h"
#include "reader/dataset/parallel.h"

struct scan {
    int root_fd;
    char root[PATH_MAX]; /* without links; "": not known */
    struct rd_listing *listings;
    uint32_t count;
    const struct rd_progress *progress;
    _Atomic uint64_t files; /* W listing threads; R the caller, to report */
};

int rd_is_image_name(const char *name)
{
    return im_image_type_is_decoded(im_image_type_of_name(name));
}

int rd_stamp_take(int root_fd, const char *path, struct rd_stamp *ret_stamp)
{
    struct stat st;

    if (fstatat(root_fd, path, &st, 0) < 0)
        return -errno;
    *ret_stamp = (struct rd_stamp){
        .mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec,
        .inode = st.st_ino,
        .device = st.st_dev,
        .bytes = S_ISDIR(st.st_mode) ? 0 : (uint64_t)st.st_size,
    };
    return 0;
}

static void skip(struct rd_listing *listing, enum rd_skip kind, const char *name)
{
    struct rd_skipped *skipped = &listing->skipped;

    /* The smallest name, so that the report does not depend on the order of the file system. */
    if (skipped->count[kind]++ == 0 || strcmp(name, strrchr(skipped->first[kind], '/') + 1) < 0)
        snprintf(skipped->first[kind], sizeof skipped->first[kind], "%.60s/%s", listing->path, name);
}

void rd_skipped_add(struct rd_skipped *sum, const struct rd_skipped *more)
{
    for (int kind = 0; kind < RD_SKIP_KINDS; kind++) {
        if (sum->count[kind] == 0)
            memcpy(sum->first[kind], more->first[kind], sizeof sum->first[kind]);
        sum->count[kind] += more->count[kind];
    }
}

/* DT_REG, DT_DIR, or DT_UNKNOWN for everything else; links are followed. */
static unsigned char type_of(int fd, const struct dirent *entry)
{
    struct stat st;

    if (entry->d_type != DT_LNK && entry->d_type != DT_UNKNOWN)
        return entry->d_type;
    if (fstatat(fd, entry->d_name, &st, 0) < 0)
        return DT_UNKNOWN;
    return S_ISREG(st.st_mode) ? DT_REG : S_ISDIR(st.st_mode) ? DT_DIR : DT_UNKNOWN;
}

/* Where an open directory lies, or what `name` in it leads to; "" where that cannot be told. */
static const char *real_path(int fd, const char *name, char path[PATH_MAX])
{
    char through[64 + NAME_MAX];

    snprintf(through, sizeof through, "/proc/self/fd/%d%s%s", fd, *name ? "/" : "", name);
    return realpath(through, path) ? path : "";
}

/* What cannot be told counts as outside: whoever may read only below the root could not read it. */
static bool is_outside(const char *root, const char *path)
{
    size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);

    return *root == 0 || strncmp(path, root, n) != 0 || (path[n] != '/' && path[n] != 0);
}

static bool leads_out(const char *root, int fd, const struct dirent *entry)
{
    char path[PATH_MAX];
    struct stat st;

    if (entry->d_type == DT_UNKNOWN &&
        (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISLNK(st.st_mode)))
        return false;
    return (entry->d_type == DT_LNK || entry->d_type == DT_UNKNOWN) &&
           is_outside(root, real_path(fd, entry->d_name, path));
}

static int take_entry(const char *root, struct rd_listing *listing, int fd, const struct dirent *entry)
{
    const char *name = entry->d_name;
    int image = rd_is_image_name(name);
    unsigned char type;
    int64_t added = 0;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    if (name[0] == '.') {
        skip(listing, RD_SKIP_HIDDEN, name);
        return 0;
    }
    type = type_of(fd, entry);
    if (type == DT_REG && image) {
        added = rd_names_add(&listing->images, name);
        listing->leads_out = listing->leads_out || leads_out(root, fd, entry);
    } else if (type == DT_DIR && !image) {
        added = rd_names_add(&listing->folders, name);
    } else {
        skip(listing,
             type == DT_REG   ? RD_SKIP_OTHER
             : type == DT_DIR ? RD_SKIP_FOLDER
                              : RD_SKIP_SPECIAL,
             name);
    }
    return added < 0 ? (int)added : 0;
}

static int list(const struct scan *scan, struct rd_listing *listing)
{
    char path[PATH_MAX];
    const struct dirent *entry;
    DIR *dir;
    int fd, err = rd_stamp_take(scan->root_fd, listing->path, &listing->stamp);

    if (err < 0)
        return err;
    fd = openat(scan->root_fd, listing->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    listing->leads_out = is_outside(scan->root, real_path(fd, "", path));
    dir = fdopendir(fd);
    if (!dir) {
        err = -errno;
        close(fd);
        return err;
    }
    do {
        errno = 0;
        entry = readdir(dir);
        err = entry ? take_entry(scan->root, listing, fd, entry) : -errno;
    } while (entry && err == 0);
    closedir(dir);
    rd_names_sort(&listing->images);
    rd_names_sort(&listing->folders);
    return err;
}

static void list_one(void *context, uint64_t i)
{
    struct scan *scan = context;
    struct rd_listing *listing = &scan->listings[i];

    listing->err = list(scan, listing);
    atomic_fetch_add_explicit(&scan->files, listing->images.count, memory_order_relaxed);
}

static void tick(void *context, uint64_t done)
{
    struct scan *scan = context;

    if (scan->progress && scan->progress->report)
        scan->progress->report(scan->progress->context,
                               atomic_load_explicit(&scan->files, memory_order_relaxed), done, scan->count);
}

int rd_scan(int root_fd, struct rd_listing *listings, uint32_t count, const struct rd_progress *progress,
            struct im_text *text)
{
    struct scan scan = {.root_fd = root_fd, .listings = listings, .count = count, .progress = progress};
    struct rd_parallel parallel = {.count = count, .item = list_one, .tick = tick, .context = &scan};

    real_path(root_fd, "", scan.root);
    rd_parallel(&parallel);
    for (uint32_t i = 0; i < count; i++)
        if (listings[i].err < 0)
            return im_fail(text, listings[i].err, "cannot list the folder '%.700s': %s", listings[i].path,
                           strerror(-listings[i].err));
    return 0;
}

void rd_listing_fini(struct rd_listing *listing)
{
    rd_names_fini(&listing->images);
    rd_names_fini(&listing->folders);
}
