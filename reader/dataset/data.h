/* Opens the index of a data folder: the cached one if nothing has changed, otherwise built anew.
 *
 * In this folder: layouts of data sets (layout, labels, devkit, xml), tables of classes (table, csv), tar shards (tar,
 * shard), mirrors of remote images (mirror), listing of files (scan, names), and the index, a file that all processes
 * map read-only (index, index_file.h). The order of samples is part of a run's
 * result: the same files give the same order on every machine. A change of the index file's bytes needs a new
 * version in index_file.h. Files come from users: check every bound. */
#ifndef READER_DATASET_DATA_H
#define READER_DATASET_DATA_H

#include <limits.h>

#include "reader/dataset/index.h"

/* Scans the tree. ret_bytes is malloc'ed and the caller's: the bytes of an index file. -EBADMSG with a
 * sentence where the data set cannot be trained on: a class without images, a validation class that training
 * does not have, labels that are missing. */
int rd_index_build(const struct rd_layout *layout, const struct rd_progress *progress, void **ret_bytes,
                   size_t *ret_size, struct im_text *text);

struct rd_data {
    struct rd_index index;
    char path[PATH_MAX];      /* the index file; "" where there is none (see note), or with a val_split */
    int cached;               /* 1: found in the cache, fresh */
    struct im_text note;      /* why there is no file, or "" */
    struct im_text table_why; /* of the layout */
    void *bytes;              /* of an index without file */
};

/* Where the seek index of the same images is (ipc/seek_file.h): beside it (folder NULL), or in a folder. */
int rd_seek_path(const char *root, enum rd_layout_kind forced, const char *folder, char *ret_path,
                 size_t size);

struct rd_source {
    const char *folder;         /* or an address (mirror.h) */
    const char *cache_dir;      /* of its mirror; NULL or "": the usual one */
    bool may_be_remote;         /* the caller does with names alone, or has a fetcher */
    enum rd_layout_kind layout; /* AUTO: found by looking */
    int rebuild;                /* 1: does not look into the cache */
    double val_split;           /* share of the training images that become validation images; 0: none */
    uint64_t val_split_seed;
    const char *labels, *val_labels; /* tables that give images their classes; NULL or "": found by looking */
    bool multi_label;                /* samples have sets of labels */
};

/* Finds, loads or builds the index of a data folder. A cache that cannot be written is no error; the index
 * then lives in memory. */
int rd_data_open(const struct rd_source *source, const struct rd_progress *progress, struct rd_data *ret_data,
                 struct im_text *text);
void rd_data_close(struct rd_data *data);

#endif
