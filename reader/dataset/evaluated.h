/* The index of an evaluation: images of one split, or of a list, as validation images, with the classes of the weights
 * that are evaluated, so that labels are places among their outputs. */
#ifndef READER_DATASET_EVALUATED_H
#define READER_DATASET_EVALUATED_H

#include "reader/dataset/index.h"

/* Names of classes, in the order of the weights' outputs. */
struct rd_outputs {
    char *bytes;
    const char **name;
    uint32_t count; /* 0: not known; the classes are those of the data */
};

/* One name a line. -EBADMSG with a sentence: empty, or a name twice. */
int rd_outputs_read(const char *path, struct rd_outputs *ret, struct im_text *text);
void rd_outputs_fini(struct rd_outputs *outputs); /* zeroed is fine */

/* Takes the images of `split`. Classes of the data are found among the outputs by name; `note` says where they are others
 * or in another order. ret_bytes: an index file, malloc'ed. -EBADMSG with a sentence: classes that the outputs lack. */
int rd_evaluated_choose(const struct rd_index *index, enum im_split split, const struct rd_outputs *outputs,
                        void **ret_bytes, size_t *ret_size, struct im_text *note, struct im_text *text);

/* The same of a list of absolute paths, each ended by a NUL; all have the first class. */
int rd_evaluated_list(const char *paths, size_t n, const struct rd_outputs *outputs, bool multi_label,
                      void **ret_bytes, size_t *ret_size, struct im_text *text);

/* Writes IM_EVALUATED_FILE into the folder: the images' paths, relative to the root. */
int rd_evaluated_names(const struct rd_index *index, const char *folder, struct im_text *text);

#endif
