/* Sharpness for AVX2, equal to the reference in every bit: sums in 16 bits, the blend in
 * floats as Pillow's. */
#if defined(__x86_64__)

#include "kernels/blend.h"

#include <immintrin.h>
#include <string.h>

#include "kernels/ops.h"
#include "kernels/ops_versions.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* from + factor * (to - from), clipped. */
AVX2_INLINE __m256i blend_8(__m256i from, __m256i to, float factor)
{
    __m256 base = _mm256_cvtepi32_ps(from), difference = _mm256_sub_ps(_mm256_cvtepi32_ps(to), base);
    __m256 value = _mm256_add_ps(base, _mm256_mul_ps(_mm256_set1_ps(factor), difference));

    return _mm256_cvttps_epi32(_mm256_min_ps(_mm256_max_ps(value, _mm256_setzero_ps()), _mm256_set1_ps(255)));
}

AVX2_INLINE __m256i load_16(const unsigned char *src)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)src));
}

/* A byte and its neighbours in the same channel. */
AVX2_INLINE __m256i three(const unsigned char *src)
{
    return _mm256_add_epi16(_mm256_add_epi16(load_16(src - 3), load_16(src)), load_16(src + 3));
}

/* 16 bytes. (sum + 6) / 13 for sums to 13 * 255 by a multiplication with 2^16 / 13, rounded up: exact. */
AVX2_INLINE __m128i sharpen_16(const unsigned char *above, const unsigned char *here,
                               const unsigned char *below, float factor)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256i centre = load_16(here);
    __m256i sum = _mm256_add_epi16(_mm256_add_epi16(three(above), three(here)), three(below));
    __m256i weighted =
        _mm256_add_epi16(_mm256_add_epi16(sum, _mm256_slli_epi16(centre, 2)), _mm256_set1_epi16(6));
    __m256i smooth = _mm256_mulhi_epu16(weighted, _mm256_set1_epi16(5042));
    __m256i low = blend_8(_mm256_unpacklo_epi16(smooth, zero), _mm256_unpacklo_epi16(centre, zero), factor);
    __m256i high = blend_8(_mm256_unpackhi_epi16(smooth, zero), _mm256_unpackhi_epi16(centre, zero), factor);
    __m256i words = _mm256_packus_epi32(low, high);

    return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

AVX2_INLINE unsigned char sharpen_1(const unsigned char *above, const unsigned char *here,
                                    const unsigned char *below, float factor)
{
    int sum = 4 * *here;

    for (int k = -3; k <= 3; k += 3)
        sum += above[k] + here[k] + below[k];
    return imk_blend((sum + 6) / 13, *here, factor);
}

AVX2 static void sharpness(const struct imk_image *image, double factor, void *scratch)
{
    size_t row_bytes = (size_t)3 * image->width;
    unsigned char *above = scratch, *here = above + row_bytes;

    if (image->width < 3 || image->height < 3)
        return;
    memcpy(above, image->pixels, row_bytes);
    for (uint32_t y = 1; y + 1 < image->height; y++) {
        unsigned char *row = image->pixels + y * image->stride, *below = row + image->stride;
        unsigned char *free_row = above;
        size_t i = 3;

        memcpy(here, row, row_bytes);
        for (; i + 19 <= row_bytes; i += 16)
            _mm_storeu_si128((__m128i *)(void *)(row + i),
                             sharpen_16(above + i, here + i, below + i, (float)factor));
        for (; i + 3 < row_bytes; i++)
            row[i] = sharpen_1(above + i, here + i, below + i, (float)factor);
        above = here;
        here = free_row;
    }
}

void imk_ops_avx2_colour(struct imk_ops *ops)
{
    ops->name = "avx2";
    ops->sharpness = sharpness;
}

#endif
