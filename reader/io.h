/* Reading whole files, or a part of a container, many at a time, into memory of the caller's. Two engines with the same
 * behaviour: io_uring and a pool of threads.
 *
 * One thread owns an engine: it alone opens, submits, reaps and closes. What a file is decides the result,
 * never the engine: no file ends or stalls it. Reads are buffered, never O_DIRECT: those of a killed process
 * land in its memory (which may be a shared ring) up to a tenth of a second after the process is gone,
 * buffered reads do not. */
#ifndef READER_IO_H
#define READER_IO_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

#define RD_IO_DEPTH_MAX 1024

enum rd_io_kind { RD_IO_AUTO, RD_IO_URING, RD_IO_PREAD };

struct rd_io_options {
    enum rd_io_kind kind;
    unsigned depth;   /* requests in flight, 1 .. RD_IO_DEPTH_MAX */
    unsigned threads; /* of the pread engine; 0: 8, but never more than depth */
    int careful;      /* 1: opening may block as well (rd_io_be_careful) */
    int root_fd;      /* relative paths start here; AT_FDCWD for the working directory. Open until close. */
};

/* Parts of a file, or of a container's part: [0, head) go to the buffer's beginning, [from, to) to its byte `at`, which is `from` where
 * parts keep their places, and nothing else there is written. to == 0: all of it is wanted. A file that ends before `to` is -ENODATA. */
struct rd_io_two {
    uint32_t head, from, to, at;
};

struct rd_io_request {
    const char *path; /* copied by submit */
    void *buffer;     /* the engine's until the request is reaped */
    uint32_t capacity;
    uint64_t tag; /* comes back with the result */
    /* A part of a container (a shard): `bytes` at `offset`. container: 0, the whole file is read; else a number that
     * stands for this path for as long as the engine lives, 1 to a few thousands: the file may stay open for it. */
    uint32_t container;
    bool has_header; /* of a tar archive, before the part: it must be there (-EBADMSG) ... */
    uint32_t mark;   /* ... with this mark (rd_tar_mark()); 0: any */
    uint64_t offset, bytes;
    struct rd_io_two two;
};

struct rd_io_result {
    uint64_t tag;
    int64_t bytes; /* in the buffer, 0 too; or negative errno. -EISDIR, -ENOENT, -EACCES, -EIO: the file's;
                      -EINVAL: a pipe or device; -ENODATA: a container that ends before the part does;
                      -EBADMSG: it is another one now, without that part there */
    int too_large; /* 1: the file or part holds more; bytes == capacity of them are in the buffer */
    uint64_t file_bytes; /* the size of the file or part; == bytes unless too_large */
};

struct rd_io;

/* AUTO takes io_uring and falls back to threads where the system has none; `note` then says why, else it is
 * "". URING fails instead, with that sentence in `text`. -EINVAL for options out of range. */
int rd_io_open(const struct rd_io_options *options, struct rd_io **ret_io, struct im_text *note,
               struct im_text *text);
enum rd_io_kind rd_io_kind(const struct rd_io *io); /* URING or PREAD */

/* Takes a request; it may start only with the next reap. -EBUSY: depth are in flight; -ENAMETOOLONG. */
int rd_io_submit(struct rd_io *io, const struct rd_io_request *request);

/* Starts what was submitted and takes up to `max` results in the order in which they ended. Waits up to
 * timeout_ns for the first (0: does not wait). Returns how many; 0 on timeout, or when nothing is in flight;
 * a signal may end the wait early. Negative errno: the engine is broken. */
int rd_io_reap(struct rd_io *io, struct rd_io_result *results, unsigned max, im_ns timeout_ns);
unsigned rd_io_in_flight(const struct rd_io *io); /* submitted, not reaped */

/* From the next submit on no call into the file system is made in the caller's thread. Costs a little, and is
 * needed where opening a file asks a server that may not answer: io_uring opens at once what it finds in the
 * kernel's memory, and waits there for the rest. */
void rd_io_be_careful(struct rd_io *io);

/* Containers are opened again, each when it is read next: what was open may lead nowhere any more. */
void rd_io_forget(struct rd_io *io);

/* Lets what is in flight end, then frees the engine; nulls. -ETIMEDOUT: a file system hangs, and after
 * timeout_ns requests were still under way. The engine's memory is then left alone, and the buffers of those
 * requests must never be used again. Accepts NULL. */
int rd_io_close(struct rd_io **io, im_ns timeout_ns);

#endif
