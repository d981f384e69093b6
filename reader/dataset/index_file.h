/* The bytes of an index file, and the writer that makes them. Only reader/index*.c and reader/dataset/subset.c look
 * in here.
 *
 * header, then sections in this order, each aligned to 8 bytes: strings, classes, directories, train
 * samples, validation samples, stamps, what was left out, places of the samples of each split where they are parts of
 * containers, sets of labels. Strings are NUL-terminated, named by their offset; the section
 * begins and ends with NUL. The file is a cache for the machine that wrote it: native byte order,
 * marked, refused elsewhere. */
#ifndef READER_DATASET_INDEX_FILE_H
#define READER_DATASET_INDEX_FILE_H

#include <assert.h>
#include <stdint.h>

#include "reader/dataset/index.h"
#include "reader/dataset/names.h"

#define RD_INDEX_MAGIC 0x7865646e696d69u /* "imindex" in a little-endian file */
#define RD_INDEX_VERSION 7
#define RD_INDEX_HASH_SEED 1 /* of rd_index_hash(), by which a run tells its data: the same in all versions */
#define RD_INDEX_ENDIAN 0x01020304u

#define RD_INDEX_LEADS_OUT 1u /* a symbolic link leads to a place outside the root */
#define RD_INDEX_MEMBERS 2u   /* parts are objects of their own in a mirror (mirror.h) */

#define RD_SKIP_ROOM 16 /* kinds that may be added without another version */
static_assert(RD_SKIP_KINDS <= RD_SKIP_ROOM, "index version 6");

enum rd_section {
    RD_STRINGS,
    RD_CLASSES,
    RD_DIRECTORIES,
    RD_TRAIN_SAMPLES,
    RD_VAL_SAMPLES,
    RD_STAMPS,
    RD_LEFT_OUT,
    RD_TRAIN_PLACES,
    RD_VAL_PLACES,
    RD_SETS,
    RD_SECTIONS
};

struct rd_index_header {
    uint64_t magic;
    uint32_t version, endian;
    uint64_t file_bytes;
    uint64_t checksum;     /* im_hash64 of the file with this field zero */
    uint64_t content_hash; /* rd_index_hash() */
    uint64_t layout_hash;  /* rd_layout_hash() of the layout that was scanned */
    int64_t built_ns;      /* CLOCK_REALTIME when the scan began */
    uint32_t layout, root; /* enum rd_layout_kind; string */
    uint32_t flags;        /* RD_INDEX_... */
    uint32_t set_words;    /* words of a set of labels, a bit for each class; 0: each sample has one label */
    uint64_t skipped_count[RD_SKIP_ROOM]; /* of RD_LEFT_OUT, and of those that it has no room for */
    struct {
        uint64_t offset, count; /* bytes from the file's start; items */
    } sections[RD_SECTIONS];
};
static_assert(sizeof(struct rd_index_header) == 72 + 8 * RD_SKIP_ROOM + 160, "index version 6");

/* Of a part of a container, directory is the container's path and name that of the part, which may hold slashes. */
struct rd_index_sample {
    uint32_t directory, name, label; /* place in directories; string; place in classes, or among the sets */
};

/* A split has one for each sample, or none. */
#define RD_INDEX_WHOLE UINT64_MAX /* in place of bytes: the sample is a file */
struct rd_index_place {
    uint64_t offset, bytes;
    uint32_t mark, unused; /* rd_tar_mark() of the header before it; 0: there is none */
};
static_assert(sizeof(struct rd_index_place) == 24, "index version 6");

struct rd_index_stamp {
    uint32_t path, unused; /* string, relative to the root */
    struct rd_stamp stamp;
};
static_assert(sizeof(struct rd_index_stamp) == 40, "index version 6");

/* At most so many; the others are only counted. */
#define RD_LEFT_OUT_MAX 1000000

struct rd_index_left_out {
    uint32_t kind, path; /* enum rd_skip; string, relative to the root */
    uint32_t note;       /* string: what there is to say of it besides */
};

/* Sets checksum to what the bytes demand. `size` >= sizeof *header. */
void rd_index_seal(struct rd_index_header *header, size_t size);

/* Collects an index. Zero-initialise; add in order; finish; fini. Functions return 0 or a place, or -ENOMEM
 * or -EFBIG. */
struct rd_index_writer {
    struct rd_names strings, classes, directories; /* classes, directories: only offsets used, into strings */
    struct rd_index_sample *samples[IM_SPLITS];
    uint64_t sample_count[IM_SPLITS], sample_capacity[IM_SPLITS];
    struct rd_index_place *places[IM_SPLITS];
    uint64_t place_count[IM_SPLITS], place_capacity[IM_SPLITS]; /* as many as samples, or none */
    struct rd_index_stamp *stamps;
    uint64_t stamp_count, stamp_capacity;
    struct rd_index_left_out *left_out;
    uint64_t left_out_count, left_out_capacity, skipped_count[RD_SKIP_KINDS];
    uint32_t *sets; /* with multi_label: set_count sets of rd_index_words(classes.count) words */
    uint64_t set_count;
    bool multi_label;
    const char *tables[IM_SPLITS]; /* paths of files of labels, which are not left out; may be NULL */
};

static inline uint32_t rd_index_words(uint32_t classes)
{
    return (classes + 31) / 32;
}

/* Sets of labels, once all classes were added; labels of samples are places among them from then on. */
int rd_writer_sets(struct rd_index_writer *writer, const uint32_t *sets, uint64_t count);
/* The same, where each sample has one label: set k holds class k. */
int rd_writer_single_sets(struct rd_index_writer *writer);

int64_t rd_writer_class(struct rd_index_writer *writer, const char *name);
int64_t rd_writer_directory(struct rd_index_writer *writer, const char *path);
int rd_writer_sample(struct rd_index_writer *writer, enum im_split split, uint32_t directory,
                     const char *name, uint32_t label);
/* A sample that is a part of the container that `directory` names; or a file, with RD_INDEX_WHOLE. All samples of a split
 * are added by this, or none. */
int rd_writer_part(struct rd_index_writer *writer, enum im_split split, uint32_t directory, const char *name,
                   uint32_t label, const struct rd_index_place *place);
/* Sample id of an index, with another split and label; directories are those of the index. */
int rd_writer_copy(struct rd_index_writer *writer, const struct rd_index *index, enum im_split from,
                   uint64_t id, enum im_split to, uint32_t label);
int rd_writer_stamp(struct rd_index_writer *writer, const char *path, const struct rd_stamp *stamp);
int rd_writer_left_out(struct rd_index_writer *writer, enum rd_skip kind, const char *path, const char *note);

/* Of a folder that was listed: its stamp, and what is left out in it, or all of it. */
int rd_writer_folder(struct rd_index_writer *writer, const struct rd_listing *folder, bool is_loop);

/* What is not collected in lists. */
struct rd_index_origin {
    const char *root;
    enum rd_layout_kind layout;
    uint64_t layout_hash;
    int64_t built_ns;
    bool leads_out, has_members;
};

/* The finished file as one malloc'ed block, the caller's. */
int rd_writer_finish(struct rd_index_writer *writer, const struct rd_index_origin *origin, void **ret_bytes,
                     size_t *ret_size);
void rd_writer_fini(struct rd_index_writer *writer);

/* Another choice of an index's samples: begin_copy takes its classes and directories, to be followed by samples, and
 * finish_copy the rest. The copy has no stamps: a choice, once made, does not change with the tree. */
int rd_writer_begin_copy(struct rd_index_writer *writer, const struct rd_index *index);
int rd_writer_finish_copy(struct rd_index_writer *writer, const struct rd_index *index, void **ret_bytes,
                          size_t *ret_size);

#endif
