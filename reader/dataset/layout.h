/* How a data set lies on disk: found by looking, or forced. */
#ifndef READER_DATASET_LAYOUT_H
#define READER_DATASET_LAYOUT_H

#include <limits.h>
#include <stdint.h>

#include "ipc/base/err.h"
#include "reader/dataset/table.h"

/* Stored in index files: append only. */
enum rd_layout_kind {
    RD_LAYOUT_AUTO,
    RD_LAYOUT_FOLDERS, /* train/<class>/.../<image>, and val, validation, valid or test/<class>/.../<image> */
    RD_LAYOUT_ILSVRC,  /* Data/CLS-LOC/train/<class>/<image>, Data/CLS-LOC/val/<image>, labels beside it */
    RD_LAYOUT_TINY, /* Tiny ImageNet: train/<class>/images/<image>, val/images/<image>, val/val_annotations.txt */
    RD_LAYOUT_SINGLE, /* <class>/<image>, no validation images */
    RD_LAYOUT_CSV,    /* images anywhere, and tables that give them their classes */
    RD_LAYOUT_SHARDS, /* tar files, whose members are images and labels: shard.h */
    RD_LAYOUT_KINDS
};

/* Where the labels of the validation images come from. */
enum rd_label_source {
    RD_LABELS_FOLDERS, /* their folders */
    RD_LABELS_CSV,     /* LOC_val_solution.csv: "ILSVRC2012_val_00048981,n03995372 85 1 499 272" */
    RD_LABELS_XML,     /* Annotations/CLS-LOC/val/<image>.xml: the first object's name */
    RD_LABELS_LIST,    /* val.txt: "ILSVRC2012_val_00000001.JPEG 65" or "... n01751748" */
    RD_LABELS_TABLE,   /* val.csv: "file,label" */
    RD_LABELS_DEVKIT,  /* ILSVRC2012_validation_ground_truth.txt, with meta.mat or map_clsloc.txt beside it */
    RD_LABELS_SYNSETS, /* imagenet_2012_validation_synset_labels.txt: the class of image N in line N */
    RD_LABELS_TINY,    /* val_annotations.txt: "val_0.JPEG n03444034 0 32 44 62", with tabs */
};

struct rd_layout {
    enum rd_layout_kind kind; /* never AUTO */
    enum rd_label_source labels;
    char root[PATH_MAX];  /* absolute, without links; the other paths are relative to it */
    char train[NAME_MAX]; /* "." for RD_LAYOUT_SINGLE */
    char val[NAME_MAX];   /* "": no validation images */
    char labels_path
        [PATH_MAX]; /* "" for RD_LABELS_FOLDERS; may begin with ".."; absolute outside of the root; SHARDS: the list that
                       the user gave, or "" */
    char train_labels
        [PATH_MAX];        /* CSV: the table of the training images, likewise; train, val: where files lie */
    bool multi_label;      /* samples have sets of labels */
    enum rd_part val_part; /* CSV: of the training table, the part for validation; NONE: another table */
    struct im_text
        table_why; /* SINGLE: why the table beside the class folders is not taken; "": there is none */
};

/* Tables that the user names; "": those that are found. */
struct rd_label_files {
    const char *labels, *val_labels;
    bool multi_label; /* their rows have any number of labels */
};

/* Finds out how `data_dir` is laid out. For ILSVRC `data_dir` may be the folder that holds ILSVRC, ILSVRC
 * itself, or its Data/CLS-LOC. -ENOENT, -ENOTDIR, -EACCES, -EBADMSG, each with a sentence: there is no such
 * data set here. */
int rd_layout_find(const char *data_dir, enum rd_layout_kind forced, const struct rd_label_files *files,
                   struct rd_layout *ret_layout, struct im_text *text);

/* Of all but the root: differs where another folder or another file of labels is taken. */
uint64_t rd_layout_hash(const struct rd_layout *layout);

/* The word of --layout: "auto", "folders", ... */
const char *rd_layout_name(enum rd_layout_kind kind);

#endif
