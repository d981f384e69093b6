/* See number.h: fp16 by arithmetic on the exponent, bf16 as the upper half of fp32; rounding
 * is the reference's. */
#include "tests/cuda/lanes/number.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/backends/ref/ops.h"

static float from_half(uint16_t h)
{
    const double m = h & 0x3ff;
    const int e = h >> 10 & 31;
    double v = e == 31  ? (m > 0 ? (double)NAN : (double)INFINITY)
               : e == 0 ? ldexp(m, -24)
                        : ldexp(1024 + m, e - 25);

    return (float)(h >> 15 ? -v : v);
}

/* Of a float that is an fp16 number. */
static uint16_t to_half(float f)
{
    const uint16_t sign = signbit(f) ? 0x8000 : 0;
    int e;
    double m;

    if (isnan(f))
        return 0x7e00;
    if (isinf(f))
        return sign | 0x7c00;
    if (f == 0)
        return sign;
    m = frexp(fabs((double)f), &e); /* in [0.5, 1) */
    if (e < -13)
        return (uint16_t)(sign | (uint16_t)ldexp(m, e + 24));
    return (uint16_t)(sign | (e + 14) << 10 | ((int)ldexp(m, 11) - 1024));
}

float *number_load(enum imk_dtype type, const void *values, size_t count)
{
    float *to = malloc((count + 1) * sizeof(float));
    const uint16_t *half = values;

    im_assert(to);
    if (type == IMK_F32)
        memcpy(to, values, count * sizeof(float));
    for (size_t i = 0; i < count && type != IMK_F32; i++) {
        const uint32_t bits = (uint32_t)half[i] << 16;

        if (type == IMK_BF16)
            memcpy(&to[i], &bits, sizeof bits);
        else
            to[i] = from_half(half[i]);
    }
    return to;
}

void number_store(enum imk_dtype type, void *values, const float *from, size_t count)
{
    uint16_t *half = values;

    if (type == IMK_F32)
        memcpy(values, from, count * sizeof(float));
    for (size_t i = 0; i < count && type != IMK_F32; i++) {
        float f = from[i];
        uint32_t bits;

        tr_ref_round(type == IMK_BF16 ? IMK_BF16 : IMK_F16, &f, 1);
        memcpy(&bits, &f, sizeof bits);
        half[i] = type == IMK_BF16 ? (uint16_t)(bits >> 16) : to_half(f);
    }
}
