/* Which classes the labels of a multi-label run stand for: a file in the run directory that `imsuper-reader data` writes and
 * trainers read. A label is then the place of a set of classes, so that rings and plans carry one number a sample. */
#ifndef IPC_LABEL_SETS_H
#define IPC_LABEL_SETS_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/err.h"

#define IM_LABEL_SETS_FILE "label_sets.bin"

struct im_label_sets {
    uint32_t classes, count;
    uint32_t words;       /* of a set: a bit for each class, class 0 the lowest */
    const uint32_t *bits; /* [count][words] */
    void *bytes;          /* malloc'ed; NULL: the bits are borrowed */
};

int im_label_sets_write(const struct im_label_sets *sets, const char *folder, struct im_text *text);

/* -EBADMSG with a sentence: not such a file, or of another number of classes. */
int im_label_sets_read(const char *folder, uint32_t classes, struct im_label_sets *ret, struct im_text *text);
void im_label_sets_fini(struct im_label_sets *sets); /* zeroed is fine */

static inline bool im_label_sets_has(const struct im_label_sets *sets, uint32_t set, uint32_t class)
{
    return sets->bits[(uint64_t)set * sets->words + class / 32] >> (class % 32) & 1;
}

#endif
