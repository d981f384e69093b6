/* Names that other programs give to a model's tensors, turned into the model's own.
 *
 *   wrappers   DistributedDataParallel, torch.compile and the like put a word before or into names: "module.",
 *              "_orig_mod.". They go wherever they stand.
 *   prefix     a module that holds the model: Lightning's "model.", "backbone.", "student.". It goes when most of the
 *              model's names stand behind it, and behind no other.
 *   parts      well-known programs call the classifier "linear" or "classifier", the projection "shortcut", or put the
 *              first layers into a Sequential ("conv1.0"). They are renamed where the model's own name is missing.
 *
 * Shapes of the classifier with and without trailing ones ([10, 512] and [10, 512, 1, 1]) are the same numbers. */
#ifndef TRAINER_CHECKPOINT_FOREIGN_H
#define TRAINER_CHECKPOINT_FOREIGN_H

#include <stdbool.h>

#include "trainer/checkpoint/safetensors.h"
#include "trainer/model/model.h"

/* Renames the tensors of a file. `note` says what was done; empty: nothing. -EBADMSG with a sentence: the model stands
 * behind several prefixes, or two tensors get the same name; -ENOMEM. */
int tr_foreign_names(struct tr_safetensors *file, const struct tr_model *model, struct im_text *note,
                     struct im_text *text);

/* A number that averaging programs keep beside the weights; nothing computes with it. */
bool tr_foreign_is_bookkeeping(const struct tr_tensor *t);

/* The tensor of the file that most likely is the missing one called `name` of this shape: the one without a place in the
 * model whose name ends most like it. NULL: none does. */
const struct tr_tensor *tr_foreign_nearest(const struct tr_safetensors *file, const struct tr_model *model,
                                           const struct tr_param_tensor *missing);

#endif
