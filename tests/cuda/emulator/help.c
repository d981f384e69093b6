/* See help.h. */
#include "tests/cuda/emulator/help.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/rng.h"

enum { GUARD = 64, SENTINEL = 0xa5 };

#if defined(__SANITIZE_ADDRESS__)
enum { GUARDED = 0 }; /* the red zone comes right behind */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { GUARDED = 0 };
#else
enum { GUARDED = GUARD };
#endif
#else
enum { GUARDED = GUARD };
#endif

const unsigned orders[3] = {0, 1, 12345};

const char *type_name(enum imk_dtype type)
{
    static const char *const names[] = {"fp32", "bf16", "fp16"};

    return names[type];
}

/* Bits of the significand, the least exponent of a normal number 1.f * 2^e, and the largest number. */
static const struct {
    int digits, least;
    double largest;
} formats[] = {
    [IMK_F32] = {24, -126, 0x1.fffffep127},
    [IMK_BF16] = {8, -126, 0x1.fep127},
    [IMK_F16] = {11, -14, 65504},
};

static double spacing(enum imk_dtype type, double value)
{
    int exponent;

    (void)frexp(value, &exponent);
    exponent = exponent - 1 < formats[type].least ? formats[type].least : exponent - 1;
    return ldexp(1, exponent - formats[type].digits + 1);
}

double rounding(enum imk_dtype type, double value)
{
    return spacing(type, value) / 2;
}

double round_to(enum imk_dtype type, double value)
{
    double unit, near;

    if (!isfinite(value) || value == 0)
        return value;
    unit = spacing(type, value);
    near = nearbyint(value / unit) * unit;
    return fabs(near) > formats[type].largest ? copysign((double)INFINITY, value) : near;
}

/* The bits of a number that the type has. */
static uint16_t encode(enum imk_dtype type, double value)
{
    const int fraction = formats[type].digits - 1;
    const uint16_t sign = signbit(value) ? 0x8000 : 0;
    const double size = fabs(value), unit = spacing(type, size);
    const uint16_t top = (uint16_t)(0x7fff & ~((1 << fraction) - 1));
    int exponent;

    if (isnan(value))
        return 0x7fff;
    if (isinf(value))
        return sign | top;
    if (size == 0)
        return sign;
    (void)frexp(size, &exponent);
    if (exponent - 1 < formats[type].least) /* subnormal: a number of units */
        return (uint16_t)(sign | (uint16_t)(size / unit));
    return (uint16_t)(sign | (uint16_t)((exponent - formats[type].least) << fraction) |
                      (uint16_t)((uint32_t)(size / unit) & ((1u << fraction) - 1)));
}

static double decode(enum imk_dtype type, uint16_t bits)
{
    const int fraction = formats[type].digits - 1;
    const int exponent = (bits & 0x7fff) >> fraction, rest = bits & ((1 << fraction) - 1);
    const double sign = bits & 0x8000 ? -1 : 1;

    if (exponent == 0x7fff >> fraction)
        return rest ? (double)NAN : sign * (double)INFINITY;
    if (exponent == 0)
        return sign * ldexp(rest, formats[type].least - fraction);
    return sign * ldexp(rest + (1 << fraction), exponent - 1 + formats[type].least - fraction);
}

size_t type_bytes(enum imk_dtype type)
{
    return type == IMK_F32 ? 4 : 2;
}

struct array array_new(enum imk_dtype type, size_t count, bool is_aligned)
{
    const size_t item = type_bytes(type), shift = is_aligned ? 0 : item, bytes = count * item;
    struct array a = {.type = type, .count = count, .block = malloc(shift + bytes + GUARDED)};

    assert_non_null(a.block);
    a.data = (char *)a.block + shift;
    memset(a.block, SENTINEL, shift + bytes + GUARDED);
    return a;
}

void array_free(struct array *a)
{
    const size_t item = type_bytes(a->type);
    const unsigned char *before = a->block, *behind = (const unsigned char *)a->data + a->count * item;

    for (size_t i = 0; a->data != a->block && i < item; i++)
        assert_int_equal(before[i], SENTINEL);
    for (int i = 0; i < GUARDED; i++)
        assert_int_equal(behind[i], SENTINEL);
    free(a->block);
    *a = (struct array){0};
}

double array_get(const struct array *a, size_t i)
{
    if (a->type == IMK_F32)
        return (double)((const float *)a->data)[i];
    return decode(a->type, ((const uint16_t *)a->data)[i]);
}

void array_set(struct array *a, size_t i, double value)
{
    if (a->type == IMK_F32)
        ((float *)a->data)[i] = (float)value;
    else
        ((uint16_t *)a->data)[i] = encode(a->type, round_to(a->type, value));
}

size_t numbers(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

/* Where the element at plain index i is in NHWC. */
static size_t place(struct tr_shape s, int pitch, size_t i)
{
    const size_t area = (size_t)s.h * (size_t)s.w, pixel = i % area, c = i / area % (size_t)s.c;

    return (i / area / (size_t)s.c * area + pixel) * (size_t)pitch + c;
}

struct array array_of(enum imk_dtype type, struct tr_shape s, int pitch, float *nchw, bool is_aligned)
{
    struct array a = array_new(type, (size_t)s.n * (size_t)s.h * (size_t)s.w * (size_t)pitch, is_aligned);

    for (size_t i = 0; i < a.count; i++)
        array_set(&a, i, 0);
    for (size_t i = 0; i < numbers(s); i++) {
        array_set(&a, place(s, pitch, i), (double)nchw[i]);
        nchw[i] = (float)array_get(&a, place(s, pitch, i));
    }
    return a;
}

void plain_of(const struct array *a, struct tr_shape s, int pitch, float *ret_nchw)
{
    for (size_t i = 0; i < a->count; i++)
        if (i % (size_t)pitch >= (size_t)s.c && array_get(a, i) != 0)
            fail_msg("padding at %zu is %g", i, array_get(a, i));
    for (size_t i = 0; i < numbers(s); i++)
        ret_nchw[i] = (float)array_get(a, place(s, pitch, i));
}

float *drawn(size_t count, uint64_t item)
{
    struct im_rng r = im_rng_at(5, IM_RNG_TEST, 9, item);
    float *v = calloc(count + 1, sizeof *v);

    assert_non_null(v);
    for (size_t i = 0; i < count; i++)
        v[i] = (float)im_rng_normal(&r);
    return v;
}

float *blank(size_t count)
{
    float *v = calloc(count + 1, sizeof *v);

    assert_non_null(v);
    return v;
}

void check_near(const char *what, enum imk_dtype type, const float *got, const float *want, size_t count,
                double slack)
{
    for (size_t i = 0; i < count; i++) {
        const double w = (double)want[i], g = (double)got[i];

        if (isnan(w) ? !isnan(g) : g != w && !(fabs(g - w) <= slack + rounding(type, fabs(w) + slack)))
            fail_msg("%s in %s: [%zu] is %.9g, not %.9g (off by %.3g, allowed %.3g)", what, type_name(type),
                     i, g, w, fabs(g - w), slack + rounding(type, fabs(w) + slack));
    }
}

void check_run(int result, const char *call, int line)
{
    if (result == 0)
        result = emulation_finish();
    if (result != 0)
        fail_msg("line %d: %s returns %d: %s", line, call, result, emulation_error());
}
