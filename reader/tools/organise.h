/* Class folders from any layout that can be read: train/CLASS/FILE and val/CLASS/FILE in a folder of their own.
 *
 * First a plan: all names, with those made unique that clash. Then the undo file, which names all that will be made;
 * then folders and files. So whatever instant a kill comes at, the undo file names what is there, and the same command
 * makes what is not. A file appears under its name whole: a link, or a copy that was renamed to it; what is there already
 * is never replaced. */
#ifndef READER_TOOLS_ORGANISE_H
#define READER_TOOLS_ORGANISE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "reader/dataset/index.h"
#include "reader/dataset/names.h"

#define RD_UNDO_FILE "organise.undo" /* in the folder that was organised */
#define RD_ORGANISE_TEMPORARY ".organise-tmp"

/* Words of the undo file: append only. */
enum rd_how { RD_HOW_COPY, RD_HOW_HARD_LINK, RD_HOW_SYMLINK, RD_HOWS };

/* The undo file. Zero-initialise; fill, add or read; fini. */
struct rd_undo {
    char source[PATH_MAX]; /* absolute, without links */
    enum rd_how how;
    struct rd_names strings;
    struct rd_undo_entry {
        uint32_t path,
            source; /* strings: relative to the organised folder; relative to the source, or absolute */
    } * files;      /* sorted by path, once rd_undo_sort() was called */
    uint64_t count, capacity;
    struct rd_names folders; /* that were not there before; "." for the organised folder itself */
};

int rd_undo_add(struct rd_undo *undo, const char *path, const char *source); /* 0, -ENOMEM, -EFBIG */
void rd_undo_sort(struct rd_undo *undo);
bool rd_undo_has(const struct rd_undo *undo, const char *path); /* sorted */

/* -ENOENT, without a sentence: there is none. -EBADMSG and others with one. Any bytes may stand in the file; paths in it
 * are train/CLASS/FILE or val/CLASS/FILE, without "..". */
int rd_undo_read(const char *path, struct rd_undo *ret_undo, struct im_text *text);
int rd_undo_parse(char *bytes, size_t n, const char *path, struct rd_undo *ret_undo, struct im_text *text);
int rd_undo_write(const char *path, const struct rd_undo *undo, struct im_text *text);
void rd_undo_fini(struct rd_undo *undo);

static inline const char *rd_undo_string(const struct rd_undo *undo, uint32_t string)
{
    return undo->strings.bytes + string;
}

/* What is to be written. */
struct rd_plan_file {
    uint64_t id;
    uint32_t path, label; /* string; class */
    uint8_t split;
    bool renamed; /* its name clashed with another image's of its class */
    bool is_ours; /* the undo file of an earlier start names it */
    bool is_done; /* it was there before, the same; not to be written, and not to be undone */
};

struct rd_plan {
    const struct rd_index *index;
    struct rd_names strings;
    uint32_t *folders; /* of each class: string */
    struct rd_plan_file *files;
    uint64_t count, renamed_count;
    uint32_t renamed_classes; /* whose names cannot be those of folders */
    bool reordered;           /* the classes' order is not that of their folders' names */
};

static inline const char *rd_plan_path(const struct rd_plan *plan, uint64_t i)
{
    return plan->strings.bytes + plan->files[i].path;
}

/* Names all; sorted by path. -ENOMEM, -EFBIG, -ENAMETOOLONG with a sentence. */
int rd_plan_make(const struct rd_index *index, struct rd_plan *ret_plan, struct im_text *text);
void rd_plan_fini(struct rd_plan *plan);

struct rd_organise {
    struct rd_plan *plan;
    const char *folder;
    enum rd_how how;
    bool dry_run;
    void (*tick)(void *context, uint64_t done);
    void *context;
    uint64_t already; /* set by rd_organise(): how many files were there */
};

/* Where DST is or will be, absolute and without links; an error with a sentence if it lies in the source, or is the place
 * of a train or val folder that is the source. */
int rd_organise_folder(const char *source, const char *folder, char ret_path[PATH_MAX], struct im_text *text);

/* Writes all files of the plan. Negative errno with a sentence: what is there stays, and the same call goes on. */
int rd_organise(struct rd_organise *organise, struct im_text *text);

/* The way from an index to class folders, with its messages (data organise, data unpack). */
struct im_conf;
int rd_organise_index(const struct im_conf *conf, const struct rd_index *index, enum rd_how how,
                      struct im_text *text);

struct rd_undone {
    uint64_t removed, missing, kept;
    char why[512]; /* of the first that was kept */
};

/* Takes back what an undo file names: each file that is still what was made and whose image is where it was taken from,
 * and folders that are empty then. The undo file goes last, unless something is kept. */
int rd_organise_undo(const char *undo_file, struct rd_undone *ret, struct im_text *text);

/* One at a time in a folder: -EBUSY with a sentence; held until the descriptor is closed. */
int rd_organise_lock(int folder_fd, const char *folder, struct im_text *text);

/* Removes what a killed start left of its copies. */
void rd_organise_clear(int folder_fd);

/* Opens a source for reading: a file, or a part of a container (ipc/base/reference.h, relative to the folder). Returns the
 * descriptor; *ret_bytes is the size of the file or part. */
struct stat;
int rd_organise_open(int source_fd, const char *source, uint64_t *ret_offset, struct stat *ret_st);

/* Is the file what `how` makes of the source? `close_look`: not only by size and time but by its bytes. 1, 0; -ENOENT: no
 * file, -ENODATA: no source. */
int rd_is_made(int folder_fd, const char *path, int source_fd, const char *root, const char *source,
               enum rd_how how, bool close_look);

#endif
