#include "ipc/base/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/file.h"

static int output_error(struct im_text *text, int err, const char *path)
{
    return im_fail(text, err, "cannot write %s: %s", path, strerror(-err));
}

/* /dev/stdout and /dev/fd/3 are links to what is open, even where that is a file. */
static bool is_of_system(const char *path)
{
    return strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0;
}

/* A file can be made there. */
static int check_folder(const char *path, int mode, struct im_text *text)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX] = ".";

    if (slash)
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path + 1), path);
    if (access(folder, mode) == 0)
        return 0;
    return errno == ENOENT ? im_fail(text, -ENOTDIR, "cannot write %s: its folder is not there", path)
                           : output_error(text, -errno, path);
}

/* Where the bytes for `path` go: the file itself, or the one that a link leads to; made when it is missing.
 * *ret_stream: something that is written to and cannot be replaced. Negative errno with a sentence: a folder;
 * never -ENOENT, which is for what is read. */
static int find_output(const char *path, char ret[PATH_MAX], bool *ret_stream, struct im_text *text)
{
    struct stat st, itself;
    char *real = NULL;
    int n, err = 0;

    *ret_stream = false;
    n = snprintf(ret, PATH_MAX, "%s", path);
    if (n >= PATH_MAX)
        return output_error(text, -ENAMETOOLONG, path);
    if (lstat(path, &itself) < 0)
        return errno == ENOENT ? check_folder(path, F_OK, text) : output_error(text, -errno, path);
    if (stat(path, &st) < 0)
        return errno == ENOENT ? im_fail(text, -ENOTDIR, "cannot write %s: it is a link to nothing", path)
                               : output_error(text, -errno, path);
    if (S_ISDIR(st.st_mode))
        return im_fail(text, -EISDIR, "cannot write %s: it is a folder; name a file", path);
    *ret_stream = !S_ISREG(st.st_mode) || (S_ISLNK(itself.st_mode) && is_of_system(path));
    if (*ret_stream || !S_ISLNK(itself.st_mode))
        return 0;
    real = realpath(path, NULL);
    if (!real || snprintf(ret, PATH_MAX, "%s", real) >= PATH_MAX)
        err = output_error(text, real ? -ENAMETOOLONG : -errno, path);
    free(real);
    return err;
}

int im_output_check(const char *path, struct im_text *text)
{
    char to[PATH_MAX];
    bool stream;
    int err = find_output(path, to, &stream, text);

    return err < 0 || stream ? err : check_folder(to, W_OK | X_OK, text);
}

int im_output_find_file(char *path, size_t room, struct im_text *text)
{
    char to[PATH_MAX];
    bool stream;
    int err = find_output(path, to, &stream, text);

    if (err < 0)
        return err;
    if (stream)
        return im_fail(text, -EINVAL, "cannot write %s: it is no file, and a file is needed here", path);
    err = check_folder(to, W_OK | X_OK, text);
    if (err < 0)
        return err;
    return (size_t)snprintf(path, room, "%s", to) < room ? 0 : output_error(text, -ENAMETOOLONG, to);
}

/* Our own standard output keeps its place in the file: what was printed before comes before. */
static int open_stream(const char *path)
{
    struct stat st, own;

    if (is_of_system(path) && stat(path, &st) == 0 && fstat(STDOUT_FILENO, &own) == 0 &&
        st.st_dev == own.st_dev && st.st_ino == own.st_ino) {
        fflush(stdout);
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    }
    return open(path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
}

int im_output_write(const char *path, const void *bytes, size_t n, struct im_text *text)
{
    char to[PATH_MAX];
    bool stream;
    int fd, err = find_output(path, to, &stream, text);

    if (err < 0 || !stream)
        return err < 0 ? err : im_file_replace(to, bytes, n, text);
    fd = open_stream(path);
    if (fd < 0)
        return errno == ENXIO
                   ? im_fail(text, -ENXIO, "cannot write %s: it is a socket, or has no device", path)
                   : output_error(text, -errno, path);
    err = im_write_all(fd, bytes, n);
    if (close(fd) < 0 && err == 0)
        err = -errno;
    return err < 0 ? output_error(text, err, path) : 0;
}
