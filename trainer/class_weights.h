/* --class-weights: the weight of each class in the loss, from run_dir/class_weights.txt, which `imsuper-reader data
 * measure` writes (reader/tools/class_weights.h). */
#ifndef TRAINER_CLASS_WEIGHTS_H
#define TRAINER_CLASS_WEIGHTS_H

#include <stdbool.h>

#include "ipc/base/err.h"

#define TR_CLASS_WEIGHTS_FILE "class_weights.txt"

/* To a mean of 1 over the images of an epoch; where each class has as many of those (--sampler balanced); not at all
 * (--multi-label: as torch's pos_weight). */
enum tr_class_scaling { TR_SCALE_IMAGES, TR_SCALE_BALANCED, TR_SCALE_NONE };

/* *ret_weights: [classes], malloc'ed, the caller's. Negative errno with a sentence. */
int tr_class_weights_read(const char *run_dir, int classes, enum tr_class_scaling scaling,
                          float **ret_weights, struct im_text *text);

#endif
