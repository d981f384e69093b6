/* The resize for AVX-512 with VNNI, equal to the reference in every bit.
 *
 * vpdpbusd multiplies four bytes of pixels with four signed bytes and adds the products to 32 bits. So each weight is
 * split into three digits of base 256, the lower two from -128 to 127: digits, the parts of this version's tables, are
 * four words for each four weights: their lowest digits (of the first weight in bits 0-7), their next, their highest, 0. The
 * sums of the digits stay exact in 32 bits (255 * 128 * 65,500 / 4 in each), and so does what they come to.
 *
 * Horizontal pass: a row a lane, one output pixel of four rows at a time; a byte shuffle brings the same channel of four
 * neighbouring source pixels together. Vertical pass: 64 bytes of a row at a time; four source rows are interleaved. The
 * weights themselves are made by the AVX2 version. */
#if defined(__x86_64__)

#include "kernels/image.h"

#include <immintrin.h>

#include "kernels/image_versions.h"

#define TARGET "avx512f,avx512bw,avx512vl,avx512vnni,avx512vbmi"
#define AVX512 __attribute__((target(TARGET)))
#define AVX512_INLINE __attribute__((target(TARGET), always_inline)) static inline

/* With 0x8080 added and these two bits turned, the bytes of a weight are its digits. */
AVX512 static void split(uint32_t *digits, const int32_t *weight, uint32_t n)
{
    const __m128i turn = _mm_set1_epi32(0x8080);
    const __m128i places = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, -1, -1, -1, -1);

    for (uint32_t t = 0; t < n; t += 4) {
        __m128i w = _mm_loadu_si128((const __m128i *)(const void *)(weight + t));

        w = _mm_xor_si128(_mm_add_epi32(w, turn), turn);
        _mm_storeu_si128((__m128i *)(void *)(digits + t), _mm_shuffle_epi8(w, places));
    }
}

/* Sixteen sums of each digit's products; half a unit of the result is in the lowest. */
struct sums {
    __m512i digit[3];
};

AVX512_INLINE struct sums sums_new(void)
{
    return (struct sums){
        {_mm512_set1_epi32(1 << (IMK_WEIGHT_BITS - 1)), _mm512_setzero_si512(), _mm512_setzero_si512()}};
}

/* Adds the products of four taps in each 32 bits. */
AVX512_INLINE void add_four_taps(struct sums *s, __m512i pixels, const uint32_t *digits)
{
    for (int i = 0; i < 3; i++)
        s->digit[i] = _mm512_dpbusd_epi32(s->digit[i], pixels, _mm512_set1_epi32((int)digits[i]));
}

/* Rounded, in 32 bits: 255, or 256 where the weights' sum is above 2^22 by their rounding, at most. */
AVX512_INLINE __m512i narrow(const struct sums *s)
{
    __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(s->digit[2], 8), s->digit[1]);

    return _mm512_srli_epi32(_mm512_add_epi32(_mm512_slli_epi32(upper, 8), s->digit[0]), IMK_WEIGHT_BITS);
}

/* To bytes, lane by lane: a's four, b's, c's, d's. */
AVX512_INLINE __m512i pack(__m512i a, __m512i b, __m512i c, __m512i d)
{
    return _mm512_packus_epi16(_mm512_packus_epi32(a, b), _mm512_packus_epi32(c, d));
}

/* ---- Horizontal pass ---- */

enum { GROUP = 5, SPAN = 64, QUADS_MAX = 3 };

/* Up to five neighbouring output pixels, of which the first four source pixels of each lie in the SPAN bytes from
 * `from` on. */
struct group {
    uint32_t first, count;
    uint32_t from;  /* source pixel */
    uint32_t bytes; /* of four taps of all */
    __m512i places; /* of the bytes that go into each 32 bits: four taps of a channel */
};

static uint32_t bytes_from(const uint32_t *start, uint32_t count)
{
    uint32_t a = start[0], b = start[count - 1];

    return 3 * (a < b ? b - a : a - b) + 3 * 4;
}

AVX512_INLINE struct group group_at(const struct imk_taps *taps, uint32_t first)
{
    const uint32_t *start = taps->start + first;
    const __m512i lane_pixel = _mm512_setr_epi32(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 4);
    const __m512i channel = _mm512_setr_epi32(0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 2);
    struct group g = {.first = first, .count = taps->axis.count - first};
    __m512i pixels;

    g.count = g.count < GROUP ? g.count : GROUP;
    while ((g.bytes = bytes_from(start, g.count)) > SPAN)
        g.count--;
    g.from = start[0] < start[g.count - 1] ? start[0] : start[g.count - 1];
    pixels = _mm512_maskz_loadu_epi32((__mmask16)((1u << g.count) - 1), start);
    pixels = _mm512_sub_epi32(_mm512_permutexvar_epi32(lane_pixel, pixels), _mm512_set1_epi32((int)g.from));
    g.places = _mm512_add_epi32(channel, _mm512_mullo_epi32(pixels, _mm512_set1_epi32(3)));
    g.places = _mm512_add_epi32(_mm512_mullo_epi32(g.places, _mm512_set1_epi32(0x01010101)),
                                _mm512_set1_epi32(0x09060300));
    return g;
}

/* The digits of four taps of each pixel of a group, in the 32 bits of each of its channels; and which of the source's bytes
 * are read for them: not those behind the last pixel, where the group's last taps may lie. */
struct quad {
    __m512i digit[3];
    __mmask64 wanted;
};

static __mmask64 wanted_at(const struct imk_taps *taps, const struct group *g, uint32_t t)
{
    uint32_t columns = taps->end - taps->begin, first = g->from + t;
    uint32_t left = first < columns ? 3 * (columns - first) : 0, bytes = g->bytes < left ? g->bytes : left;

    return bytes > 0 ? UINT64_MAX >> (64 - bytes) : 0;
}

AVX512_INLINE struct quad quad_at(const struct imk_taps *taps, const struct group *g, uint32_t t)
{
    const __m512i lane = _mm512_setr_epi32(0, 0, 0, 4, 4, 4, 8, 8, 8, 12, 12, 12, 16, 16, 16, 16);
    __m128i digits[GROUP];
    __m512i four, last;
    struct quad q;

    for (uint32_t k = 0; k < GROUP; k++) {
        uint32_t at = g->first + (k < g->count ? k : g->count - 1);

        digits[k] =
            _mm_loadu_si128((const __m128i *)(const void *)(taps->parts + (size_t)at * taps->stride + t));
    }
    four = _mm512_inserti32x4(_mm512_castsi128_si512(digits[0]), digits[1], 1);
    four = _mm512_inserti32x4(_mm512_inserti32x4(four, digits[2], 2), digits[3], 3);
    last = _mm512_castsi128_si512(digits[4]);
    for (int d = 0; d < 3; d++)
        q.digit[d] = _mm512_permutex2var_epi32(four, _mm512_add_epi32(lane, _mm512_set1_epi32(d)), last);
    q.wanted = wanted_at(taps, g, t);
    return q;
}

/* Adds the products of four source pixels from `at` on for each pixel of the group. */
AVX512_INLINE void add_quad(struct sums *s, const struct quad *q, const struct group *g,
                            const unsigned char *at)
{
    __m512i pixels = _mm512_permutexvar_epi8(g->places, _mm512_maskz_loadu_epi8(q->wanted, at));

    for (int d = 0; d < 3; d++)
        s->digit[d] = _mm512_dpbusd_epi32(s->digit[d], pixels, q->digit[d]);
}

/* Writes the pixels of a group, and as many bytes behind them as make up 16. */
AVX512_INLINE void store_group(unsigned char *dst, const struct sums *s)
{
    _mm_storeu_si128((__m128i *)(void *)dst, _mm512_cvtusepi32_epi8(narrow(s)));
}

struct rows {
    unsigned char *dst;
    size_t dst_stride;
    const unsigned char *src;
    size_t src_stride;
    uint32_t n;
};

/* All rows of a group; no pixel has more than 4 * quads taps. */
AVX512_INLINE void resize_group(const struct rows *rows, const struct imk_taps *taps, const struct group *g,
                                uint32_t quads)
{
    const unsigned char *src = rows->src + (size_t)3 * g->from;
    unsigned char *dst = rows->dst + (size_t)3 * g->first;
    struct quad quad[QUADS_MAX];

    for (uint32_t q = 0; q < quads; q++)
        quad[q] = quad_at(taps, g, 4 * q);
    for (uint32_t y = 0; y < rows->n; y++, src += rows->src_stride, dst += rows->dst_stride) {
        struct sums s = sums_new();

        for (uint32_t q = 0; q < quads; q++)
            add_quad(&s, &quad[q], g, src + (size_t)12 * q);
        store_group(dst, &s);
    }
}

/* The same for any number of taps. */
AVX512_INLINE void resize_wide_group(const struct rows *rows, const struct imk_taps *taps,
                                     const struct group *g)
{
    for (uint32_t y = 0; y < rows->n; y++) {
        const unsigned char *src = rows->src + y * rows->src_stride + (size_t)3 * g->from;
        struct sums s = sums_new();

        for (uint32_t t = 0; t < taps->longest; t += 4) {
            struct quad q = quad_at(taps, g, t);

            add_quad(&s, &q, g, src + (size_t)3 * t);
        }
        store_group(rows->dst + y * rows->dst_stride + (size_t)3 * g->first, &s);
    }
}

AVX512 static void resize_rows(unsigned char *dst, size_t dst_stride, const unsigned char *src,
                               size_t src_stride, uint32_t n, const struct imk_taps *taps)
{
    const struct rows rows = {dst, dst_stride, src, src_stride, n};
    struct group g;

    for (uint32_t i = 0; i < taps->axis.count; i += g.count) {
        g = group_at(taps, i);
        /* The usual numbers of taps have loops of their own, with the digits in registers. */
        if (taps->longest <= 4)
            resize_group(&rows, taps, &g, 1);
        else if (taps->longest <= 8)
            resize_group(&rows, taps, &g, 2);
        else if (taps->longest <= 12)
            resize_group(&rows, taps, &g, 3);
        else
            resize_wide_group(&rows, taps, &g);
    }
}

/* ---- Vertical pass ---- */

/* The 64 bytes that are wanted of one output row and of its source rows. */
struct columns {
    const unsigned char *src; /* in the first source row */
    size_t src_stride;
    __mmask64 wanted;
};

/* Of two source rows, bytes in turns. A row that is not there has the weight 0. */
struct pair {
    __m512i low, high;
};

AVX512_INLINE struct pair interleave(const struct columns *c, uint32_t t, uint32_t n)
{
    const unsigned char *row = c->src + c->src_stride * t;
    __m512i a, b;

    if (t >= n)
        return (struct pair){_mm512_setzero_si512(), _mm512_setzero_si512()};
    a = _mm512_maskz_loadu_epi8(c->wanted, row);
    b = t + 1 < n ? _mm512_maskz_loadu_epi8(c->wanted, row + c->src_stride) : _mm512_setzero_si512();
    return (struct pair){_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)};
}

/* n is at least 1. */
AVX512_INLINE __m512i resize_64(const struct columns *c, const uint32_t *digits, uint32_t n)
{
    struct sums s[4] = {sums_new(), sums_new(), sums_new(), sums_new()};

    for (uint32_t t = 0; t < n; t += 4) {
        struct pair first = interleave(c, t, n), second = interleave(c, t + 2, n);

        add_four_taps(&s[0], _mm512_unpacklo_epi16(first.low, second.low), digits + t);
        add_four_taps(&s[1], _mm512_unpackhi_epi16(first.low, second.low), digits + t);
        add_four_taps(&s[2], _mm512_unpacklo_epi16(first.high, second.high), digits + t);
        add_four_taps(&s[3], _mm512_unpackhi_epi16(first.high, second.high), digits + t);
    }
    return pack(narrow(&s[0]), narrow(&s[1]), narrow(&s[2]), narrow(&s[3]));
}

AVX512_INLINE void resize_row(unsigned char *dst, const unsigned char *src, size_t src_stride,
                              size_t row_bytes, const uint32_t *digits, uint32_t n)
{
    for (size_t x = 0; x < row_bytes; x += 64) {
        size_t left = row_bytes - x;
        struct columns c = {src + x, src_stride, left >= 64 ? UINT64_MAX : (UINT64_C(1) << left) - 1};

        _mm512_mask_storeu_epi8(dst + x, c.wanted, resize_64(&c, digits, n));
    }
}

AVX512 static void resize_columns(unsigned char *dst, size_t dst_stride, const unsigned char *src,
                                  size_t src_stride, size_t row_bytes, const struct imk_taps *taps)
{
    for (uint32_t i = 0; i < taps->axis.count; i++, dst += dst_stride) {
        const uint32_t *digits = taps->parts + (size_t)i * taps->stride;
        const unsigned char *from = src + src_stride * taps->start[i];

        /* The usual numbers of taps have loops of their own, without loops inside. */
        if (taps->n[i] == 2)
            resize_row(dst, from, src_stride, row_bytes, digits, 2);
        else if (taps->n[i] == 3)
            resize_row(dst, from, src_stride, row_bytes, digits, 3);
        else if (taps->n[i] == 4)
            resize_row(dst, from, src_stride, row_bytes, digits, 4);
        else
            resize_row(dst, from, src_stride, row_bytes, digits, taps->n[i]);
    }
}

void imk_image_ops_avx512(struct imk_image_ops *ops)
{
    ops->name = "avx512";
    ops->split = split;
    ops->resize_rows = resize_rows;
    ops->resize_columns = resize_columns;
}

#endif
