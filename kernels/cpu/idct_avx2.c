/* The inverse DCT of a JPEG block for AVX2. vpmaddwd makes the sum of two products of 16 bits, so the order of the block puts those
 * inputs side by side that are added: columns need no shuffle at all, rows one for each pair to bring it to
 * the lane's four outputs. */
#if defined(__x86_64__)

#include <immintrin.h>

#include "kernels/image_versions.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Eight pairs of products: of output k for eight columns, or for four outputs of two rows. */
static const int16_t c04[4][2] = IMK_DCT_04, c26[4][2] = IMK_DCT_26, c13[4][2] = IMK_DCT_13,
                     c57[4][2] = IMK_DCT_57;

AVX2_INLINE __m256i pair(const int16_t c[2])
{
    return _mm256_set1_epi32((int)((uint32_t)(uint16_t)c[0] | (uint32_t)(uint16_t)c[1] << 16));
}

AVX2_INLINE __m256i four_pairs(const int16_t c[4][2])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)c));
}

AVX2_INLINE __m256i idct_avx2_load(const void *from)
{
    return _mm256_loadu_si256((const __m256i *)from);
}

/* Rows 2 * i and 2 * i + 1 of pass 1, in 16 bits, a row a lane, columns in the order 0, 4, 2, 6, 1, 3, 5, 7. */
struct columns {
    __m256i rows[4];
};

AVX2_INLINE __m256i two_rows(__m256i a, __m256i b)
{
    const int bits = IMK_DCT_BITS - IMK_DCT_PASS1_BITS;

    return _mm256_permute4x64_epi64(
        _mm256_packs_epi32(_mm256_srai_epi32(a, bits), _mm256_srai_epi32(b, bits)), _MM_SHUFFLE(3, 1, 2, 0));
}

AVX2_INLINE struct columns transform_columns(const int16_t *block, const uint16_t *quant)
{
    const __m256i half = _mm256_set1_epi32(1 << (IMK_DCT_BITS - IMK_DCT_PASS1_BITS - 1));
    __m256i p04 = _mm256_mullo_epi16(idct_avx2_load(block), idct_avx2_load(quant));
    __m256i p26 = _mm256_mullo_epi16(idct_avx2_load(block + 16), idct_avx2_load(quant + 16));
    __m256i p13 = _mm256_mullo_epi16(idct_avx2_load(block + 32), idct_avx2_load(quant + 32));
    __m256i p57 = _mm256_mullo_epi16(idct_avx2_load(block + 48), idct_avx2_load(quant + 48));
    __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(p04, pair(c04[0])), half);
    __m256i difference = _mm256_add_epi32(_mm256_madd_epi16(p04, pair(c04[1])), half);
    __m256i outer = _mm256_madd_epi16(p26, pair(c26[0])), inner = _mm256_madd_epi16(p26, pair(c26[1]));
    __m256i even[4] = {_mm256_add_epi32(sum, outer), _mm256_add_epi32(difference, inner),
                       _mm256_sub_epi32(difference, inner), _mm256_sub_epi32(sum, outer)};
    __m256i low[4], high[4];

    for (int k = 0; k < 4; k++) {
        __m256i odd =
            _mm256_add_epi32(_mm256_madd_epi16(p13, pair(c13[k])), _mm256_madd_epi16(p57, pair(c57[k])));

        low[k] = _mm256_add_epi32(even[k], odd);
        high[k] = _mm256_sub_epi32(even[k], odd);
    }
    return (struct columns){{two_rows(low[0], low[1]), two_rows(low[2], low[3]), two_rows(high[3], high[2]),
                             two_rows(high[1], high[0])}};
}

AVX2_INLINE bool is_in_limits(const struct columns *c)
{
    const __m256i limit = _mm256_set1_epi16(IMK_DCT_LIMIT);
    __m256i a = _mm256_or_si256(_mm256_add_epi16(c->rows[0], limit), _mm256_add_epi16(c->rows[1], limit));
    __m256i b = _mm256_or_si256(_mm256_add_epi16(c->rows[2], limit), _mm256_add_epi16(c->rows[3], limit));

    return _mm256_testz_si256(_mm256_or_si256(a, b), _mm256_set1_epi16(INT16_MIN));
}

/* Two rows of samples in 16 bits, a row a lane, in the order 0, 1, 2, 3, 7, 6, 5, 4. */
AVX2_INLINE __m256i transform_rows(__m256i rows)
{
    const int bits = IMK_DCT_BITS + IMK_DCT_PASS1_BITS + 3;
    __m256i half = _mm256_set1_epi32(1 << (bits - 1));
    __m256i x04 = _mm256_madd_epi16(_mm256_shuffle_epi32(rows, 0x00), four_pairs(c04));
    __m256i x26 = _mm256_madd_epi16(_mm256_shuffle_epi32(rows, 0x55), four_pairs(c26));
    __m256i x13 = _mm256_madd_epi16(_mm256_shuffle_epi32(rows, 0xaa), four_pairs(c13));
    __m256i x57 = _mm256_madd_epi16(_mm256_shuffle_epi32(rows, 0xff), four_pairs(c57));
    __m256i even = _mm256_add_epi32(_mm256_add_epi32(x04, half), x26), odd = _mm256_add_epi32(x13, x57);

    return _mm256_packs_epi32(_mm256_srai_epi32(_mm256_add_epi32(even, odd), bits),
                              _mm256_srai_epi32(_mm256_sub_epi32(even, odd), bits));
}

AVX2_INLINE void store_two(unsigned char *a, unsigned char *b, __m128i samples)
{
    _mm_storel_pi((__m64 *)(void *)a, _mm_castsi128_ps(samples));
    _mm_storeh_pi((__m64 *)(void *)b, _mm_castsi128_ps(samples));
}

/* rows: those of four rows, of which the first and the third are in the low lanes. */
AVX2_INLINE void store_four(unsigned char *const rows[4], size_t x, __m256i first, __m256i second)
{
    const __m256i places =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11, 15, 14, 13, 12));
    __m256i samples = _mm256_shuffle_epi8(_mm256_packs_epi16(first, second), places);

    samples = _mm256_xor_si256(samples, _mm256_set1_epi8(INT8_MIN)); /* + 128 */
    store_two(rows[0] + x, rows[2] + x, _mm256_castsi256_si128(samples));
    store_two(rows[1] + x, rows[3] + x, _mm256_extracti128_si256(samples, 1));
}

AVX2 bool imk_idct_avx2(unsigned char *const rows[8], size_t x, int16_t block[64], const uint16_t quant[64])
{
    const struct columns c = transform_columns(block, quant);

    if (!is_in_limits(&c))
        return false;
    store_four(rows, x, transform_rows(c.rows[0]), transform_rows(c.rows[1]));
    store_four(rows + 4, x, transform_rows(c.rows[2]), transform_rows(c.rows[3]));
    for (int i = 0; i < 4; i++)
        _mm256_storeu_si256((__m256i *)(void *)(block + 16 * i), _mm256_setzero_si256());
    return true;
}

#endif
