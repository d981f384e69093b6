/* Listing directories, many at a time: names only, no stat of a file where the file system tells types. walk.h goes
 * on into the folders that are found. */
#ifndef READER_DATASET_SCAN_H
#define READER_DATASET_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "reader/dataset/names.h"

/* Why an entry is no image of the set. Stored in index files: append only. */
enum rd_skip {
    RD_SKIP_OTHER,      /* a file whose name does not end as an image's does */
    RD_SKIP_FOLDER,     /* a folder called like an image (x.JPEG), without images */
    RD_SKIP_HIDDEN,     /* .DS_Store, ._0001.jpg, and folders of tools: @eaDir, __MACOSX */
    RD_SKIP_SPECIAL,    /* a pipe, socket or device, or a link that leads nowhere */
    RD_SKIP_LOOSE,      /* an image where only class folders are expected */
    RD_SKIP_UNREADABLE, /* a folder that cannot be listed */
    RD_SKIP_LOOP,       /* a link to a folder that it lies in */
    RD_SKIP_CLASS,      /* a validation image of a class that training does not have */
    RD_SKIP_UNLABELLED, /* an image that the tables of classes do not name */
    RD_SKIP_MISSING,    /* a row of a table whose file is not there */
    RD_SKIP_TWICE,      /* a row of a table whose file has been named before */
    RD_SKIP_TYPE,       /* an image of a type that this program does not decode */
    RD_SKIP_CUT, /* a shard that is cut short, damaged or compressed: what is not read of it is missing */
    RD_SKIP_KINDS
};

struct rd_skipped {
    uint64_t count[RD_SKIP_KINDS];
    char first[RD_SKIP_KINDS][320]; /* path of one of each, relative to the root, cut to fit */
};

/* What a file or directory looked like; when any of it differs, it has changed. */
struct rd_stamp {
    int64_t mtime_ns;
    uint64_t inode, device;
    uint64_t bytes; /* of a file; 0 for a directory, whose size says nothing */
};

/* One directory. Fill `path`; rd_scan fills the rest. rd_listing_fini gives the names back. */
struct rd_listing {
    const char *path;                /* relative to the root; the caller's */
    struct rd_names images, folders; /* sorted */
    struct rd_names skipped;         /* sorted; each begins with a byte for its kind: rd_skipped_at() */
    struct rd_stamp stamp;
    bool leads_out; /* by a symbolic link: itself, or a file in it, lies outside the root */
    int err;        /* 0 or negative errno of this directory */
};

/* The i-th entry that was passed over: its name, and why. */
const char *rd_skipped_at(const struct rd_listing *listing, uint32_t i, enum rd_skip *ret_kind);

/* Called from the calling thread only, about ten times a second and once at the end. NULL:
 * no progress wanted. */
struct rd_progress {
    void (*report)(void *context, uint64_t files, uint64_t directories_done, uint64_t directories);
    void *context;
};

/* Lists `count` directories below the open directory `root_fd`, several at a time, and leaves each one's error in
 * its err. */
void rd_scan_each(int root_fd, struct rd_listing *listings, uint32_t count,
                  const struct rd_progress *progress);

/* The same. Returns 0, or the first listing's error in the list's order with a sentence that names the
 * directory. */
int rd_scan(int root_fd, struct rd_listing *listings, uint32_t count, const struct rd_progress *progress,
            struct im_text *text);
int rd_scan_fail(const struct rd_listing *listing, struct im_text *text); /* its error, with the sentence */
void rd_listing_fini(struct rd_listing *listing);

/* Writes folder/name, without a folder that is ".". */
void rd_join(char *path, size_t size, const char *folder, const char *name);

/* Takes the stamp of a file or directory; 0 or negative errno. */
int rd_stamp_take(int root_fd, const char *path, struct rd_stamp *ret_stamp);

/* Whether a folder is no part of a data set by its name: hidden, or made by a tool or a file system. */
bool rd_is_tool_folder(const char *name);

/* Whether the name ends as that of an image that this program decodes (ipc/base/image_type.h). */
int rd_is_image_name(const char *name);

#endif
