/* How well scores tell images with a label from those without, by class and over all: the measures of scikit-learn. */
#ifndef TRAINER_AVERAGE_PRECISION_H
#define TRAINER_AVERAGE_PRECISION_H

#include <stddef.h>
#include <stdint.h>

/* One image, for one class. */
struct tr_scored {
    float score;
    uint32_t truth; /* 1: it has the label */
};

/* As sklearn.metrics.average_precision_score: the sum over the different scores, falling, of precision times the gain in
 * recall. Sorts `s`. NaN without an image that has the label. */
double tr_average_precision(struct tr_scored *s, size_t n);

/* Images that are taken to have a label: the logit is above 0, and so the probability above 0.5. */
struct tr_decided {
    uint64_t hits, predicted, positive; /* hits: predicted, and rightly */
};

/* 2 hits / (predicted + positive); 0 where both are 0, as scikit-learn's zero_division=0. */
double tr_f1(const struct tr_decided *d);

#endif
