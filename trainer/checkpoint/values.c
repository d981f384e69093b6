#include "trainer/checkpoint/values.h"

#include <math.h>
#include <stdio.h>

/* The least size that rounds to infinity. */
static double overflow_of(const struct tr_param_tensor *t, enum imk_dtype precision)
{
    if (t->kind != TR_TENSOR_CONV_WEIGHT && t->kind != TR_TENSOR_FC_WEIGHT)
        return INFINITY;
    return precision == IMK_F16 ? 65520 : precision == IMK_BF16 ? 0x1.ffp127 : INFINITY;
}

static bool is_bad(const struct tr_param_tensor *t, double value, double overflow)
{
    return !isfinite(value) || fabs(value) >= overflow || (t->kind == TR_TENSOR_BN_VAR && value < 0);
}

struct tr_bad_values tr_values_bad(const struct tr_model *m, const float *params, const float *stats,
                                   enum imk_dtype precision)
{
    struct tr_bad_values bad = {.count = 0};

    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const float *values = (tr_tensor_home(t) == TR_HOME_STATS ? stats : params) + t->offset;
        const double overflow = overflow_of(t, precision);

        for (size_t k = 0; tr_tensor_home(t) != TR_HOME_COUNTER && k < t->count; k++) {
            if (!is_bad(t, (double)values[k], overflow))
                continue;
            if (bad.count++ == 0) {
                bad.tensor = t;
                bad.value = (double)values[k];
            }
        }
    }
    return bad;
}

struct tr_values_text tr_values_say(const struct tr_bad_values *bad)
{
    struct tr_values_text text;
    const char *why = !isfinite(bad->value)                   ? "which is not finite"
                      : bad->tensor->kind == TR_TENSOR_BN_VAR ? "and a variance is not negative"
                                                              : "which --amp rounds to infinity";
    int n = snprintf(text.s, sizeof text.s, "%s has a value of %g, %s", bad->tensor->name, bad->value, why);

    if (bad->count > 1 && n > 0 && (size_t)n < sizeof text.s)
        snprintf(text.s + n, sizeof text.s - (size_t)n, "; %zu such values in all", bad->count);
    return text;
}
