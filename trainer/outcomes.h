/* The outputs of an evaluation: what became of each image (ipc/outcome.h), and test-time augmentation. */
#ifndef TRAINER_OUTCOMES_H
#define TRAINER_OUTCOMES_H

#include "ipc/base/err.h"
#include "ipc/child.h"
#include "ipc/label_sets.h"
#include "ipc/outcome.h"
#include "trainer/backends/backend.h"
#include "trainer/network/network.h"

/* Zeroed: of a run that is no evaluation. */
struct tr_outcomes {
    int file;
    uint32_t classes, tops;
    enum im_conf_tta tta;
    const struct im_label_sets *sets; /* NULL: images have one label */
    bool is_multi;                    /* each class is a question of its own */
    float *logits, *seen;             /* [batch][classes]; seen: of one view */
    double *shares;                   /* [classes] */
    uint8_t *pixels, *moved;          /* a batch's, mirrored, moved; NULL: not needed */
    struct im_outcome *record;
};

/* What a batch holds, beside the batch itself; [n] each. `places`: of the samples in the pass. */
struct tr_outcome_places {
    const uint64_t *places, *samples;
    const uint32_t *verdicts;
};

/* Without a file, for batches of as many images and bytes of pixels. 0 or -ENOMEM; close it in any case. */
int tr_outcomes_alloc(struct tr_outcomes *o, const struct im_conf *conf, uint32_t classes, size_t images,
                      size_t pixels);

int tr_outcomes_open(struct tr_outcomes *o, const struct im_child *child, struct im_text *text);
void tr_outcomes_close(struct tr_outcomes *o); /* zeroed is fine */

/* The outputs of the batch, with test-time augmentation, in o->logits. */
int tr_outcomes_logits(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                       struct tr_tally *ret, struct im_text *text);

/* Evaluates the batch, writes a record of each image, and returns the tally: without test-time augmentation the one of
 * tr_network_evaluate(). */
int tr_outcomes_evaluate(struct tr_outcomes *o, struct tr_network *net, const struct tr_batch *batch,
                         const struct tr_outcome_places *at, struct tr_tally *ret, struct im_text *text);

/* The class that an evaluation takes as predicted: top[0] of the functions below. */
uint32_t tr_outcome_likeliest(const float *logits, uint32_t classes);

/* Fills loss, rank, probability and the likeliest classes of `record` from a row of logits. shares: room for `classes`
 * numbers. A label outside them has no loss, rank or probability. */
void tr_outcome_judge(const float *logits, uint32_t classes, int32_t label, uint32_t tops, double *shares,
                      struct im_outcome *record);

/* The same of a network whose classes are questions of their own. `set`: of the labels, negative: not known. */
void tr_outcome_judge_set(const float *logits, uint32_t classes, const struct im_label_sets *sets,
                          int32_t set, uint32_t tops, struct im_outcome *record);

/* to[n][size][size][3]: each image of `from` seen in a mirror. */
void tr_mirror(const uint8_t *from, uint8_t *to, int n, int size);

/* The same moved down and right by `by` pixels, which may be negative, reflected at the border's pixels. */
void tr_move(const uint8_t *from, uint8_t *to, int n, int size, int by);

#endif
