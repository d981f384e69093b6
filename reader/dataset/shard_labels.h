/* Labels of samples in shards: one, as it is written, or a list, in which a line feed ends each label. A list without labels
 * is a line feed alone.
 *
 * A .cls holds one label; or a list: a label a line, numbers with blanks or commas between them, or a JSON array. The field
 * "label" of a .json (or "labels", "cls", ...) holds a number, a name, an array of these, or an object of names with 0 and
 * 1. An array may hold 0 or 1 for each class: that is seen when all arrays are known (struct rd_shard_form). */
#ifndef READER_DATASET_SHARD_LABELS_H
#define READER_DATASET_SHARD_LABELS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ipc/base/json.h"
#include "reader/dataset/table.h"

/* The label or list of a .cls or of a parsed .json, malloc'ed, the caller's; NULL: it says none. -ENOMEM. */
int rd_shard_label_of_text(const char *text, size_t n, char **ret);
int rd_shard_label_of_json(const struct im_json *j, char **ret);

static inline bool rd_shard_label_is_list(const char *label)
{
    const size_t n = strlen(label);

    return n > 0 && label[n - 1] == '\n';
}

/* The next label of either; NULL behind the last. *at begins at the label. */
const char *rd_shard_label_next(const char **at, char word[RD_LABEL_BYTES]);

/* The number of a class that a label says: 3, 3.0. RD_LABEL_NAME: it is a name; RD_LABEL_OTHER: another number, that none has
 * (-1, 0.5). */
#define RD_LABEL_NAME (-1)
#define RD_LABEL_OTHER (-2)
int64_t rd_shard_label_number(const char *word);

/* What all labels of a data set are. Zero-initialise, then add each. */
struct rd_shard_form {
    uint64_t labelled; /* labels that were added */
    int64_t most;      /* the largest number */
    bool has_names;    /* not all are numbers */
    bool has_numbers;  /* of classes */
    bool has_single;   /* not all are lists */
    bool differ;       /* in length */
    bool has_others;   /* than 0 and 1 */
    bool repeat;       /* a list has the same label twice */
    uint32_t length;   /* of the first list */
};

void rd_shard_form_add(struct rd_shard_form *form, const char *label);

/* Lists of one length, of 0 and 1 alone, some with one of them twice: 0 or 1 for each class. */
bool rd_shard_form_is_flags(const struct rd_shard_form *form);

#endif
