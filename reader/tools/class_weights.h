/* --class-weights: the weight of each class in the loss.
 *
 *     balanced   n / (C n_c): n training images, n_c of the class, C classes with images (as scikit-learn)
 *     FILE       a line for each class: its name, then a comma, a tab or blanks, then the weight; or only the
 *                weights, in the order of classes.txt. Empty lines, lines that begin with # and a first line without
 *                a number are passed over
 */
#ifndef READER_TOOLS_CLASS_WEIGHTS_H
#define READER_TOOLS_CLASS_WEIGHTS_H

#include "reader/dataset/index.h"

#define RD_CLASS_WEIGHTS_FILE "class_weights.txt"

/* Writes folder/class_weights.txt, a line for each class in the order of labels: weight, training images, name, with
 * tabs between. Negative errno with a sentence that names the line of the file, or the class. */
int rd_class_weights_write(const struct rd_index *index, const char *how, const char *folder,
                           struct im_text *text);

#endif
