/* What a folder beside others is by its name: the training, validation or test images, however it is spelt. */
#ifndef READER_DATASET_LAYOUT_NAMES_H
#define READER_DATASET_LAYOUT_NAMES_H

#include <limits.h>

#include "ipc/base/err.h"

enum rd_role { RD_ROLE_NONE, RD_ROLE_TRAIN, RD_ROLE_VAL, RD_ROLE_TEST };

/* "Train", "training_set", "Valid", "TEST": by letters and digits alone, in any case. */
enum rd_role rd_role_of(const char *name);

/* The folder in `base` that has this role and holds folders. 1: *ret_path is it, below the root; 0: there is none; -EBADMSG
 * with a sentence: there are several. */
int rd_role_find(int root_fd, const char *root, const char *base, enum rd_role role, char ret_path[NAME_MAX],
                 struct im_text *text);

#endif
