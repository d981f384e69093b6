/* Files of lines (logs, events, metrics) and other work on files, done by a thread of its own: a disk that is
 * full, or does not answer, stops nobody. Lines that cannot be written are kept, up to a bound, and written
 * when that works again; the writer's owner gets both reports. One thread calls these functions. */
#ifndef IPC_BASE_WRITER_H
#define IPC_BASE_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

#define IM_WRITER_FILE_BYTES                                                                                 \
    ((size_t)4 << 20)                        /* lines kept for one file; further ones are lost and counted */
#define IM_WRITER_SILENCE_NS (5 * IM_SECOND) /* a call that waits longer for files counts as an error */

struct im_writer;

/* A thread that cannot be made is no failure: it is tried again with each line. -ENOMEM. */
int im_writer_open(struct im_writer **ret);

/* Opens a file for lines, as im_lines_open() does; a descriptor, or negative errno. In the writer's thread. */
typedef int im_writer_open_file(void *context, struct im_text *text);

/* Adds a file; reports name it by `name`. `open` is called until it succeeds once, then, after
 * errors, im_lines_open(), which cuts a torn line off; a folder in its way is moved aside. `context` is
 * malloc'ed and becomes the writer's. `fd`: it is open already; -1: not yet. With neither `open` nor `fd`, im_lines_open() is
 * used from the start, and again when the file was renamed or removed (rotation of logs). Returns its number, or -ENAMETOOLONG, -ENOSPC (too many). */
int im_writer_file(struct im_writer *w, const char *path, const char *name, int fd, im_writer_open_file *open,
                   void *context);

/* Adds a line, which has no newline. A line for which there is no room is counted as lost. */
void im_writer_line(struct im_writer *w, int file, const char *line);

/* Work on files, with a sentence if it fails. The same work that waits already is done once. What fails is
 * done again only when asked for again, and once more before the writer is closed. */
typedef int im_writer_work(void *context, struct im_text *text);
void im_writer_do(struct im_writer *w, im_writer_work *work, void *context, const char *name);

/* Tells once of each file and work that fails, and once when it works again. */
struct im_writer_news {
    const char *name;
    int err; /* 0: it works again */
    bool is_work;
    uint64_t lost;       /* lines, since it failed */
    struct im_text text; /* why; empty when it works */
};
bool im_writer_news(struct im_writer *w, struct im_writer_news *ret);

/* Waits until all that was asked for is done, no longer than `timeout`. Files that fail are tried at once, and
 * waited for no longer. With `sync` also until it is on disk. 0, the error of a file that fails, -ETIMEDOUT. */
int im_writer_wait(struct im_writer *w, bool sync, im_ns timeout);

/* Tries for at most `timeout` to write what is left, ends the thread and nulls. Returns how many lines were
 * not written. A thread that is stuck in a call keeps its memory and is left to the end of the process. */
uint64_t im_writer_close(struct im_writer **w, im_ns timeout);
/* The same, and how many of each file: ret_lost[number of the file], left alone where it is closed already. */
uint64_t im_writer_close_each(struct im_writer **w, im_ns timeout, uint64_t *ret_lost);

#endif
