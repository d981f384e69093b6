/* The code of vector_loops.h, compiled once for each kind of processor. Vectors are passed by address: the ABI without
 * AVX has no register for them. The flags that choose a loop are constants where it is compiled. */
#ifndef TRAINER_BACKENDS_ONEDNN_VECTOR_CODE_H
#define TRAINER_BACKENDS_ONEDNN_VECTOR_CODE_H

#include <string.h>

#include "trainer/backends/onednn/vector_loops.h"

typedef float vec __attribute__((vector_size(32), may_alias, aligned(4)));
typedef int32_t ivec __attribute__((vector_size(32), may_alias, aligned(4)));
typedef uint32_t uvec __attribute__((vector_size(32), may_alias, aligned(4)));
typedef uint16_t svec __attribute__((vector_size(16), may_alias, aligned(2)));
typedef float half __attribute__((vector_size(16)));
typedef double dvec __attribute__((vector_size(32), may_alias, aligned(8)));

#define INLINE static inline __attribute__((always_inline))

/* a b + c, rounded once where the processor can: always the same way, for backward repeats what forward did. */
INLINE void madd(vec *ret, const vec *a, const vec *b, const vec *c)
{
#ifdef __FMA__
    *ret = __builtin_ia32_vfmaddps256(*a, *b, *c);
#else
    *ret = *a * *b + *c;
#endif
}

INLINE void add_product(dvec *sum, const dvec *a, const dvec *b)
{
#ifdef __FMA__
    *sum = __builtin_ia32_vfmaddpd256(*a, *b, *sum);
#else
    *sum += *a * *b;
#endif
}

INLINE void load_whole(vec *ret, const void *values, size_t at, bool narrow)
{
    if (narrow)
        *ret = (vec)(__builtin_convertvector(*(const svec *)((const uint16_t *)values + at), uvec) << 16);
    else
        *ret = *(const vec *)((const float *)values + at);
}

INLINE void store_whole(const vec *v, void *values, size_t at, bool narrow)
{
    uvec bits = (uvec)*v, rounded = bits + 0x7fffu + (bits >> 16 & 1u), quiet = bits | 0x400000u;
    ivec is_nan = (ivec)((bits & 0x7fffffffu) > 0x7f800000u);

    if (narrow)
        *(svec *)((uint16_t *)values + at) =
            __builtin_convertvector(((quiet & (uvec)is_nan) | (rounded & ~(uvec)is_nan)) >> 16, svec);
    else
        *(vec *)((float *)values + at) = *v;
}

/* lanes 8: all; the others are 0. */
INLINE void load(vec *ret, const void *values, size_t at, bool narrow, size_t lanes)
{
    const size_t size = narrow ? sizeof(uint16_t) : sizeof(float);
    float copy[TR_LANES] = {0};

    if (lanes < TR_LANES)
        memcpy(copy, (const char *)values + at * size, lanes * size);
    load_whole(ret, lanes < TR_LANES ? copy : values, lanes < TR_LANES ? 0 : at, narrow);
}

INLINE void store(const vec *v, void *values, size_t at, bool narrow, size_t lanes)
{
    const size_t size = narrow ? sizeof(uint16_t) : sizeof(float);
    float copy[TR_LANES];

    store_whole(v, lanes < TR_LANES ? copy : values, lanes < TR_LANES ? 0 : at, narrow);
    if (lanes < TR_LANES)
        memcpy((char *)values + at * size, copy, lanes * size);
}

INLINE void widen(const vec *v, dvec *low, dvec *high)
{
    *low = __builtin_convertvector(__builtin_shufflevector(*v, *v, 0, 1, 2, 3), dvec);
    *high = __builtin_convertvector(__builtin_shufflevector(*v, *v, 4, 5, 6, 7), dvec);
}

INLINE uint8_t bits_of(const ivec *mask)
{
#ifdef __AVX__
    return (uint8_t)__builtin_ia32_movmskps256((vec)*mask);
#else
    unsigned bits = 0;

    for (unsigned i = 0; i < TR_LANES; i++)
        bits |= (unsigned)((*mask)[i] & 1) << i;
    return (uint8_t)bits;
#endif
}

INLINE void mask_of(ivec *ret, uint8_t bits)
{
    const ivec each = {1, 2, 4, 8, 16, 32, 64, 128};

    *ret = (ivec)((((ivec){0} + bits) & each) != 0);
}

/* ---- sums: two of each, so that additions need not wait for each other ---- */

struct lane_sums {
    dvec first[2][2], second[2][2];
};

INLINE void add_up(const struct lane_sums *t, struct tr_norm_sums *sums)
{
    for (size_t half_at = 0; half_at < 2; half_at++) {
        *(dvec *)(sums->first + 4 * half_at) += t->first[0][half_at] + t->first[1][half_at];
        *(dvec *)(sums->second + 4 * half_at) += t->second[0][half_at] + t->second[1][half_at];
    }
}

/* first += a, second += a b. */
INLINE void add_pair(struct lane_sums *t, size_t which, const vec *a, const vec *b)
{
    dvec low[2], high[2];

    widen(a, &low[0], &high[0]);
    widen(b, &low[1], &high[1]);
    t->first[which][0] += low[0];
    t->first[which][1] += high[0];
    add_product(&t->second[which][0], &low[0], &low[1]);
    add_product(&t->second[which][1], &high[0], &high[1]);
}

/* ---- moments ---- */

INLINE void moments_code(const struct tr_strip *s, const void *x, struct tr_norm_sums *sums, bool narrow)
{
    struct lane_sums t = {.first = {{{0}}}};
    size_t i = 0, at = s->at;
    vec v;

    for (; i + 2 <= s->whole; i += 2, at += 2 * s->step) {
        load_whole(&v, x, at, narrow);
        add_pair(&t, 0, &v, &v);
        load_whole(&v, x, at + s->step, narrow);
        add_pair(&t, 1, &v, &v);
    }
    for (; i < s->whole + s->ragged; i++, at += s->step) {
        load(&v, x, at, narrow, i < s->whole ? TR_LANES : s->lanes);
        add_pair(&t, 0, &v, &v);
    }
    add_up(&t, sums);
}

static void moments(const struct tr_strip *s, const void *x, struct tr_norm_sums *sums)
{
    if (s->narrow)
        moments_code(s, x, sums, true);
    else
        moments_code(s, x, sums, false);
}

/* ---- forward ---- */

INLINE void normalise(vec *ret, const struct tr_norm_lanes *p, const vec *x)
{
    const vec d = *x - *(const vec *)p->mean;

    madd(ret, &d, (const vec *)p->factor, (const vec *)p->shift);
}

/* The i-th vector of a strip: its first number, and how many it has. */
struct vector_at {
    size_t i, at, lanes;
};

INLINE void apply_one(const struct tr_strip *s, const struct tr_norm_lanes *p,
                      const struct tr_norm_forward *f, struct vector_at w, bool adds, bool relu, bool bits)
{
    vec v, x2;

    load(&v, f->x, w.at, s->narrow, w.lanes);
    normalise(&v, p, &v);
    if (adds) {
        load(&x2, f->x2, w.at, s->narrow, w.lanes);
        v += x2;
    }
    if (relu) {
        const ivec passes = ~(ivec)(v <= 0);

        if (bits)
            f->bits[s->bits + w.i] = bits_of(&passes);
        v = (vec)((ivec)v & passes);
    }
    store(&v, f->y, w.at, s->narrow, w.lanes);
}

INLINE void apply_code(const struct tr_strip *of, const struct tr_norm_lanes *p,
                       const struct tr_norm_forward *f, bool narrow, bool adds, bool relu, bool bits)
{
    const struct tr_norm_lanes lanes = *p; /* stores cannot change these */
    struct tr_strip s = *of;
    size_t i = 0, at = s.at;

    s.narrow = narrow;
    for (; i < s.whole; i++, at += s.step)
        apply_one(&s, &lanes, f, (struct vector_at){i, at, TR_LANES}, adds, relu, bits);
    for (; i < s.whole + s.ragged; i++, at += s.step)
        apply_one(&s, &lanes, f, (struct vector_at){i, at, s.lanes}, adds, relu, bits);
}

INLINE void apply_typed(const struct tr_strip *s, const struct tr_norm_lanes *p,
                        const struct tr_norm_forward *f, bool narrow)
{
    if (f->x2 && f->relu && f->bits)
        apply_code(s, p, f, narrow, true, true, true);
    else if (f->x2 && f->relu)
        apply_code(s, p, f, narrow, true, true, false);
    else if (f->x2)
        apply_code(s, p, f, narrow, true, false, false);
    else if (f->relu)
        apply_code(s, p, f, narrow, false, true, false);
    else
        apply_code(s, p, f, narrow, false, false, false);
}

static void apply(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_forward *f)
{
    if (s->narrow)
        apply_typed(s, p, f, true);
    else
        apply_typed(s, p, f, false);
}

/* ---- backward ---- */

enum mask { MASK_NONE, MASK_BITS, MASK_AGAIN };

INLINE enum mask mask_kind(const struct tr_norm_backward *k)
{
    return !k->relu ? MASK_NONE : k->bits ? MASK_BITS : MASK_AGAIN;
}

struct norm_gradient {
    bool two; /* are summed */
    enum mask mask;
};

/* x - mean and g of a vector. */
INLINE void read_one(vec *d, vec *g, const struct tr_strip *s, const struct tr_norm_lanes *p,
                     const struct tr_norm_backward *k, struct vector_at w, struct norm_gradient how)
{
    ivec passes;
    vec v;

    load(d, k->x, w.at, s->narrow, w.lanes);
    *d -= *(const vec *)p->mean;
    load(g, k->dy[0], w.at, s->narrow, w.lanes);
    if (how.two) {
        load(&v, k->dy[1], w.at, s->narrow, w.lanes);
        *g += v;
    }
    if (how.mask == MASK_NONE)
        return;
    if (how.mask == MASK_BITS) {
        mask_of(&passes, k->bits[s->bits + w.i]);
    } else {
        madd(&v, d, (const vec *)p->factor, (const vec *)p->shift);
        passes = ~(ivec)(v <= 0);
    }
    *g = (vec)((ivec)*g & passes);
}

INLINE void sum_one(struct lane_sums *t, const struct tr_strip *s, const struct tr_norm_lanes *p,
                    const struct tr_norm_backward *k, size_t i, size_t at, size_t lanes,
                    struct norm_gradient how)
{
    vec d, g;

    read_one(&d, &g, s, p, k, (struct vector_at){i, at, lanes}, how);
    if (k->g)
        store(&g, k->g, at, s->narrow, lanes);
    add_pair(t, i % 2, &g, &d);
}

INLINE void sums_code(const struct tr_strip *of, const struct tr_norm_lanes *p,
                      const struct tr_norm_backward *k, struct tr_norm_sums *ret, bool narrow,
                      struct norm_gradient how)
{
    const struct tr_norm_lanes lanes = *p;
    struct tr_strip s = *of;
    struct lane_sums t = {.first = {{{0}}}};
    size_t i = 0, at = s.at;

    s.narrow = narrow;
    for (; i + 2 <= s.whole; i += 2, at += 2 * s.step) {
        sum_one(&t, &s, &lanes, k, i, at, TR_LANES, how);
        sum_one(&t, &s, &lanes, k, i + 1, at + s.step, TR_LANES, how);
    }
    for (; i < s.whole + s.ragged; i++, at += s.step)
        sum_one(&t, &s, &lanes, k, i, at, i < s.whole ? TR_LANES : s.lanes, how);
    add_up(&t, ret);
}

INLINE void dx_one(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_backward *k,
                   size_t i, size_t at, size_t lanes, struct norm_gradient how)
{
    vec d, g;

    read_one(&d, &g, s, p, k, (struct vector_at){i, at, lanes}, how);
    madd(&d, &d, (const vec *)p->b, (const vec *)p->c);
    madd(&d, &g, (const vec *)p->a, &d);
    store(&d, k->dx, at, s->narrow, lanes);
}

INLINE void dx_code(const struct tr_strip *of, const struct tr_norm_lanes *p,
                    const struct tr_norm_backward *k, bool narrow, struct norm_gradient how)
{
    const struct tr_norm_lanes lanes = *p;
    struct tr_strip s = *of;
    size_t i = 0, at = s.at;

    s.narrow = narrow;
    for (; i < s.whole; i++, at += s.step)
        dx_one(&s, &lanes, k, i, at, TR_LANES, how);
    for (; i < s.whole + s.ragged; i++, at += s.step)
        dx_one(&s, &lanes, k, i, at, s.lanes, how);
}

/* Calls CODE with constants in place of the flags that choose a loop. */
#define BY_MASK(code, narrow, two, mask_of_it, ...)                                                          \
    do {                                                                                                     \
        if ((mask_of_it) == MASK_NONE)                                                                       \
            code(__VA_ARGS__, narrow, (struct norm_gradient){two, MASK_NONE});                               \
        else if ((mask_of_it) == MASK_BITS)                                                                  \
            code(__VA_ARGS__, narrow, (struct norm_gradient){two, MASK_BITS});                               \
        else                                                                                                 \
            code(__VA_ARGS__, narrow, (struct norm_gradient){two, MASK_AGAIN});                              \
    } while (0)
#define BY_FLAGS(code, s, k, ...)                                                                            \
    do {                                                                                                     \
        const enum mask kind = mask_kind(k);                                                                 \
                                                                                                             \
        if ((s)->narrow && (k)->dy[1])                                                                       \
            BY_MASK(code, true, true, kind, __VA_ARGS__);                                                    \
        else if ((s)->narrow)                                                                                \
            BY_MASK(code, true, false, kind, __VA_ARGS__);                                                   \
        else if ((k)->dy[1])                                                                                 \
            BY_MASK(code, false, true, kind, __VA_ARGS__);                                                   \
        else                                                                                                 \
            BY_MASK(code, false, false, kind, __VA_ARGS__);                                                  \
    } while (0)

static void sums(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_backward *k,
                 struct tr_norm_sums *ret)
{
    BY_FLAGS(sums_code, s, k, s, p, k, ret);
}

static void dx(const struct tr_strip *s, const struct tr_norm_lanes *p, const struct tr_norm_backward *k)
{
    BY_FLAGS(dx_code, s, k, s, p, k);
}

/* ---- GELU ---- */

INLINE void pick(vec *ret, const ivec *mask, const vec *there, const vec *elsewhere)
{
    *ret = (vec)(((ivec)*there & *mask) | ((ivec)*elsewhere & ~*mask));
}

/* a[0] + x (a[1] + x (a[2] + ...)) */
INLINE void polynomial(vec *ret, const vec *x, const float *a, int count)
{
    vec sum = (vec){0} + a[count - 1];

    for (int i = count - 2; i >= 0; i--) {
        const vec next = (vec){0} + a[i];

        madd(&sum, &sum, x, &next);
    }
    *ret = sum;
}

/* The share of a normal distribution below v: (1 + erf(z)) / 2, z = v / sqrt(2). erf as the quotient of odd and even
 * polynomials up to 4, where it is 1 in fp32; coefficients as in Eigen 3.3 (generic_fast_erf): within 4e-7, which
 * leaves the same error of GELU as PyTorch's has (1.1e-6 of values up to 7). */
INLINE void below(vec *ret, const vec *v)
{
    static const float over[] = {-1.60960333262415e-02F, -2.95459980854025e-03F, -7.34990630326855e-04F,
                                 -5.69250639462346e-05F, -2.10102402082508e-06F, 2.77068142495902e-08F,
                                 -2.72614225801306e-10F};
    static const float under[] = {-1.42647390514189e-02F, -7.37332916720468e-03F, -1.68282697438203e-03F,
                                  -2.13374055278905e-04F, -1.45660718464996e-05F};
    const vec z = *v * 0.70710678118654752F, square = z * z, one = (vec){0} + 1, none = {0};
    const ivec above = (ivec)(z >= 4), under_all = (ivec)(z <= -4);
    vec p, q, erf;

    polynomial(&p, &square, over, 7);
    polynomial(&q, &square, under, 5);
    erf = (z * p / q + 1) * 0.5F;
    pick(&erf, &above, &one, &erf);
    pick(ret, &under_all, &none, &erf);
}

/* exp(x) of x <= 0, from 2^-126 on: 2^(n + f), f from -1/2 to 1/2, by the series of 2^f. */
INLINE void exponential(vec *ret, const vec *x)
{
    static const float series[] = {1,
                                   0.69314718F,
                                   0.24022651F,
                                   0.055504109F,
                                   0.0096181291F,
                                   0.0013333558F,
                                   0.00015403530F,
                                   1.5252734e-5F};
    const float magic = 12582912; /* 1.5 * 2^23: adding it rounds to an integer */
    const vec least = (vec){0} - 126;
    vec t = *x * 1.4426950408889634F, n, f;
    const ivec low = (ivec)(t < -126);

    pick(&t, &low, &least, &t);
    n = t + magic;
    f = t - (n - magic);
    polynomial(&f, &f, series, 8);
    *ret = f * (vec)(((ivec)n << 23) + 0x3f800000);
}

INLINE void gelu_code(const struct tr_strip *s, const struct tr_gelu *g)
{
    const vec bias = *(const vec *)g->bias;
    size_t at = s->at;

    for (size_t i = 0; i < s->whole + s->ragged; i++, at += s->step) {
        const size_t lanes = i < s->whole ? TR_LANES : s->lanes;
        vec v, share;

        load(&v, g->x, at, false, lanes);
        v += bias;
        below(&share, &v);
        v *= share;
        store(&v, g->y, at, false, lanes);
    }
}

static void gelu(const struct tr_strip *s, const struct tr_gelu *g)
{
    gelu_code(s, g);
}

/* below(v) + v exp(-v^2 / 2) / sqrt(2 pi) */
INLINE void gelu_slope(vec *ret, const vec *v)
{
    const vec half_square = *v * *v * -0.5F;
    vec share, density;

    below(&share, v);
    exponential(&density, &half_square);
    density *= 0.39894228040143268F;
    madd(ret, v, &density, &share);
}

static void gelu_backward(const struct tr_strip *s, const struct tr_gelu *g, struct tr_norm_sums *sums)
{
    const vec bias = *(const vec *)g->bias;
    dvec sum[2] = {{0}, {0}};
    size_t at = s->at;

    for (size_t i = 0; i < s->whole + s->ragged; i++, at += s->step) {
        const size_t lanes = i < s->whole ? TR_LANES : s->lanes;
        vec v, slope, dy, second;
        dvec low, high;

        load(&v, g->x, at, false, lanes);
        v += bias;
        load(&dy, g->dy[0], at, false, lanes);
        if (g->dy[1]) {
            load(&second, g->dy[1], at, false, lanes);
            dy += second;
        }
        gelu_slope(&slope, &v);
        dy *= slope;
        store(&dy, g->dx, at, false, lanes);
        widen(&dy, &low, &high);
        sum[0] += low;
        sum[1] += high;
    }
    *(dvec *)sums->first += sum[0];
    *(dvec *)(sums->first + 4) += sum[1];
}

/* ---- max-pooling ---- */

/* Rows or columns of a window that are inside: its own first .. last-1. */
struct inside {
    int first, last;
};

INLINE struct inside inside_of(int out, int size, const struct tr_windows *w)
{
    const int begin = out * w->stride - w->pad;

    return (struct inside){begin < 0 ? -begin : 0, size - begin < w->kernel ? size - begin : w->kernel};
}

/* A row and a column. */
struct pixel {
    int h, w;
};

/* 8 numbers of one window; x: of the plane. */
INLINE void largest(const struct tr_windows *w, const void *x, struct pixel out, size_t from, size_t lanes,
                    vec *best, ivec *place, bool narrow)
{
    const struct inside rows = inside_of(out.h, w->h, w), columns = inside_of(out.w, w->w, w);
    int32_t first = 1;

    for (int r = rows.first; r < rows.last; r++)
        for (int s = columns.first; s < columns.last; s++) {
            const size_t pixel = (size_t)(out.h * w->stride - w->pad + r) * (size_t)w->w +
                                 (size_t)(out.w * w->stride - w->pad + s);
            const int32_t here = r * w->kernel + s;
            ivec takes;
            vec v;

            load(&v, x, pixel * w->inner + from, narrow, lanes);
            /* NOLINTNEXTLINE(misc-redundant-expression): a NaN is not equal to itself */
            takes = (ivec)(v > *best) | (ivec)(v != v) | ((ivec){0} - first);
            *best = (vec)(((ivec)v & takes) | ((ivec)*best & ~takes));
            *place = (((ivec){0} + here) & takes) | (*place & ~takes);
            first = 0;
        }
}

INLINE void maxpool_code(const struct tr_windows *w, const void *x, void *y, uint8_t *places, int oh,
                         bool narrow)
{
    for (int ow = 0; ow < w->ow; ow++) {
        const struct pixel out = {oh, ow};
        const size_t at = ((size_t)oh * (size_t)w->ow + (size_t)ow) * w->inner;

        for (size_t from = 0; from < w->inner; from += TR_LANES) {
            const size_t lanes = w->inner - from < TR_LANES ? w->inner - from : TR_LANES;
            vec best = {0};
            ivec place = {0};

            if (lanes == TR_LANES)
                largest(w, x, out, from, TR_LANES, &best, &place, narrow);
            else
                largest(w, x, out, from, lanes, &best, &place, narrow);
            store(&best, y, at + from, narrow, lanes);
            for (size_t i = 0; places && i < lanes; i++)
                places[at + from + i] = (uint8_t)place[i];
        }
    }
}

static void maxpool(const struct tr_windows *w, const void *x, void *y, uint8_t *places, int oh)
{
    if (w->narrow)
        maxpool_code(w, x, y, places, oh, true);
    else
        maxpool_code(w, x, y, places, oh, false);
}

/* Outputs first .. last-1 whose windows hold the row or column `at`. */
INLINE struct inside reach_of(int at, int outputs, const struct tr_windows *w)
{
    const int from = at + w->pad - w->kernel + 1, to = (at + w->pad) / w->stride + 1;

    return (struct inside){from > 0 ? (from + w->stride - 1) / w->stride : 0, to < outputs ? to : outputs};
}

INLINE void gather(const struct tr_windows *w, const void *const dy[2], const uint8_t *places,
                   struct pixel in, size_t from, size_t lanes, vec *sum, bool narrow)
{
    const struct inside rows = reach_of(in.h, w->oh, w), columns = reach_of(in.w, w->ow, w);

    for (int oh = rows.first; oh < rows.last; oh++)
        for (int ow = columns.first; ow < columns.last; ow++) {
            const size_t at = ((size_t)oh * (size_t)w->ow + (size_t)ow) * w->inner + from;
            const int32_t here =
                (in.h + w->pad - oh * w->stride) * w->kernel + in.w + w->pad - ow * w->stride;
            uint8_t bytes[TR_LANES] = {0};
            ivec place;
            vec v, second;

            load(&v, dy[0], at, narrow, lanes);
            if (dy[1]) {
                load(&second, dy[1], at, narrow, lanes);
                v += second;
            }
            memcpy(bytes, places + at, lanes);
            for (size_t i = 0; i < TR_LANES; i++)
                place[i] = bytes[i];
            *sum += (vec)((ivec)v & (place == here));
        }
}

INLINE void maxpool_backward_code(const struct tr_windows *w, const void *const dy[2], const uint8_t *places,
                                  void *dx, int h, bool narrow)
{
    for (int at_w = 0; at_w < w->w; at_w++)
        for (size_t from = 0; from < w->inner; from += TR_LANES) {
            const size_t lanes = w->inner - from < TR_LANES ? w->inner - from : TR_LANES;
            vec sum = {0};

            if (lanes == TR_LANES)
                gather(w, dy, places, (struct pixel){h, at_w}, from, TR_LANES, &sum, narrow);
            else
                gather(w, dy, places, (struct pixel){h, at_w}, from, lanes, &sum, narrow);
            store(&sum, dx, ((size_t)h * (size_t)w->w + (size_t)at_w) * w->inner + from, narrow, lanes);
        }
}

static void maxpool_backward(const struct tr_windows *w, const void *const dy[2], const uint8_t *places,
                             void *dx, int h)
{
    if (w->narrow)
        maxpool_backward_code(w, dy, places, dx, h, true);
    else
        maxpool_backward_code(w, dy, places, dx, h, false);
}

#define VECTOR_LOOPS                                                                                         \
    {                                                                                                        \
        .moments = moments, .apply = apply, .sums = sums, .dx = dx, .maxpool = maxpool,                      \
        .maxpool_backward = maxpool_backward, .gelu = gelu, .gelu_backward = gelu_backward                   \
    }

#endif
