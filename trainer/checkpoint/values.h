/* Numbers that no network computes with: they are refused where weights are loaded, and named where a validation has
 * no loss. */
#ifndef TRAINER_CHECKPOINT_VALUES_H
#define TRAINER_CHECKPOINT_VALUES_H

#include <stddef.h>

#include "kernels/dtype.h"
#include "trainer/model/model.h"

struct tr_bad_values {
    size_t count;
    const struct tr_param_tensor *tensor; /* the first one's; NULL: there is none */
    double value;
};

/* Counts what is not finite, negative variances, and weights of convolutions and fully connected layers that are
 * infinite once they are rounded to `precision`. params and stats: host copies of the arenas. */
struct tr_bad_values tr_values_bad(const struct tr_model *m, const float *params, const float *stats,
                                   enum imk_dtype precision);

struct tr_values_text {
    char s[400];
};

/* "layer1.0.conv1.weight has a value of nan, which is not finite; 3 such values in all". */
struct tr_values_text tr_values_say(const struct tr_bad_values *bad);

#endif
