/* A validation of images with several labels each. The logits of all its images are in a file of the run directory, each at its
 * place in the pass, so that a batch that is evaluated again after a death writes the same bytes to the same place, and
 * several trainers write one file. At the pass's end every trainer reads it and comes to the same numbers. */
#ifndef TRAINER_MULTI_LABEL_H
#define TRAINER_MULTI_LABEL_H

#include "ipc/child.h"
#include "ipc/label_sets.h"
#include "trainer/checkpoint/position.h"
#include "trainer/gather.h"

#define TR_SCORES_FILE "scores.bin"
#define TR_CLASS_SCORES_FILE "class_scores.csv"

/* Zeroed: of a run whose images have one label. */
struct tr_multi_label {
    struct im_label_sets sets;
    int file;
    uint64_t images; /* of a validation pass */
    const char *run_dir;
    bool keeps_tables; /* --per-class-log: one of each epoch */
    float *logits;     /* [batch_size_max][classes]; of one batch */
    void *record;
};

/* Reads the sets of labels. 0 where the run has none. */
int tr_multi_label_open(struct tr_multi_label *m, const struct im_child *child, struct im_text *text);
void tr_multi_label_close(struct tr_multi_label *m);

static inline bool tr_is_multi_label(const struct tr_multi_label *m)
{
    return m->sets.classes > 0;
}

/* The labels and logits ([n][classes]) of n images; valid[i] is 0 for one that could not be used. `pass`: the epoch. */
struct tr_scored_batch {
    const uint64_t *places;
    const int32_t *labels;
    const unsigned char *valid;
    const float *logits;
    int n;
    uint32_t pass;
};
int tr_multi_label_write(struct tr_multi_label *m, enum tr_weights weights, const struct tr_scored_batch *b,
                         struct im_text *text);

/* The file as it is gathered from several machines. */
struct tr_gathering tr_multi_label_records(const struct tr_multi_label *m, uint32_t pass, bool averages);

/* After the last batch of the pass, which all trainers have written: mAP and F1 into sums->multi. Classes without an image that
 * has them count in no mean. `writes`: also the file of each class's numbers (of
 * TR_PLAIN), and the tables of the epoch. */
int tr_multi_label_judge(struct tr_multi_label *m, enum tr_weights weights, uint32_t pass, bool writes,
                         struct tr_sums *sums, struct im_text *text);

#endif
