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

#define LOW_BITS 14
#define LOW_MASK ((1 << LOW_BITS) - 1)

/* (high << 14) + low, rounded to 8 bits (kept in 32). */
AVX2 static inline __m256i join(__m256i high, __m256i low)
{
    __m256i half = _mm256_set1_epi32(1 << (IMK_WEIGHT_BITS - 1));
    __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, LOW_BITS), low);

    return _mm256_srai_epi32(_mm256_add_epi32(sum, half), IMK_WEIGHT_BITS);
}

/* Four 32-bit halves of weights as 16 bits, in both lanes: 0 1 2 3 0 1 2 3. */
AVX2 static inline __m256i spread(__m128i halves)
{
    return _mm256_broadcastsi128_si256(_mm_packus_epi32(halves, halves));
}

AVX2 static inline __m256i load_two(const unsigned char *low_lane, const unsigned char *high_lane)
{
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)low_lane);

    return _mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                   _mm_loadu_si128((const __m128i *)(const void *)high_lane), 1);
}

static inline void store_four_bytes(unsigned char *dst, int bytes)
{
    memcpy(dst, &bytes, sizeof bytes);
}

/* One output pixel of four rows. Writes one byte too many in each row, which the next pixel overwrites. */
AVX2 static inline void resize_pixel(unsigned char *const dst[4], const unsigned char *const src[4],
                                     size_t from, size_t to, const int32_t *weight, uint32_t n)
{
    /* Bytes of four RGB pixels to 16-bit pairs by channel: taps 0 and 1, taps 2 and 3. */
    const __m256i first_pair =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1));
    const __m256i second_pair = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1));
    __m256i low01 = _mm256_setzero_si256(), high01 = low01, low23 = low01, high23 = low01;

    for (uint32_t t = 0; t < n; t += 4, from += 12) {
        __m128i w = _mm_loadu_si128((const __m128i *)(const void *)(weight + t));
        __m256i low = spread(_mm_and_si128(w, _mm_set1_epi32(LOW_MASK)));
        __m256i high = spread(_mm_srli_epi32(w, LOW_BITS));
        __m256i low_a = _mm256_shuffle_epi32(low, 0x00), high_a = _mm256_shuffle_epi32(high, 0x00);
        __m256i rows01 = load_two(src[0] + from, src[1] + from);
        __m256i rows23 = load_two(src[2] + from, src[3] + from);
        __m256i a01 = _mm256_shuffle_epi8(rows01, first_pair), a23 = _mm256_shuffle_epi8(rows23, first_pair);

        low01 = _mm256_add_epi32(low01, _mm256_madd_epi16(a01, low_a));
        high01 = _mm256_add_epi32(high01, _mm256_madd_epi16(a01, high_a));
        low23 = _mm256_add_epi32(low23, _mm256_madd_epi16(a23, low_a));
        high23 = _mm256_add_epi32(high23, _mm256_madd_epi16(a23, high_a));
        if (n - t > 2) {
            __m256i low_b = _mm256_shuffle_epi32(low, 0x55), high_b = _mm256_shuffle_epi32(high, 0x55);
            __m256i b01 = _mm256_shuffle_epi8(rows01, second_pair),
                    b23 = _mm256_shuffle_epi8(rows23, second_pair);

            low01 = _mm256_add_epi32(low01, _mm256_madd_epi16(b01, low_b));
            high01 = _mm256_add_epi32(high01, _mm256_madd_epi16(b01, high_b));
            low23 = _mm256_add_epi32(low23, _mm256_madd_epi16(b23, low_b));
            high23 = _mm256_add_epi32(high23, _mm256_madd_epi16(b23, high_b));
        }
    }

    __m256i words = _mm256_packs_epi32(join(high01, low01), join(high23, low23)); /* rows 0 2 | 1 3 */
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
                         taps->weight + (size_t)i * taps->stride, taps->n[i]);
    }
}

/* Two 16-bit weights for vpmaddwd, in every 32 bits. */
AVX2 static inline __m256i weight_pair(int32_t first, int32_t second)
{
    return _mm256_set1_epi32(second << 16 | first);
}

/* 32 bytes of one output row; src is at their column in the first source row. n is at least 1. */
AVX2 static inline __m256i resize_32(const unsigned char *src, size_t src_stride, const int32_t *weight,
                                     uint32_t n)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i low[4] = {zero, zero, zero, zero}, high[4] = {zero, zero, zero, zero};

    for (uint32_t t = 0; t < n; t += 2) {
        /* With an odd number of taps the last weight is 0, and any row does. */
        const unsigned char *row = src + src_stride * t;
        const unsigned char *next = t + 1 < n ? row + src_stride : row;
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)row);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)next);
        __m256i ab_low = _mm256_unpacklo_epi8(a, b), ab_high = _mm256_unpackhi_epi8(a, b);
        __m256i low_w = weight_pair(weight[t] & LOW_MASK, weight[t + 1] & LOW_MASK);
        __m256i high_w = weight_pair(weight[t] >> LOW_BITS, weight[t + 1] >> LOW_BITS);
        __m256i pairs[4] = {_mm256_unpacklo_epi8(ab_low, zero), _mm256_unpackhi_epi8(ab_low, zero),
                            _mm256_unpacklo_epi8(ab_high, zero), _mm256_unpackhi_epi8(ab_high, zero)};

        for (int q = 0; q < 4; q++) {
            low[q] = _mm256_add_epi32(low[q], _mm256_madd_epi16(pairs[q], low_w));
            high[q] = _mm256_add_epi32(high[q], _mm256_madd_epi16(pairs[q], high_w));
        }
    }
    /* The unpacks and the packs work in lanes alike, so that the bytes come out in order. */
    return _mm256_packus_epi16(_mm256_packs_epi32(join(high[0], low[0]), join(high[1], low[1])),
                               _mm256_packs_epi32(join(high[2], low[2]), join(high[3], low[3])));
}

AVX2 static void resize_columns(unsigned char *dst, size_t dst_stride, const unsigned char *src,
                                size_t src_stride, size_t row_bytes, const struct imk_taps *taps)
{
    for (uint32_t i = 0; i < taps->axis.count; i++, dst += dst_stride) {
        const int32_t *weight = taps->weight + (size_t)i * taps->stride;
        const unsigned char *from = src + src_stride * taps->start[i];
        size_t x = 0;

        for (; x + 32 <= row_bytes; x += 32)
            _mm256_storeu_si256((__m256i *)(void *)(dst + x),
                                resize_32(from + x, src_stride, weight, taps->n[i]));
        if (x < row_bytes) {
            unsigned char last[32];

            _mm256_storeu_si256((__m256i *)(void *)last, resize_32(from + x, src_stride, weight, taps->n[i]));
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
