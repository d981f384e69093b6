/* Files that survive a crash at any instant: whoever opens the path afterwards finds the old content or the
 * new, never a part.
 *
 * The way: a temporary file in the same directory, fsync, rename over the path, fsync of the directory. After
 * a failed fsync the kernel may have dropped the dirty pages and a second fsync can lie, so the temporary
 * file is thrown away at the first failure of any kind and nothing of it is used again. */
#ifndef IPC_BASE_FILE_H
#define IPC_BASE_FILE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "ipc/base/err.h"

/* Opens a file for reading that a user named. Only a regular file: a pipe or a terminal would wait for its
 * other end, /dev/zero never ends. -EISDIR, -EINVAL and other negative errno with a sentence, at once. */
struct stat;
int im_open_regular(const char *path, struct stat *ret_st, struct im_text *text);
/* Opens /dev/null for each of descriptors 0, 1 and 2 that is closed: what is opened later must not get the number
 * that errors are written to. Reading and writing there fail, as they did: an answer that goes nowhere is a failure. */
void im_standard_files(void);

/* Reads the whole file into malloc'ed memory, the caller's to free(), with a NUL after the last byte.
 * `bytes_max` bounds it: -EFBIG. Not a regular file: as im_open_regular(). Other errors: negative errno. Each with a sentence. */
int im_read_file(const char *path, size_t bytes_max, char **ret_bytes, size_t *ret_n, struct im_text *text);

/* Whether the data set that --data-dir names may be there: a folder or a shard that can be read. Of a list of shards
 * ("train-{000..127}.tar", "a.tar::b.tar") only imsuper-reader can tell, so it counts as being there. */
bool im_data_is_there(const char *data_dir);

/* Writes all n bytes to a blocking descriptor, going on after short writes and signals. 0
 * or negative errno. */
int im_write_all(int fd, const void *bytes, size_t n);

/* The same at an offset of a file. */
int im_write_all_at(int fd, const void *bytes, size_t n, uint64_t at);

/* Makes the directory and those above it that are missing, with `mode`; their names are durable then. 0 also when it
 * is there already. */
int im_mkdirs(const char *path, mode_t mode, struct im_text *text);

/* After a rename: the names in the path's folder outlive a power failure. 0 or negative errno. */
int im_sync_parent(const char *path);

/* Replaces the content of `path` (made if missing, mode 0666 less umask). 0: the new content is on disk.
 * Negative errno with a sentence: the old content is there, except after a failed fsync of the directory,
 * when it may be either. */
int im_file_replace(const char *path, const void *bytes, size_t n, struct im_text *text);

/* The same for big files, in pieces. begin, then write any number of times, then commit or abort.
 * After an error from any of them the temporary file is already gone and only abort (which does
 * nothing then) is allowed. */
struct im_file_writer {
    int fd;                  /* -1: not open */
    char path[PATH_MAX];     /* final name */
    char tmp_path[PATH_MAX]; /* .NAME.tmp-PID-SERIAL beside it */
    int leftover;            /* its place in the list of files that a signal removes */
};

/* A device is not replaced: -EINVAL. */
int im_file_begin(struct im_file_writer *w, const char *path, struct im_text *text);
int im_file_write(struct im_file_writer *w, const void *bytes, size_t n, struct im_text *text);
int im_file_commit(struct im_file_writer *w, struct im_text *text);
void im_file_abort(struct im_file_writer *w); /* accepts a zeroed or finished writer */

/* Removes what killed writers left in the directory. Only while nobody writes there (the caller holds the
 * run's lock). Returns how many were removed, or negative errno. */
int im_file_sweep(const char *directory);

/* Opens a file of lines (JSON lines, CSV) for appending, mode 0666 less umask; a last line without its
 * newline, torn by a crash, is cut off first, and the file's name is made durable. Returns the descriptor. One process
 * appends at a time. */
int im_lines_open(const char *path, struct im_text *text);

/* Appends `line` and a newline with one write, so readers see whole lines. A line that did not fit (disk
 * full) is taken back. 0 or negative errno; -EINVAL for a line with a newline inside. */
int im_append_line(int fd, const char *line);

#endif
