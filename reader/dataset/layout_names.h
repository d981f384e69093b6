/* What a folder beside others is by its name: the training, validation or test images, however it is spelt. */
#ifndef READER_DATASET_LAYOUT_NAMES_H
#define READER_DATASET_LAYOUT_NAMES_H

#include <limits.h>
#include <stdbool.h>

#include "ipc/base/err.h"

enum rd_role { RD_ROLE_NONE, RD_ROLE_TRAIN, RD_ROLE_VAL, RD_ROLE_TEST };

/* "Train", "training_set", "Valid", "TEST": by letters and digits alone, in any case. */
enum rd_role rd_role_of(const char *name);

/* The role of a folder beside the train folder `train`. Where that one has more words than its role, as seg_train or
 * train_images, the others have the same ones: seg_test, val_images. */
enum rd_role rd_role_beside(const char *train, const char *name);

/* Whether a folder is a train folder by its name, of one word or several. */
bool rd_role_is_train(const char *name);

struct rd_role_wanted {
    enum rd_role role;
    const char *train; /* name of the train folder beside it; NULL: none, by plain names */
    bool is_flat;      /* that holds images alone, instead of folders */
};

/* The folder in `base` that is wanted. 1: *ret_path is it, below the root; 0: there is none; -EBADMSG with a sentence: there are
 * several. */
int rd_role_find(int root_fd, const char *root, const char *base, const struct rd_role_wanted *wanted,
                 char ret_path[NAME_MAX], struct im_text *text);

/* A train folder whose name has more words, with validation or test images beside it. As rd_role_find(). */
int rd_role_find_train(int root_fd, const char *root, char ret_path[NAME_MAX], struct im_text *text);

/* Archives are often unpacked into a folder of their own name: where `path` holds nothing but a folder of its name
 * (train/train, seg_train/seg_train), path becomes that. `name` is that of path. 1, 0, or negative errno with a sentence. */
int rd_descend(int root_fd, const char *name, char path[NAME_MAX], struct im_text *text);

#endif
