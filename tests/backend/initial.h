/* The weights that goldens begin with: a draw v in [-1, 1) scaled by the kind of tensor, as the Python
 * scripts in tests/golden do it, so that none need be stored. */
#ifndef TESTS_BACKEND_INITIAL_H
#define TESTS_BACKEND_INITIAL_H

#include <math.h>
#include <string.h>

#include "trainer/model/model.h"

static inline float initial(const struct tr_param_tensor *t, double v)
{
    switch (t->kind) {
    case TR_TENSOR_CONV_WEIGHT:
        return (float)(v * sqrt(6.0 / (t->shape[0] * t->shape[2] * t->shape[3])));
    case TR_TENSOR_FC_WEIGHT:
    case TR_TENSOR_FC_BIAS:
        return (float)(v * 0.05);
    case TR_TENSOR_CONV_BIAS:
    case TR_TENSOR_BN_BIAS:
    case TR_TENSOR_BN_MEAN:
        return (float)(v * 0.125);
    case TR_TENSOR_BN_WEIGHT:
    case TR_TENSOR_BN_VAR:
    case TR_TENSOR_BN_COUNT:
        break;
    }
    return (float)((1 + v * 0.25) * (strstr(t->name, "bn3.weight") ? 0.25 : 1));
}

#endif
