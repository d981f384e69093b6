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

#include "ipc/base/count.h"
#include "ipc/base/image_type.h"
#include "reader/dataset/parallel.h"

#define KIND_BYTE 'A' /* of the kind that comes first */

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

void rd_join(char *path, size_t size, const char *folder, const char *name)
{
    const bool is_root = strcmp(folder, ".") == 0;

    snprintf(path, size, "%s%s%s", is_root ? "" : folder, is_root ? "" : "/", name);
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

bool rd_is_tool_folder(const char *name)
{
    /* Of macOS archives, ext4, Windows, Python, and the servers of Synology and QNAP. */
    static const char *const tools[] = {
        "__MACOSX",    "lost+found", "$RECYCLE.BIN",      "System Volume Information",
        "__pycache__", "@eaDir",     "#recycle",          "#snapshot",
        "@tmp",        "@Recycle",   "@Recently-Snapshot"};

    for (size_t i = 0; i < IM_COUNT(tools); i++)
        if (strcmp(name, tools[i]) == 0)
            return true;
    return name[0] == '.';
}

static int64_t skip(struct rd_listing *listing, enum rd_skip kind, const char *name)
{
    char tagged[NAME_MAX + 2];

    snprintf(tagged, sizeof tagged, "%c%s", KIND_BYTE + (int)kind, name);
    return rd_names_add(&listing->skipped, tagged);
}

const char *rd_skipped_at(const struct rd_listing *listing, uint32_t i, enum rd_skip *ret_kind)
{
    const char *tagged = rd_names_at(&listing->skipped, i);

    *ret_kind = (enum rd_skip)(tagged[0] - KIND_BYTE);
    return tagged + 1;
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

/* Where an open directory lies; "" where that is unknown. */
static const char *folder_path(int fd, char path[PATH_MAX])
{
    char through[64];
    ssize_t n;

    snprintf(through, sizeof through, "/proc/self/fd/%d", fd);
    n = readlink(through, path, PATH_MAX);
    if (n < 0 || n >= PATH_MAX)
        n = 0;
    path[n] = 0;
    return path;
}

/* What `name` in an open directory leads to, likewise. */
static const char *target_path(int fd, const char *name, char path[PATH_MAX])
{
    char through[64 + NAME_MAX];

    snprintf(through, sizeof through, "/proc/self/fd/%d/%s", fd, name);
    return realpath(through, path) ? path : "";
}

/* What is unknown counts as outside: a process that may read only below the root could not read it. */
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
           is_outside(root, target_path(fd, entry->d_name, path));
}

static int take_entry(const char *root, struct rd_listing *listing, int fd, const struct dirent *entry)
{
    const char *name = entry->d_name;
    unsigned char type;
    int64_t added;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return 0;
    type = name[0] == '.' ? DT_UNKNOWN : type_of(fd, entry);
    if (name[0] == '.' || (type == DT_DIR && rd_is_tool_folder(name))) {
        added = skip(listing, RD_SKIP_HIDDEN, name);
    } else if (type == DT_DIR) {
        added = rd_names_add(&listing->folders, name);
    } else if (type == DT_REG && rd_is_image_name(name)) {
        added = rd_names_add(&listing->images, name);
        listing->leads_out = listing->leads_out || leads_out(root, fd, entry);
    } else {
        added = skip(listing,
                     type != DT_REG                                      ? RD_SKIP_SPECIAL
                     : im_image_type_of_name(name) < IM_IMAGE_TYPE_COUNT ? RD_SKIP_TYPE
                                                                         : RD_SKIP_OTHER,
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
    listing->leads_out = is_outside(scan->root, folder_path(fd, path));
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
    rd_names_settle(&listing->images);
    rd_names_settle(&listing->folders);
    rd_names_settle(&listing->skipped);
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

void rd_scan_each(int root_fd, struct rd_listing *listings, uint32_t count,
                  const struct rd_progress *progress)
{
    struct scan scan = {.root_fd = root_fd, .listings = listings, .count = count, .progress = progress};
    struct rd_parallel parallel = {.count = count, .item = list_one, .tick = tick, .context = &scan};

    folder_path(root_fd, scan.root);
    rd_parallel(&parallel);
}

int rd_scan_fail(const struct rd_listing *listing, struct im_text *text)
{
    return im_fail(text, listing->err, "cannot list the folder '%.700s': %s", listing->path,
                   strerror(-listing->err));
}

int rd_scan(int root_fd, struct rd_listing *listings, uint32_t count, const struct rd_progress *progress,
            struct im_text *text)
{
    rd_scan_each(root_fd, listings, count, progress);
    for (uint32_t i = 0; i < count; i++)
        if (listings[i].err < 0)
            return rd_scan_fail(&listings[i], text);
    return 0;
}

void rd_listing_fini(struct rd_listing *listing)
{
    rd_names_fini(&listing->images);
    rd_names_fini(&listing->folders);
    rd_names_fini(&listing->skipped);
}
