/* Rounding to bf16 as it is defined: 8 significand bits, the exponents of fp32. In the plainest way, by
 * arithmetic on the significand, so that the fast way (cpu_ops.c), which works on bits, has something to be
 * held against. */
#include <math.h>

#include "trainer/ref_ops.h"

static float rounded(float value)
{
    int exponent;
    double scaled;

    if (!isfinite(value) || value == 0)
        return value;
    (void)frexp((double)value, &exponent);
    if (exponent < -125)
        exponent = -125; /* subnormal: the spacing no longer shrinks */
    scaled = ldexp((double)value, 8 - exponent);
    return (float)ldexp(nearbyint(scaled), exponent - 8); /* ties to even; too large: infinity */
}

void tr_ref_round(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        values[i] = rounded(values[i]);
}

size_t tr_ref_weights(const struct im_op *op)
{
    size_t taps = op->kind == IM_OP_CONV ? (size_t)op->kernel * (size_t)op->kernel : 1;

    return (size_t)op->y.c * (size_t)op->x.c * taps;
}
