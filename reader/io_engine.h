/* What an engine is to reader/io.c. */
#ifndef READER_IO_ENGINE_H
#define READER_IO_ENGINE_H

#include "reader/io.h"

struct rd_io_engine {
    /* All required; the contracts are those of the functions in io.h. close() is called once; after
     * -ETIMEDOUT the state is leaked. */
    int (*open)(const struct rd_io_options *options, void **ret_state, struct im_text *text);
    int (*submit)(void *state, const struct rd_io_request *request);
    int (*reap)(void *state, struct rd_io_result *results, unsigned max, im_ns timeout_ns);
    int (*close)(void *state, im_ns timeout_ns);
    void (*be_careful)(void *state); /* NULL: it always is */
    void (*forget)(void *state);     /* NULL: it keeps nothing open */
};

extern const struct rd_io_engine rd_io_uring;
extern const struct rd_io_engine rd_io_pread;

/* How files are opened: without waiting for a pipe's other end, and without becoming anyone's terminal. */
#define RD_IO_OPEN_FLAGS (O_RDONLY | O_NONBLOCK | O_NOCTTY)

/* Reads one file with plain system calls: what both engines mean by a result. Fills
 * bytes, too_large, file_bytes. */
void rd_io_read_file(int root_fd, const char *path, void *buffer, uint32_t capacity,
                     struct rd_io_result *result);

/* The same of two parts of a file. */
void rd_io_read_two(int root_fd, const char *path, const struct rd_io_two *two, void *buffer,
                    struct rd_io_result *result);

/* A part of a container, as an engine keeps it. */
struct rd_io_part {
    uint64_t offset, bytes;
    uint32_t mark;
    bool has_header;
};

/* The same of a part of a file; two->to > 0: of two parts of that. */
void rd_io_read_part(int root_fd, const char *path, const struct rd_io_part *part,
                     const struct rd_io_two *two, void *buffer, uint32_t capacity,
                     struct rd_io_result *result);

#endif
