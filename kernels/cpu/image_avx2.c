/* The image kernels for AVX2, equal to the reference in every bit.
 *
 * A weight has 23 bits, too many for 16-bit multiplies, and 32-bit multiplies are slow. So each weight is
 * split as high * 2^14 + low, and both halves go through vpmaddwd, which multiplies sixteen 16-bit pairs and
 * adds each two: exact, two taps at once. No sum overflows, because the weights of one output are >= 0 and
 * sum to about 2^22.
 *
 * Horizontal pass: four rows side by side, one output pixel at a time; a byte shuffle brings the same channel
 * of two neighbouring source pixels together. Vertical pass: 32 bytes of a row at a time; two source rows are
 * interleaved. Not here: colour conversion and mirroring, which take too small a share of the time. */
#if defined(__x86_64__)

#include "kernels/image.h"
#include "kernels/image_versions.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

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

AVX2_INLINE struct sums add(struct sums a, struct sums b)
{
    return (struct sums){_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}

/* Rounded to 8 bits, kept in 32. */
AVX2_INLINE __m256i narrow(struct sums s)
{
    __m256i half = _mm256_set1_epi32(1 << (IMK_WEIGHT_BITS - 1));
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(s.high, IMK_LOW_BITS), s.low);

    return _mm256_srai_epi32(_mm256_add_epi32(sum, half), IMK_WEIGHT_BITS);
}

AVX2_INLINE __m256i load_two(const unsigned char *low_lane, const unsigned char *high_lane)
{
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)low_lane);

    return _mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                   _mm_loadu_si128((const __m128i *)(const void *)high_lane), 1);
}

static inline void store_four_bytes(unsigned char *dst, int bytes)
{
    memcpy(dst, &bytes, sizeof bytes);
}

/* Four rows: 0 and 1 in the lanes of the first, 2 and 3 in those of the second. */
struct four_rows {
    struct sums rows01, rows23;
};

/* One output pixel of four rows, from up to four source pixels. n is at least 1. */
AVX2_INLINE struct four_rows four_taps(const unsigned char *const src[4], size_t from, const uint32_t *halves,
                                       uint32_t n)
{
    /* Bytes of four RGB pixels to 16-bit pairs by channel: taps 0 and 1, taps 2 and 3. */
    const __m256i first_pair =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i second_pair = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    __m256i rows01 = load_two(src[0] + from, src[1] + from);
    __m256i rows23 = load_two(src[2] + from, src[3] + from);
    struct four_rows s = {multiply(_mm256_shuffle_epi8(rows01, first_pair), halves),
                          multiply(_mm256_shuffle_epi8(rows23, first_pair), halves)};

    if (n > 2) {
        s.rows01 = add(s.rows01, multiply(_mm256_shuffle_epi8(rows01, second_pair), halves + 2));
        s.rows23 = add(s.rows23, multiply(_mm256_shuffle_epi8(rows23, second_pair), halves + 2));
    }
    return s;
}

/* One output pixel of four rows. Writes one byte too many in each row, which the next pixel overwrites. */
AVX2_INLINE void resize_pixel(unsigned char *const dst[4], const unsigned char *const src[4], size_t from,
                              size_t to, const uint32_t *halves, uint32_t n)
{
    struct four_rows s = four_taps(src, from, halves, n);

    for (uint32_t t = 4; t < n; t += 4) {
        struct four_rows more = four_taps(src, from + (size_t)3 * t, halves + t, n - t);

        s.rows01 = add(s.rows01, more.rows01);
        s.rows23 = add(s.rows23, more.rows23);
    }

    __m256i words = _mm256_packs_epi32(narrow(s.rows01), narrow(s.rows23)); /* rows 0 2 | 1 3 */
    __m256i bytes = _mm256_packus_epi16(words, words);
    __m128i rows02 = _mm256_castsi256_si128(bytes), rows13 = _mm256_extracti128_si256(bytes, 1);

    store_four_bytes(dst[0] + to, _mm_cvtsi128_si32(rows02));
    store_four_bytes(dst[1] + to, _mm_cvtsi128_si32(rows13));
    store_four_bytes(dst[2] + to, _mm_extract_epi32(rows02, 1));
    store_four_bytes(dst[3] + to, _mm_extract_epi32(rows13, 1));
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
        for (uint32_t i = 0; i < taps->axis.count; i++)
            resize_pixel(to, from, (size_t)3 * taps->start[i], (size_t)3 * i,
                         taps->halves + (size_t)i * taps->stride, taps->n[i]);
    }
}

/* 32 bytes as four vectors of eight values; the unpacks work within 128-bit lanes, and so do the packs that
 * undo them. */
struct bytes_32 {
    struct sums quarter[4];
};

/* 32 bytes from each of two source rows, times their weights. */
AVX2_INLINE struct bytes_32 two_taps(const unsigned char *row, const unsigned char *next,
                                     const uint32_t *halves)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)row);
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)next);
    __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);

    return (struct bytes_32){{multiply(_mm256_unpacklo_epi8(low, zero), halves),
                              multiply(_mm256_unpackhi_epi8(low, zero), halves),
                              multiply(_mm256_unpacklo_epi8(high, zero), halves),
                              multiply(_mm256_unpackhi_epi8(high, zero), halves)}};
}

/* 32 bytes of one output row; src is at their column in the first source row. n is at least 1. */
AVX2_INLINE __m256i resize_32(const unsigned char *src, size_t src_stride, const uint32_t *halves, uint32_t n)
{
    /* With an odd number of taps the last weight is 0, and any row does. */
    struct bytes_32 s = two_taps(src, n > 1 ? src + src_stride : src, halves);

    for (uint32_t t = 2; t < n; t += 2) {
        const unsigned char *row = src + src_stride * t;
        struct bytes_32 more = two_taps(row, t + 1 < n ? row + src_stride : row, halves + t);

        for (int q = 0; q < 4; q++)
            s.quarter[q] = add(s.quarter[q], more.quarter[q]);
    }
    return _mm256_packus_epi16(_mm256_packs_epi32(narrow(s.quarter[0]), narrow(s.quarter[1])),
                               _mm256_packs_epi32(narrow(s.quarter[2]), narrow(s.quarter[3])));
}

AVX2 static void resize_columns(unsigned char *dst, size_t dst_stride, const unsigned char *src,
                                size_t src_stride, size_t row_bytes, const struct imk_taps *taps)
{
    for (uint32_t i = 0; i < taps->axis.count; i++, dst += dst_stride) {
        const uint32_t *halves = taps->halves + (size_t)i * taps->stride;
        const unsigned char *from = src + src_stride * taps->start[i];
        size_t x = 0;

        for (; x + 32 <= row_bytes; x += 32)
            _mm256_storeu_si256((__m256i *)(void *)(dst + x),
                                resize_32(from + x, src_stride, halves, taps->n[i]));
        if (x < row_bytes) {
            unsigned char last[32];

            _mm256_storeu_si256((__m256i *)(void *)last, resize_32(from + x, src_stride, halves, taps->n[i]));
            memcpy(dst + x, last, row_bytes - x);
        }
    }
}

void imk_image_ops_avx2(struct imk_image_ops *ops)
{
    ops->name = "avx2";
    ops->resize_rows = resize_rows;
    ops->resize_columns = resize_columns;
}

#endif
