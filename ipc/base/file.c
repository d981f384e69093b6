/* Crash-safe replacement, appending and reading of files: see file.h for the guarantee.
 *
 * Each step of a replacement passes a fault point that can kill the process or fail the step: file.create,
 * file.write, file.fsync, file.close, file.rename, file.dirsync, file.done. tests/unit/base holds the
 * guarantee against each of them.
 *
 * Temporary names carry pid and serial, so two writers of one path never share a temporary file; the price is
 * that a killed writer leaves it behind, which im_file_sweep() clears. It does not lock: who may write a path
 * is the callers' agreement. */
#include "ipc/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "ipc/base/fault.h"
#include "ipc/base/leftover.h"

enum {
    TMP_SERIALS_MAX = 1000, /* left-over temporary files of one path and pid before we give up */
    TAIL_BYTES = 4096       /* step of the search for the last newline */
};

static int file_error(struct im_text *text, int err, const char *doing, const char *path)
{
    return im_fail(text, err, "cannot %s %s: %s", doing, path, strerror(-err));
}

void im_standard_files(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
            return;
}

/* Reads until the end or `bytes_max`; the file's size is only a hint (it may grow, /proc says 0). */
static int read_all(int fd, size_t size_hint, size_t bytes_max, char **ret_bytes, size_t *ret_n)
{
    size_t room =
        (size_hint < bytes_max ? size_hint : bytes_max) + 2; /* a byte to see the end, and the NUL */
    size_t n = 0;
    char *bytes = malloc(room);

    while (bytes) {
        ssize_t got = read(fd, bytes + n, room - 1 - n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || n + (size_t)got > bytes_max) {
            int err = got < 0 ? -errno : got > 0 ? -EFBIG : 0;

            if (err < 0) {
                free(bytes);
                return err;
            }
            bytes[n] = '\0';
            *ret_bytes = bytes;
            *ret_n = n;
            return 0;
        }
        n += (size_t)got;
        if (n == room - 1) {
            char *grown = realloc(bytes, 2 * room);

            if (!grown)
                free(bytes);
            bytes = grown;
            room *= 2;
        }
    }
    return -ENOMEM;
}

static const char *kind_of(mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFDIR:
        return "a folder";
    case S_IFIFO:
        return "a pipe";
    case S_IFSOCK:
        return "a socket";
    default:
        return "a device";
    }
}

int im_open_regular(const char *path, struct stat *ret_st, struct im_text *text)
{
    /* O_NONBLOCK: to open a pipe waits for its other end otherwise, perhaps for ever. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), err = 0;

    if (fd < 0 && errno == ENXIO)
        return im_fail(text, -EINVAL, "%s is a socket or a device; a file is needed here", path);
    if (fd < 0)
        return file_error(text, -errno, "open", path);
    if (fstat(fd, ret_st) < 0)
        err = file_error(text, -errno, "read", path);
    else if (!S_ISREG(ret_st->st_mode))
        err = im_fail(text, S_ISDIR(ret_st->st_mode) ? -EISDIR : -EINVAL, "%s is %s; a file is needed here",
                      path, kind_of(ret_st->st_mode));
    if (err == 0)
        return fd;
    close(fd);
    return err;
}

int im_read_file(const char *path, size_t bytes_max, char **ret_bytes, size_t *ret_n, struct im_text *text)
{
    struct stat st;
    int err, fd = im_open_regular(path, &st, text);

    if (fd < 0)
        return fd;
    if ((size_t)st.st_size > bytes_max)
        err = -EFBIG;
    else
        err = read_all(fd, (size_t)st.st_size, bytes_max, ret_bytes, ret_n);
    close(fd);
    if (err == -EFBIG)
        return im_fail(text, err, "cannot read %s: larger than %zu bytes", path, bytes_max);
    return err < 0 ? file_error(text, err, "read", path) : 0;
}

bool im_data_is_there(const char *data_dir)
{
    struct stat st;

    if (stat(data_dir, &st) < 0)
        return strchr(data_dir, '{') || strstr(data_dir, "::");
    return access(data_dir, S_ISDIR(st.st_mode) ? R_OK | X_OK : R_OK) == 0;
}

int im_write_all_at(int fd, const void *bytes, size_t n, uint64_t at)
{
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(fd, (const char *)bytes + done, n - done, (off_t)(at + done));

        if (put < 0 && errno != EINTR)
            return -errno;
        done += put > 0 ? (size_t)put : 0;
    }
    return 0;
}

int im_write_all(int fd, const void *bytes, size_t n)
{
    const char *p = bytes;

    while (n > 0) {
        ssize_t done = write(fd, p, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -errno;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

/* Makes changes of names in the directory of `path` durable. A directory that may be written and not read cannot
 * be opened, so it is left to the system. */
int im_sync_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX];
    int fd, err;

    snprintf(directory, sizeof directory, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES ? 0 : -errno;
    err = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return err == -EINVAL ? 0 : err; /* a file system that cannot sync directories says EINVAL */
}

/* Makes a directory whose name outlives a power failure. Negative errno; -EEXIST: it was there. */
static int make_directory(const char *path, mode_t mode)
{
    return mkdir(path, mode) < 0 ? -errno : im_sync_parent(path);
}

int im_mkdirs(const char *path, mode_t mode, struct im_text *text)
{
    char part[PATH_MAX];
    size_t length = strlen(path);
    struct stat st;
    int err = 0;

    if (length == 0 || length >= sizeof part)
        return im_fail(text, length ? -ENAMETOOLONG : -EINVAL,
                       "cannot make directory \"%.200s\": its name is %s", path,
                       length ? "too long" : "empty");
    memcpy(part, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        part[i] = '\0';
        /* Above our folder there may be ones that exist and that this process may not make. */
        err = make_directory(part, mode);
        if (err < 0 && err != -EEXIST &&
            ((err != -EROFS && err != -EACCES) || i == length || access(part, F_OK) < 0))
            return file_error(text, err, "make directory", part);
        part[i] = path[i];
    }
    if (stat(path, &st) < 0)
        return file_error(text, -errno, "make directory", path);
    if (!S_ISDIR(st.st_mode))
        return im_fail(text, -ENOTDIR, "cannot make directory %s: a file has that name", path);
    if (err == -EEXIST) /* perhaps made by a process that was killed before it could sync the name */
        im_sync_parent(path);
    return 0;
}

/* Throws the temporary file away and says why. */
static int give_up(struct im_file_writer *w, int err, const char *doing, struct im_text *text)
{
    file_error(text, err, doing, w->path);
    im_file_abort(w);
    return err;
}

/* Makes a temporary file that nobody else has, beside the path. w->tmp_path is set on success only: what is
 * not ours, abort must not remove. */
static int open_temporary(struct im_file_writer *w, const char *path, const char *name)
{
    char tmp_path[PATH_MAX];

    for (int serial = 0; serial < TMP_SERIALS_MAX; serial++) {
        if (snprintf(tmp_path, sizeof tmp_path, "%.*s.%s.tmp-%d-%d", (int)(name - path), path, name,
                     (int)getpid(), serial) >= (int)sizeof tmp_path)
            return -ENAMETOOLONG;
        w->fd = open(tmp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (w->fd >= 0) {
            memcpy(w->tmp_path, tmp_path, sizeof tmp_path);
            w->leftover = im_leftover_add(tmp_path);
            return 0;
        }
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

int im_file_begin(struct im_file_writer *w, const char *path, struct im_text *text)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    int err = IM_FAULT_ERR("file.create");
    struct stat st;

    *w = (struct im_file_writer){.fd = -1};
    if (!*name)
        return im_fail(text, -EISDIR, "cannot write \"%s\": it is not a file name", path);
    if (err == 0 && snprintf(w->path, sizeof w->path, "%s", path) >= (int)sizeof w->path)
        err = -ENAMETOOLONG;
    if (err == 0 && lstat(path, &st) == 0 && (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)))
        return im_fail(text, -EINVAL, "cannot write %s: it is a device, which no file may replace", path);
    if (err == 0)
        err = open_temporary(w, path, name);
    return err < 0 ? file_error(text, err, "write", path) : 0;
}

int im_file_write(struct im_file_writer *w, const void *bytes, size_t n, struct im_text *text)
{
    int err = w->fd < 0 ? -EBADF : IM_FAULT_ERR("file.write");

    if (err == 0)
        err = im_write_all(w->fd, bytes, n);
    return err < 0 ? give_up(w, err, "write", text) : 0;
}

int im_file_commit(struct im_file_writer *w, struct im_text *text)
{
    int fd = w->fd;
    int err;

    if (fd < 0)
        return im_fail(text, -EBADF, "cannot write %s: its temporary file is gone", w->path);
    err = IM_FAULT_ERR("file.fsync");
    if (err == 0 && fsync(fd) < 0)
        err = -errno;
    if (err < 0)
        return give_up(w, err, "write to disk", text);
    err = IM_FAULT_ERR("file.close");
    if (err < 0)
        return give_up(w, err, "close", text);
    w->fd = -1;
    if (close(fd) < 0 && errno != EINTR)
        err = -errno;
    if (err == 0)
        err = IM_FAULT_ERR("file.rename");
    if (err == 0 && rename(w->tmp_path, w->path) < 0)
        err = -errno;
    if (err < 0)
        return give_up(w, err, "replace", text);
    im_leftover_drop(w->leftover);
    w->tmp_path[0] = '\0';
    err = IM_FAULT_ERR("file.dirsync");
    if (err == 0)
        err = im_sync_parent(w->path);
    if (err < 0)
        return file_error(text, err, "write to disk the directory of", w->path);
    IM_FAULT("file.done");
    return 0;
}

void im_file_abort(struct im_file_writer *w)
{
    if (!w->tmp_path[0])
        return;
    if (w->fd >= 0)
        close(w->fd);
    w->fd = -1;
    unlink(w->tmp_path);
    im_leftover_drop(w->leftover);
    w->tmp_path[0] = '\0';
}

int im_file_replace(const char *path, const void *bytes, size_t n, struct im_text *text)
{
    struct im_file_writer w;
    int err = im_file_begin(&w, path, text);

    if (err == 0)
        err = im_file_write(&w, bytes, n, text);
    if (err == 0)
        err = im_file_commit(&w, text);
    return err;
}

/* .NAME.tmp-PID-SERIAL */
static bool is_temporary(const char *name)
{
    const char *mark = strstr(name, ".tmp-");

    while (mark && strstr(mark + 1, ".tmp-"))
        mark = strstr(mark + 1, ".tmp-");
    return name[0] == '.' && mark && mark > name && strspn(mark + 5, "0123456789-") == strlen(mark + 5) &&
           strchr(mark + 5, '-');
}

int im_file_sweep(const char *directory)
{
    DIR *d = opendir(directory);
    struct dirent *entry;
    int count = 0;

    if (!d)
        return -errno;
    while ((entry = readdir(d))) {
        if (is_temporary(entry->d_name) && unlinkat(dirfd(d), entry->d_name, 0) == 0)
            count++;
    }
    closedir(d);
    return count;
}

/* Where the last line that ends in a newline ends. */
static int find_whole_lines(int fd, off_t size, off_t *ret_end)
{
    char tail[TAIL_BYTES];

    while (size > 0) {
        off_t from = size > TAIL_BYTES ? size - TAIL_BYTES : 0;
        ssize_t n = pread(fd, tail, (size_t)(size - from), from);
        char *newline;

        if (n != size - from)
            return n < 0 ? -errno : -EIO;
        newline = memrchr(tail, '\n', (size_t)n);
        if (newline) {
            *ret_end = from + (newline - tail) + 1;
            return 0;
        }
        size = from;
    }
    *ret_end = 0;
    return 0;
}

int im_lines_open(const char *path, struct im_text *text)
{
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    struct stat st;
    off_t end;
    int err = 0;

    if (fd < 0)
        return file_error(text, -errno, "open", path);
    if (fstat(fd, &st) < 0)
        err = -errno;
    else if (S_ISREG(st.st_mode))
        err = find_whole_lines(fd, st.st_size, &end);
    if (err == 0 && S_ISREG(st.st_mode) && end < st.st_size && ftruncate(fd, end) < 0)
        err = -errno;
    if (err == 0 && S_ISREG(st.st_mode))
        err = im_sync_parent(path); /* a new file's name: syncing its bytes does not make it durable */
    if (err < 0) {
        close(fd);
        return file_error(text, err, "open", path);
    }
    return fd;
}

int im_append_line(int fd, const char *line)
{
    size_t n = strlen(line);
    struct iovec parts[2] = {{(void *)(uintptr_t)line, n}, {(char[]){'\n'}, 1}};
    int err = IM_FAULT_ERR("file.append");
    struct stat st;
    ssize_t done, more;

    if (memchr(line, '\n', n))
        return -EINVAL;
    if (err < 0)
        return err;
    do
        done = writev(fd, parts, 2);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return -errno;
    if ((size_t)done == n + 1)
        return 0;
    /* One more byte tells why. Then cut off what did get in: the next line must not be glued to it. */
    more = write(fd, done < (ssize_t)n ? line + done : "\n", 1);
    err = more < 0 ? -errno : -ENOSPC;
    done += more > 0;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(fd, st.st_size - done) < 0)
        return -errno;
    return err;
}
