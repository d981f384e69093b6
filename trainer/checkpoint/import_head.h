/* Whether weights from elsewhere bring a classifier for the run's classes. */
#ifndef TRAINER_CHECKPOINT_IMPORT_HEAD_H
#define TRAINER_CHECKPOINT_IMPORT_HEAD_H

#include <stdbool.h>

#include "trainer/model/model.h"

struct im_text;

/* *ret_fits: the file at `path` has the classifier's tensors in the shapes of the model, and names no classes that are
 * others than `classes` (a JSON array; NULL: not known). Where not, `why` says what it has. Errors of
 * tr_import_open(). */
int tr_import_head_fits(const char *path, const struct tr_model *model, const char *classes, bool *ret_fits,
                        struct im_text *why, struct im_text *text);

#endif
