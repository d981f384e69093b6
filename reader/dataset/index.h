/* The index of a data set: which samples there are, in which order, with which label. One file, mapped
 * read-only by every process that needs it; sample ids are places in it. */
#ifndef READER_DATASET_INDEX_H
#define READER_DATASET_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/base/err.h"
#include "reader/dataset/layout.h"
#include "reader/dataset/scan.h"

struct rd_index_header;
struct rd_index_sample;
struct rd_index_stamp;
struct rd_index_left_out;
struct rd_index_place;

/* An attached index. After a successful open or attach all offsets inside are known to be good. Read-only:
 * any thread. */
struct rd_index {
    const struct rd_index_header *header;
    const char *strings;
    const uint32_t *classes, *directories; /* offsets into strings */
    const struct rd_index_sample *samples[IM_SPLITS];
    const struct rd_index_place *places[IM_SPLITS]; /* NULL: each sample of the split is a file */
    const struct rd_index_stamp *stamps;
    const struct rd_index_left_out *left_out;
    const uint32_t *sets;
    void *mapping; /* NULL: the caller's memory */
    size_t bytes;
};

/* Maps the file. -EBADMSG with a sentence: not an index, another version or byte order, torn or damaged. */
int rd_index_open(const char *path, struct rd_index *ret_index, struct im_text *text);
/* The same of a file that is open already; `path` is for sentences. Leaves the descriptor open. */
int rd_index_map(int fd, const char *path, struct rd_index *ret_index, struct im_text *text);

/* The same over memory of the caller's, aligned to 8 bytes, that outlives the index. Any bytes
 * may be given. */
int rd_index_attach(const void *bytes, size_t size, struct rd_index *ret_index, struct im_text *text);
void rd_index_close(struct rd_index *index); /* accepts a zeroed one */

uint64_t rd_index_count(const struct rd_index *index, enum im_split split);
uint32_t rd_index_class_count(const struct rd_index *index);
const char *rd_index_class(const struct rd_index *index, uint32_t label); /* label < class count */
const char *rd_index_root(const struct rd_index *index);                  /* absolute path */
enum rd_layout_kind rd_index_layout(const struct rd_index *index);

/* Identifies what is trained on: class names, relative paths and labels of both splits in order; not
 * where it lies. */
uint64_t rd_index_hash(const struct rd_index *index);

/* What was passed over when the index was built: how many of each kind with a first one, and, of i below
 * rd_index_left_out_count(), each with its path (relative to the root) and a note, which may be "". */
void rd_index_skipped(const struct rd_index *index, struct rd_skipped *ret_skipped);
uint64_t rd_index_left_out_count(const struct rd_index *index);
enum rd_skip rd_index_left_out(const struct rd_index *index, uint64_t i, const char **ret_path,
                               const char **ret_note);

/* Does a symbolic link lead from the data set to a place outside its root? */
bool rd_index_leads_out(const struct rd_index *index);

/* 0: each sample has one label, which is its class. Otherwise a label is the place of a set of classes among
 * rd_index_label_count(), and rd_index_has() says which it holds. */
uint32_t rd_index_set_words(const struct rd_index *index);
uint64_t rd_index_label_count(const struct rd_index *index);
bool rd_index_has(const struct rd_index *index, uint32_t label, uint32_t class);
/* "cat" or "cat|dog"; cut where it does not fit. Returns the buffer. */
const char *rd_index_label_text(const struct rd_index *index, uint32_t label, char *buffer, size_t size);

/* Of sample id < count: its label (< label count), and its path relative to the root or absolute. The path
 * calls return the length, or -ENAMETOOLONG where it does not fit `size` bytes with its NUL.
 *
 * A sample may be a part of a container, a member of a shard. Then its path is "SHARD/MEMBER", which names it to people
 * and cannot be opened; rd_index_source() says what can. */
uint32_t rd_index_label(const struct rd_index *index, enum im_split split, uint64_t id);
int rd_index_relative(const struct rd_index *index, enum im_split split, uint64_t id, char *ret_path,
                      size_t size);
int rd_index_path(const struct rd_index *index, enum im_split split, uint64_t id, char *ret_path,
                  size_t size);

/* The end of its path, with at least all that follows the last slash; of the index's, no copy. */
const char *rd_index_name(const struct rd_index *index, enum im_split split, uint64_t id);

/* Where the bytes of a sample are. */
struct rd_source_of {
    uint32_t container;     /* 0: a file of its own; else a number of the container, 1 or more */
    uint64_t offset, bytes; /* in the container */
    uint32_t mark;          /* of the header before it (rd_tar_mark()); 0: not known */
};

/* Writes the path of the file or container, relative to the root. Returns as the path calls do. */
int rd_index_source(const struct rd_index *index, enum im_split split, uint64_t id,
                    struct rd_source_of *ret_source, char *ret_path, size_t size);
/* Of a sample whose shard lies on another machine: it is fetched as an object of its own, which rd_index_source() names;
 * here the shard's path, and where in it the bytes are. 0: it is no such sample. */
int rd_index_member(const struct rd_index *index, enum im_split split, uint64_t id,
                    struct rd_source_of *ret_source, char *ret_path, size_t size);
/* As rd_index_source(), as one string with an absolute path: ipc/base/reference.h. */
int rd_index_reference(const struct rd_index *index, enum im_split split, uint64_t id, char *ret,
                       size_t size);
bool rd_index_has_containers(const struct rd_index *index);

#endif
