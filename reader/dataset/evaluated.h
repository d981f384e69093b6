/* The index of an evaluation: images of one split, or of a list, as validation images, with the classes of the weights
 * that are evaluated, so that labels are places among their outputs. */
#ifndef READER_DATASET_EVALUATED_H
#define READER_DATASET_EVALUATED_H

#include "ipc/config/class_names.h"
#include "reader/dataset/index.h"

/* Images first .. end - 1 of a split. */
struct rd_evaluated_part {
    uint64_t first, end;
};

/* Takes the images of `split`, or a part of them (NULL: all). Classes of the data are found among the outputs by name (without names they are the
 * outputs); `note` says where they are others
 * or in another order. ret_bytes: an index file, malloc'ed. -EBADMSG with a sentence: classes that the outputs lack. */
int rd_evaluated_choose(const struct rd_index *index, enum im_split split,
                        const struct rd_evaluated_part *part, const struct im_class_names *outputs,
                        void **ret_bytes, size_t *ret_size, struct im_text *note, struct im_text *text);

/* Part `number` of `count`, from 0, of so many images. Parts end where steps of `step` images end, so that each image is computed beside the same others
 * as without parts. -EINVAL with a sentence: there are fewer steps than parts. */
int rd_evaluated_part(uint64_t images, uint64_t step, uint32_t number, uint32_t count,
                      struct rd_evaluated_part *ret, struct im_text *text);

/* The same of a list of absolute paths, each ended by a NUL; all have the first class. */
int rd_evaluated_list(const char *paths, size_t n, const struct im_class_names *outputs, bool multi_label,
                      void **ret_bytes, size_t *ret_size, struct im_text *text);

/* Writes IM_EVALUATED_FILE into the folder: the images' paths, relative to the root. */
int rd_evaluated_names(const struct rd_index *index, const char *folder, struct im_text *text);

#endif
