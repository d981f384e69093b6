/* Chooses the engine, and counts what is in flight so that engines need not refuse. */
#include "reader/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "reader/dataset/tar.h"
#include "reader/io_engine.h"

struct rd_io {
    const struct rd_io_engine *engine;
    void *state;
    enum rd_io_kind kind;
    unsigned depth, in_flight;
};

static int open_engine(struct rd_io *io, enum rd_io_kind kind, const struct rd_io_options *options,
                       struct im_text *text)
{
    io->kind = kind;
    io->engine = kind == RD_IO_URING ? &rd_io_uring : &rd_io_pread;
    return io->engine->open(options, &io->state, text);
}

int rd_io_open(const struct rd_io_options *options, struct rd_io **ret_io, struct im_text *note,
               struct im_text *text)
{
    struct im_text why = {""};
    struct rd_io *io;
    int err;

    im_fail(note, 0, "%s", "");
    if (options->depth < 1 || options->depth > RD_IO_DEPTH_MAX)
        return im_fail(text, -EINVAL, "the queue depth must be 1 to %d, not %u", RD_IO_DEPTH_MAX,
                       options->depth);
    io = calloc(1, sizeof *io);
    if (!io)
        return -ENOMEM;
    io->depth = options->depth;
    err = options->kind == RD_IO_PREAD ? open_engine(io, RD_IO_PREAD, options, text)
                                       : open_engine(io, RD_IO_URING, options, &why);
    if (err < 0 && options->kind == RD_IO_AUTO) {
        im_fail(note, 0, "files are read by threads instead of io_uring: %.900s", why.s);
        err = open_engine(io, RD_IO_PREAD, options, text);
    } else if (err < 0 && options->kind == RD_IO_URING) {
        im_fail(text, err, "io_uring cannot be used: %.900s", why.s);
    }
    if (err < 0)
        free(io);
    else
        *ret_io = io;
    return err;
}

enum rd_io_kind rd_io_kind(const struct rd_io *io)
{
    return io->kind;
}

unsigned rd_io_in_flight(const struct rd_io *io)
{
    return io->in_flight;
}

int rd_io_submit(struct rd_io *io, const struct rd_io_request *request)
{
    const struct rd_io_two *two = &request->two;
    int err;

    if (io->in_flight == io->depth)
        return -EBUSY;
    if (strlen(request->path) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (two->to > 0 && (two->head > two->from || two->from > two->to || two->head > two->at ||
                        two->at > request->capacity || two->to - two->from > request->capacity - two->at ||
                        (request->container && two->to > request->bytes)))
        return -EINVAL;
    if (request->offset > INT64_MAX || request->bytes > INT64_MAX - request->offset)
        return -EINVAL;
    err = io->engine->submit(io->state, request);
    if (err == 0)
        io->in_flight++;
    return err;
}

int rd_io_reap(struct rd_io *io, struct rd_io_result *results, unsigned max, im_ns timeout_ns)
{
    int count;

    if (io->in_flight == 0 || max == 0)
        return 0;
    count = io->engine->reap(io->state, results, max, timeout_ns);
    if (count > 0)
        io->in_flight -= (unsigned)count;
    return count;
}

void rd_io_be_careful(struct rd_io *io)
{
    if (io->engine->be_careful)
        io->engine->be_careful(io->state);
}

void rd_io_forget(struct rd_io *io)
{
    if (io->engine->forget)
        io->engine->forget(io->state);
}

int rd_io_close(struct rd_io **io, im_ns timeout_ns)
{
    int err;

    if (!*io)
        return 0;
    err = (*io)->engine->close((*io)->state, timeout_ns);
    free(*io);
    *io = NULL;
    return err;
}

/* Reads until the end or until the buffer is full. */
static int64_t read_all(int fd, char *buffer, uint32_t capacity)
{
    uint32_t have = 0;

    while (have < capacity) {
        ssize_t n = read(fd, buffer + have, capacity - have);

        if (n == 0)
            break;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        have += (uint32_t)n;
    }
    return have;
}

/* A file's descriptor; or negative errno, also in *result, which is otherwise empty. */
static int open_file(int root_fd, const char *path, struct stat *st, struct rd_io_result *result)
{
    int fd = openat(root_fd, path, RD_IO_OPEN_FLAGS | O_CLOEXEC), err = fd < 0 ? -errno : 0;

    if (err == 0 && fstat(fd, st) < 0)
        err = -errno;
    else if (err == 0 && !S_ISREG(st->st_mode))
        err = S_ISDIR(st->st_mode) ? -EISDIR : -EINVAL;
    result->too_large = 0;
    result->file_bytes = 0;
    result->bytes = err;
    if (err < 0 && fd >= 0)
        close(fd);
    return err < 0 ? err : fd;
}

void rd_io_read_file(int root_fd, const char *path, void *buffer, uint32_t capacity,
                     struct rd_io_result *result)
{
    struct stat st;
    char more;
    int fd = open_file(root_fd, path, &st, result);

    if (fd < 0)
        return;
    result->bytes = read_all(fd, buffer, capacity);
    if (result->bytes >= 0) {
        result->file_bytes = (uint64_t)result->bytes;
        if (result->bytes == capacity && read(fd, &more, 1) == 1) {
            result->too_large = 1;
            result->file_bytes = (uint64_t)capacity + 1;
            if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > result->file_bytes)
                result->file_bytes = (uint64_t)st.st_size;
        }
    }
    close(fd);
}

static int64_t read_part(int fd, uint64_t offset, uint32_t bytes, char *buffer)
{
    uint32_t have = 0;

    while (have < bytes) {
        ssize_t n = pread(fd, buffer + have, bytes - have, (off_t)(offset + have));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ENODATA;
        have += (uint32_t)n;
    }
    return have;
}

/* Two parts of what begins at `offset` of an open file. */
static void read_two(int fd, uint64_t offset, const struct rd_io_two *two, char *buffer,
                     struct rd_io_result *result)
{
    const uint32_t head = two->head, from = two->from, to = two->to;

    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* exactly what is asked for */
    result->bytes = read_part(fd, offset, head, buffer);
    if (result->bytes >= 0)
        result->bytes = read_part(fd, offset + from, to - from, buffer + two->at);
    if (result->bytes >= 0)
        result->bytes = head + (to - from);
    result->file_bytes = to;
}

void rd_io_read_two(int root_fd, const char *path, const struct rd_io_two *two, void *buffer,
                    struct rd_io_result *result)
{
    struct stat st;
    int fd = open_file(root_fd, path, &st, result);

    if (fd < 0)
        return;
    read_two(fd, 0, two, buffer, result);
    close(fd);
}

void rd_io_read_part(int root_fd, const char *path, const struct rd_io_part *part,
                     const struct rd_io_two *two, void *buffer, uint32_t capacity,
                     struct rd_io_result *result)
{
    const uint64_t offset = part->offset, bytes = part->bytes;
    unsigned char header[RD_TAR_BLOCK];
    struct stat st;
    int fd = open_file(root_fd, path, &st, result);

    if (fd < 0)
        return;
    if ((uint64_t)st.st_size < offset + bytes)
        result->bytes = -ENODATA;
    else if (part->has_header && offset < sizeof header)
        result->bytes = -EBADMSG;
    else if (part->has_header)
        result->bytes = read_part(fd, offset - sizeof header, sizeof header, (char *)header);
    if (result->bytes >= 0 && part->has_header && !rd_tar_is_header_of(header, bytes, part->mark))
        result->bytes = -EBADMSG;
    if (result->bytes >= 0 && two->to > 0) {
        read_two(fd, offset, two, buffer, result);
    } else if (result->bytes >= 0) {
        result->bytes = read_part(fd, offset, (uint32_t)(bytes < capacity ? bytes : capacity), buffer);
        result->file_bytes = bytes;
        result->too_large = bytes > capacity;
    }
    close(fd);
}
