/* Rounding to bf16 and fp16 by definition: bf16 has 8 significand bits and the exponents of fp32, fp16 has 11
 * and exponents from -14 to 15. Plain arithmetic on the significand, as a reference for the fast versions,
 * which use bit operations or instructions. */
#include <math.h>

#include "trainer/backends/ref/ops.h"

struct type {
    int bits;        /* of the significand, the hidden one included */
    int least;       /* frexp's exponent of the smallest normal number */
    double overflow; /* what rounds to this and more is infinite */
};

static const struct type types[] = {
    [IMK_BF16] = {8, -125, INFINITY}, /* beyond fp32 all at once */
    [IMK_F16] = {11, -13, 65536},
};

static float rounded(const struct type *t, float value)
{
    int exponent;
    double scaled;

    if (!isfinite(value) || value == 0)
        return value;
    (void)frexp((double)value, &exponent);
    if (exponent < t->least)
        exponent = t->least; /* subnormal: the spacing no longer shrinks */
    scaled = ldexp((double)value, t->bits - exponent);
    scaled = ldexp(nearbyint(scaled), exponent - t->bits); /* ties to even; too large: infinity */
    return fabs(scaled) >= t->overflow ? (float)copysign(INFINITY, scaled) : (float)scaled;
}

void tr_ref_round(enum imk_dtype precision, float *values, size_t count)
{
    for (size_t i = 0; precision != IMK_F32 && i < count; i++)
        values[i] = rounded(&types[precision], values[i]);
}

size_t tr_ref_weights(const struct tr_op *op)
{
    size_t taps = op->kind == TR_OP_CONV ? (size_t)op->kernel * (size_t)op->kernel : 1;

    return (size_t)op->y.c * (size_t)op->x.c * taps;
}
