/* Taking back: only what is still as it was made, and only while the image lies where it was taken from, so that the last
 * copy of an image is never removed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/file.h"
#include "reader/tools/organise.h"

enum { CHUNK = 32768 };

/* Are all bytes of `a` the `bytes` of `b` at `offset`? */
static bool same_bytes(int a, int b, uint64_t offset, uint64_t bytes)
{
    char x[CHUNK], y[CHUNK];
    uint64_t at = 0;

    for (;;) {
        const size_t part = bytes - at < CHUNK ? (size_t)(bytes - at) : CHUNK;
        const ssize_t n = pread(a, x, part > 0 ? part : 1, (off_t)at);

        if (n < 0)
            return false;
        if (n == 0 || part == 0)
            return n == 0 && at == bytes;
        if (pread(b, y, (size_t)n, (off_t)(offset + at)) != n || memcmp(x, y, (size_t)n) != 0)
            return false;
        at += (uint64_t)n;
    }
}

static bool same_content(int folder_fd, const char *path, int source_fd, const char *source)
{
    int a = openat(folder_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    uint64_t offset;
    int b = rd_organise_open(source_fd, source, &offset, &st);
    const bool same = a >= 0 && b >= 0 && same_bytes(a, b, offset, (uint64_t)st.st_size);

    if (a >= 0)
        close(a);
    if (b >= 0)
        close(b);
    return same;
}

int rd_is_made(int folder_fd, const char *path, int source_fd, const char *root, const char *source,
               enum rd_how how, bool close_look)
{
    char target[2 * PATH_MAX + 2], found[2 * PATH_MAX + 2];
    struct stat made, from;
    uint64_t offset;
    ssize_t n;
    int source_file;

    if (fstatat(folder_fd, path, &made, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (S_ISLNK(made.st_mode)) {
        n = readlinkat(folder_fd, path, found, sizeof found - 1);
        found[n < 0 ? 0 : n] = 0;
        snprintf(target, sizeof target, "%s%s%s", *source == '/' ? "" : root, *source == '/' ? "" : "/",
                 source);
        if (how == RD_HOW_SYMLINK)
            return n > 0 && strcmp(found, target) == 0;
        return 0;
    }
    source_file = rd_organise_open(source_fd, source, &offset, &from);
    if (source_file < 0)
        return -ENODATA;
    close(source_file);
    if (!S_ISREG(made.st_mode) || !S_ISREG(from.st_mode) || made.st_size != from.st_size)
        return 0;
    if (made.st_dev == from.st_dev && made.st_ino == from.st_ino)
        return made.st_nlink > 1; /* a source that leads to the file itself is no other copy */
    if (!close_look && how == RD_HOW_COPY && made.st_mtim.tv_sec == from.st_mtim.tv_sec &&
        made.st_mtim.tv_nsec == from.st_mtim.tv_nsec)
        return 1;
    return same_content(folder_fd, path, source_fd, source);
}

/* The folder of the undo file, which is the organised one. */
static int open_folder(const char *undo_file, char folder[PATH_MAX], struct im_text *text)
{
    char path[PATH_MAX], *slash;
    int fd;

    if (!realpath(undo_file, path))
        return im_fail(text, -errno, "cannot open '%.700s': %s", undo_file, strerror(errno));
    slash = strrchr(path, '/');
    snprintf(folder, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? im_fail(text, -errno, "cannot open '%.700s': %s", folder, strerror(errno)) : fd;
}

static void keep(struct rd_undone *undone, const char *path, const char *why)
{
    if (undone->kept++ == 0)
        snprintf(undone->why, sizeof undone->why, "%.300s %s", path, why);
}

/* A folder that is a link leads to a place where nothing was made. */
static bool is_real_folder(int folder_fd, const char *path)
{
    char folder[PATH_MAX], *slash;
    struct stat st;

    snprintf(folder, sizeof folder, "%s", path);
    while ((slash = strrchr(folder, '/')) != NULL) {
        *slash = 0;
        if (fstatat(folder_fd, folder, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
            return false;
    }
    return true;
}

static void undo_file(int folder_fd, int source_fd, const struct rd_undo *undo, uint64_t i,
                      struct rd_undone *ret)
{
    const char *path = rd_undo_string(undo, undo->files[i].path);
    const char *source = rd_undo_string(undo, undo->files[i].source);
    const int made = is_real_folder(folder_fd, path)
                         ? rd_is_made(folder_fd, path, source_fd, undo->source, source, undo->how, false)
                         : -ENOENT;

    if (made == -ENOENT)
        ret->missing++;
    else if (made == -ENODATA)
        keep(ret, path, "is kept: the image that it was made from is no longer there");
    else if (made == 1 && unlinkat(folder_fd, path, 0) == 0)
        ret->removed++;
    else
        keep(ret, path, made == 1 ? strerror(errno) : "is kept: it is not what was made");
}

/* Class folders, then the two above them, then the organised folder. */
static void undo_folders(int folder_fd, const struct rd_undo *undo)
{
    for (int depth = 1; depth >= 0; depth--)
        for (uint32_t i = 0; i < undo->folders.count; i++) {
            const char *path = rd_names_at(&undo->folders, i);

            if (strcmp(path, ".") != 0 && (strchr(path, '/') != NULL) == depth &&
                is_real_folder(folder_fd, path))
                unlinkat(folder_fd, path, AT_REMOVEDIR);
        }
}

static bool made_folder(const struct rd_undo *undo)
{
    for (uint32_t i = 0; i < undo->folders.count; i++)
        if (strcmp(rd_names_at(&undo->folders, i), ".") == 0)
            return true;
    return false;
}

int rd_organise_undo(const char *undo_path, struct rd_undone *ret, struct im_text *text)
{
    char folder[PATH_MAX];
    struct rd_undo undo = {.count = 0};
    int folder_fd = open_folder(undo_path, folder, text), source_fd = -1, err;

    *ret = (struct rd_undone){.kept = 0};
    if (folder_fd < 0)
        return folder_fd;
    err = rd_undo_read(undo_path, &undo, text);
    if (err == 0)
        err = rd_organise_lock(folder_fd, folder, text);
    if (err == 0) {
        im_file_sweep(folder);
        rd_organise_clear(folder_fd);
    }
    if (err == 0)
        source_fd = open(undo.source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (uint64_t i = 0; i < undo.count && err == 0; i++)
        undo_file(folder_fd, source_fd, &undo, i, ret);
    if (err == 0)
        undo_folders(folder_fd, &undo);
    if (err == 0 && ret->kept == 0) {
        if (unlink(undo_path) < 0)
            err = im_fail(text, -errno, "cannot remove '%.700s': %s", undo_path, strerror(errno));
        else if (made_folder(&undo))
            rmdir(folder);
    }
    rd_undo_fini(&undo);
    close(folder_fd);
    if (source_fd >= 0)
        close(source_fd);
    return err;
}
