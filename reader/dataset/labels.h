/* Labels of validation images that lie in one folder: from LOC_val_solution.csv, annotation XMLs
 * or a val.txt. */
#ifndef READER_DATASET_LABELS_H
#define READER_DATASET_LABELS_H

#include <stdint.h>

#include "ipc/base/err.h"
#include "reader/dataset/layout.h"
#include "reader/dataset/names.h"

#define RD_NO_LABEL UINT32_MAX

/* Fills ret_labels[i] with the class of images[i], an index into `classes` (sorted), or RD_NO_LABEL for a class that
 * is none of them; the names of those are added to ret_unknown, in order. -EBADMSG with a sentence where an image has
 * no label, or the file is a mere list of numbered lines; -ENOMEM; I/O errors. */
int rd_labels_read(const struct rd_layout *layout, const struct rd_names *images,
                   const struct rd_names *classes, uint32_t *ret_labels, struct rd_names *ret_unknown,
                   struct im_text *text);

/* The first object's class in an annotation: <annotation><object><name>n01751748</name>. Writes it
 * NUL-terminated; -EBADMSG where there is none, or where the bytes are not XML, with expat's word for
 * it in `text`. */
int rd_xml_class(const char *bytes, size_t n, char *ret_class, size_t size, struct im_text *text);

#endif
