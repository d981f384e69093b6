/* --per-class-log: what a validation says of each class. Which class each image was taken for is in a file of the run directory,
 * at its place in the pass, so that a batch that is validated again after a death writes the same bytes to the same place,
 * and several trainers write one file. At the pass's end rank 0 makes the tables of it (ipc/class_counts.h). With --ema
 * there are those of the averages, too. What cannot be written is logged, and training goes on. */
#ifndef TRAINER_PER_CLASS_H
#define TRAINER_PER_CLASS_H

#include "ipc/child.h"
#include "ipc/class_counts.h"
#include "trainer/checkpoint/position.h"
#include "trainer/gather.h"

#define TR_TAKEN_FILE "taken_for.bin"

/* Zeroed: of a run without tables, or whose images have several labels (multi_label.h makes those). */
struct tr_per_class {
    bool is_on, failed; /* failed: reported for this pass */
    int file;
    uint64_t images; /* of a validation pass */
    uint32_t classes;
    const char *run_dir;
    float *logits; /* [batch_size_max][classes] */
};

int tr_per_class_open(struct tr_per_class *p, const struct im_child *child);
void tr_per_class_close(struct tr_per_class *p); /* zeroed is fine */

/* n images, whose logits are p->logits; valid[i] is 0 for one that could not be used. `pass`: the epoch, from 0. */
struct tr_taken {
    const uint64_t *places;
    const int32_t *labels;
    const unsigned char *valid;
    int n;
    uint32_t pass;
};
void tr_per_class_write(struct tr_per_class *p, enum tr_weights weights, const struct tr_taken *taken);

/* The file as it is gathered from several machines. */
struct tr_gathering tr_per_class_records(const struct tr_per_class *p, uint32_t pass, bool averages);

/* After the last batch of the pass, which all trainers have written: the table and the confusion matrix. `valid`: images
 * that the validation counted. */
void tr_per_class_tables(struct tr_per_class *p, enum tr_weights weights, uint32_t pass, uint64_t valid);

/* Writes per_class/epoch_NNN.csv, or epoch_NNN.ema.csv; the names are those of classes.txt. 0 or negative errno with a sentence. */
int tr_per_class_table(const char *run_dir, uint32_t epoch, enum tr_weights weights,
                       const struct im_class_counts *counts, const double *average_precision,
                       uint32_t classes, struct im_text *text);

#endif
