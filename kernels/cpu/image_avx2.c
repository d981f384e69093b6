/* The image kernels for AVX2, equal to the reference in every bit.
 *
 * A weight has 23 bits, too many for 16-bit multiplies, and 32-bit multiplies are slow. So each weight is
 * split as high * 2^14 + low (halves, the parts of this version's tables: of each two weights the low ones, the first in
 * bits 0-15, then the high ones), and both halves go through vpmaddwd, which multiplies sixteen 16-bit pairs and
 * adds each two: exact, two taps at once. No sum overflows, because the weights of one output are >= 0 and
 * sum to about 2^22.
 *
 * Horizontal pass: four rows side by side, one output pixel at a time; a byte shuffle brings the same channel
 * of two neighbouring source pixels together. Vertical pass: 32 bytes of a row at a time; two source rows are
 * interleaved. Not here: colour conversion, which takes too small a share of the time. */
#if defined(__x86_64__)

#include "kernels/image.h"

#include <immintrin.h>
#include <string.h>

#include "kernels/image_versions.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

enum { LOW_BITS = 14 };

/* ---- Weights: doubles, in the reference's order of operations ---- */

/* The filter at positions t .. t + 3 of a window, 0 after its end. */
AVX2_INLINE __m256d filter_at(const struct imk_window *w, uint32_t t, double support_inverse)
{
    __m256d at = _mm256_add_pd(_mm256_set1_pd(t), _mm256_setr_pd(0, 1, 2, 3));
    __m256d offset = _mm256_sub_pd(_mm256_add_pd(at, _mm256_set1_pd(w->start)), _mm256_set1_pd(w->centre));
    __m256d x = _mm256_mul_pd(_mm256_add_pd(offset, _mm256_set1_pd(0.5)), _mm256_set1_pd(support_inverse));
    __m256d value = _mm256_sub_pd(_mm256_set1_pd(1), _mm256_andnot_pd(_mm256_set1_pd(-0.0), x));

    value = _mm256_max_pd(value, _mm256_setzero_pd());
    return _mm256_and_pd(value, _mm256_cmp_pd(at, _mm256_set1_pd(w->n), _CMP_LT_OQ));
}

/* sum + x[0] + x[1] + x[2] + x[3], one after the other. */
AVX2_INLINE double add_four(double sum, __m256d x)
{
    double lane[4];

    _mm256_storeu_pd(lane, x);
    return sum + lane[0] + lane[1] + lane[2] + lane[3];
}

/* Four weights from their shares of 1. */
AVX2_INLINE void put_weights(int32_t *weight, __m256d share)
{
    __m256d scaled = _mm256_mul_pd(share, _mm256_set1_pd(1 << IMK_WEIGHT_BITS));

    _mm_storeu_si128((__m128i *)(void *)weight,
                     _mm256_cvttpd_epi32(_mm256_add_pd(_mm256_set1_pd(0.5), scaled)));
}

AVX2 static void weigh(int32_t *weight, uint32_t stride, const struct imk_window *w, double support_inverse)
{
    __m256d first = filter_at(w, 0, support_inverse);
    double sum = add_four(0, first);

    for (uint32_t t = 4; t < stride; t += 4)
        sum = add_four(sum, filter_at(w, t, support_inverse));
    put_weights(weight, _mm256_div_pd(first, _mm256_set1_pd(sum)));
    for (uint32_t t = 4; t < stride; t += 4)
        put_weights(weight + t, _mm256_div_pd(filter_at(w, t, support_inverse), _mm256_set1_pd(sum)));
}

AVX2 static void split(uint32_t *halves, const int32_t *weight, uint32_t n)
{
    const __m128i mask = _mm_set1_epi32((1 << LOW_BITS) - 1);

    for (uint32_t t = 0; t < n; t += 4) {
        __m128i w = _mm_loadu_si128((const __m128i *)(const void *)(weight + t));
        __m128i both = _mm_packus_epi32(_mm_and_si128(w, mask), _mm_srli_epi32(w, LOW_BITS));

        _mm_storeu_si128((__m128i *)(void *)(halves + t), _mm_shuffle_epi32(both, _MM_SHUFFLE(3, 1, 2, 0)));
    }
}

/* ---- Both passes ---- */

/* Eight 32-bit sums, in two parts: high * 2^14 + low. */
struct sums {
    __m256i low, high;
};

/* Two 16-bit halves of weights, in every 32 bits. */
AVX2_INLINE __m256i everywhere(uint32_t halves)
{
    return _mm256_set1_epi32((int)halves);
}

/* Multiplies 16-bit pairs of pixels with a pair of weights. */
AVX2_INLINE struct sums multiply(__m256i pairs, const uint32_t *halves)
{
    return (struct sums){_mm256_madd_epi16(pairs, everywhere(halves[0])),
                         _mm256_madd_epi16(pairs, everywhere(halves[1]))};
}

AVX2_INLINE struct sums image_avx2_add(struct sums a, struct sums b)
{
    return (struct sums){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

/* Rounded to 8 bits, kept in 16: of eight values in each. With the rounding term added to the low parts,
 * their upper bits are all that the high parts need. */
AVX2_INLINE __m256i narrow(struct sums a, struct sums b)
{
    const __m256i half = _mm256_set1_epi32(1 << (IMK_WEIGHT_BITS - 1));
    __m256i low_a = _mm256_srai_epi32(_mm256_add_epi32(a.low, half), LOW_BITS);
    __m256i low_b = _mm256_srai_epi32(_mm256_add_epi32(b.low, half), LOW_BITS);
    __m256i sums = _mm256_packus_epi32(_mm256_add_epi32(a.high, low_a), _mm256_add_epi32(b.high, low_b));

    return _mm256_srli_epi16(sums, IMK_WEIGHT_BITS - LOW_BITS);
}

AVX2_INLINE __m256i load_two(const unsigned char *low_lane, const unsigned char *high_lane)
{
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)low_lane);

    return _mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                   _mm_loadu_si128((const __m128i *)(const void *)high_lane), 1);
}

/* Four rows: 0 and 1 in the lanes of the first, 2 and 3 in those of the second. */
struct four_rows {
    struct sums rows01, rows23;
};

/* Adds the products of up to four source pixels of four rows to s, or sets it to them if is_first. n: at
 * least 1; more than 4 counts as 4. */
AVX2_INLINE void four_taps(struct four_rows *s, bool is_first, const unsigned char *const src[4], size_t from,
                           const uint32_t *halves, uint32_t n)
{
    /* Bytes of four RGB pixels to 16-bit pairs by channel: taps 0 and 1, taps 2 and 3. */
    const __m256i first_pair =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i second_pair = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    __m256i rows01 = load_two(src[0] + from, src[1] + from);
    __m256i rows23 = load_two(src[2] + from, src[3] + from);
    struct sums first01 = multiply(_mm256_shuffle_epi8(rows01, first_pair), halves);
    struct sums first23 = multiply(_mm256_shuffle_epi8(rows23, first_pair), halves);

    s->rows01 = is_first ? first01 : image_avx2_add(s->rows01, first01);
    s->rows23 = is_first ? first23 : image_avx2_add(s->rows23, first23);
    if (n > 2) {
        s->rows01 = image_avx2_add(s->rows01, multiply(_mm256_shuffle_epi8(rows01, second_pair), halves + 2));
        s->rows23 = image_avx2_add(s->rows23, multiply(_mm256_shuffle_epi8(rows23, second_pair), halves + 2));
    }
}

/* One output pixel of four rows, in 16 bits: rows 0 and 2 in one lane, 1 and 3 in the other. */
AVX2_INLINE __m256i resize_pixel(const unsigned char *const src[4], size_t from, const uint32_t *halves,
                                 uint32_t n)
{
    struct four_rows s;

    four_taps(&s, true, src, from, halves, n);
    for (uint32_t t = 4; t < n; t += 4)
        four_taps(&s, false, src, from + (size_t)3 * t, halves + t, n - t);
    return narrow(s.rows01, s.rows23);
}

/* The even or the odd ones of the 32-bit groups of two, lane by lane. */
AVX2_INLINE __m256i even(__m256i a, __m256i b)
{
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88));
}

AVX2_INLINE __m256i odd(__m256i a, __m256i b)
{
    return _mm256_castps_si256(_mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd));
}

/* Writes four pixels, and four bytes too many, to each of two rows. pixels: 4 bytes each, a row a lane. */
AVX2_INLINE void store_pixels(unsigned char *low_lane, unsigned char *high_lane, __m256i pixels)
{
    const __m256i pack =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    __m256i bytes = _mm256_shuffle_epi8(pixels, pack);

    _mm_storeu_si128((__m128i *)(void *)low_lane, _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i *)(void *)high_lane, _mm256_extracti128_si256(bytes, 1));
}

/* Four rows, four pixels at a time; the last ones are done more than once to make up four. n: as many taps as
 * any pixel has, 0: as many as each has. Weights after a pixel's own taps are 0. */
AVX2_INLINE void resize_four_rows(unsigned char *const dst[4], const unsigned char *const src[4],
                                  const struct imk_taps *taps, uint32_t n)
{
    const uint32_t last = taps->axis.count - 1;

    for (uint32_t i = 0; i <= last; i += 4) {
        __m256i words[4], p01, p23;

        for (uint32_t k = 0; k < 4; k++) {
            uint32_t at = i + k < last ? i + k : last;

            words[k] = resize_pixel(src, (size_t)3 * taps->start[at], taps->parts + (size_t)at * taps->stride,
                                    n > 0 ? n : taps->n[at]);
        }
        p01 = _mm256_packus_epi16(words[0], words[1]);
        p23 = _mm256_packus_epi16(words[2], words[3]);
        store_pixels(dst[0] + (size_t)3 * i, dst[1] + (size_t)3 * i, even(p01, p23));
        store_pixels(dst[2] + (size_t)3 * i, dst[3] + (size_t)3 * i, odd(p01, p23));
    }
}

AVX2 static void resize_rows(unsigned char *dst, size_t dst_stride, const unsigned char *src,
                             size_t src_stride, uint32_t rows, const struct imk_taps *taps)
{
    for (uint32_t y = 0; y < rows; y += 4) {
        unsigned char *to[4];
        const unsigned char *from[4];

        /* A last block of fewer rows does its last row more than once. */
        for (uint32_t r = 0; r < 4; r++) {
            uint32_t row = y + r < rows ? y + r : rows - 1;

            to[r] = dst + row * dst_stride;
            from[r] = src + row * src_stride;
        }
        if (taps->longest <= 2)
            resize_four_rows(to, from, taps, 2);
        else if (taps->longest <= 4)
            resize_four_rows(to, from, taps, 4);
        else
            resize_four_rows(to, from, taps, 0);
    }
}

/* The low or the high halves of the lanes of 32 bytes of an output row, in 16 bits; src is at their column in
 * the first source row. n is at least 1. */
AVX2_INLINE __m256i resize_16(const unsigned char *src, size_t src_stride, const uint32_t *halves, uint32_t n,
                              bool is_high)
{
    const __m256i zero = _mm256_setzero_si256();
    struct sums low, high;

    for (uint32_t t = 0; t < n; t += 2) {
        /* With an odd number of taps the last weight is 0, and any row does. */
        const unsigned char *row = src + src_stride * t, *next = t + 1 < n ? row + src_stride : row;
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)row);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)next);
        __m256i pairs = is_high ? _mm256_unpackhi_epi8(a, b) : _mm256_unpacklo_epi8(a, b);
        struct sums more_low = multiply(_mm256_unpacklo_epi8(pairs, zero), halves + t);
        struct sums more_high = multiply(_mm256_unpackhi_epi8(pairs, zero), halves + t);

        low = t == 0 ? more_low : image_avx2_add(low, more_low);
        high = t == 0 ? more_high : image_avx2_add(high, more_high);
    }
    return narrow(low, high);
}

AVX2_INLINE __m256i resize_32(const unsigned char *src, size_t src_stride, const uint32_t *halves, uint32_t n)
{
    return _mm256_packus_epi16(resize_16(src, src_stride, halves, n, false),
                               resize_16(src, src_stride, halves, n, true));
}

AVX2_INLINE void resize_row(unsigned char *dst, const unsigned char *src, size_t src_stride, size_t row_bytes,
                            const uint32_t *halves, uint32_t n)
{
    size_t x = 0;

    for (; x + 32 <= row_bytes; x += 32)
        _mm256_storeu_si256((__m256i *)(void *)(dst + x), resize_32(src + x, src_stride, halves, n));
    if (x < row_bytes) {
        unsigned char last[32];

        _mm256_storeu_si256((__m256i *)(void *)last, resize_32(src + x, src_stride, halves, n));
        memcpy(dst + x, last, row_bytes - x);
    }
}

AVX2 static void resize_columns(unsigned char *dst, size_t dst_stride, const unsigned char *src,
                                size_t src_stride, size_t row_bytes, const struct imk_taps *taps)
{
    for (uint32_t i = 0; i < taps->axis.count; i++, dst += dst_stride) {
        const uint32_t *halves = taps->parts + (size_t)i * taps->stride;
        const unsigned char *from = src + src_stride * taps->start[i];

        /* The usual numbers of taps have loops of their own, without loops inside. */
        if (taps->n[i] == 2)
            resize_row(dst, from, src_stride, row_bytes, halves, 2);
        else if (taps->n[i] == 3)
            resize_row(dst, from, src_stride, row_bytes, halves, 3);
        else if (taps->n[i] == 4)
            resize_row(dst, from, src_stride, row_bytes, halves, 4);
        else
            resize_row(dst, from, src_stride, row_bytes, halves, taps->n[i]);
    }
}

/* Five pixels at a time, which are 15 of 16 bytes: of what is loaded the last byte is not used, of what is
 * stored the first is overwritten next. So there must be a sixth pixel. */
AVX2 static void mirror_rgb(unsigned char *dst, const unsigned char *src, size_t n)
{
    const __m128i places = _mm_setr_epi8(-1, 12, 13, 14, 9, 10, 11, 6, 7, 8, 3, 4, 5, 0, 1, 2);

    for (; n > 5; n -= 5, src += 15) {
        __m128i pixels = _mm_loadu_si128((const __m128i *)(const void *)src);

        _mm_storeu_si128((__m128i *)(void *)(dst + 3 * (n - 5) - 1), _mm_shuffle_epi8(pixels, places));
    }
    for (; n > 0; n--, src += 3)
        memcpy(dst + 3 * (n - 1), src, 3);
}

void imk_image_ops_avx2(struct imk_image_ops *ops)
{
    ops->name = "avx2";
    ops->weigh = weigh;
    ops->split = split;
    ops->resize_rows = resize_rows;
    ops->resize_columns = resize_columns;
    ops->mirror_rgb = mirror_rgb;
    ops->idct = imk_idct_avx2;
}

#endif
