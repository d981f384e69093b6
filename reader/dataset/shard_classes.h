/* The classes of shards: names in the order of labels from a file beside them, or what their labels say. */
#ifndef READER_DATASET_SHARD_CLASSES_H
#define READER_DATASET_SHARD_CLASSES_H

#include "reader/dataset/shard_list.h"

#define RD_SHARD_CLASSES_MAX 1000000

struct rd_shard_classes {
    struct rd_names names; /* in the order of labels */
    uint32_t *labels;      /* by name */
    char file[NAME_MAX];   /* where the names come from; "": from the labels */
};

/* Reads classes.txt, a list of names in _info.json or info.json ("classes", "class_names", "names"), or the features of
 * dataset_info.json. Without any of them ret->file is "" and there are no names yet. Negative errno with a sentence. */
int rd_shard_classes_read(int root_fd, const struct rd_layout *layout, struct rd_shard_classes *ret,
                          struct im_text *text);

/* After names were added: makes them ready for look-ups. -EBADMSG with a sentence: a name comes twice. */
int rd_shard_classes_settle(struct rd_shard_classes *classes, struct im_text *text);
int64_t rd_shard_classes_find(const struct rd_shard_classes *classes, const char *name); /* -ENOENT */
void rd_shard_classes_fini(struct rd_shard_classes *classes);

#endif
