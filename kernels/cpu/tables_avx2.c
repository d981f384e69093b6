/* Tables for AVX2, equal to the reference in every bit.
 *
 * A table of 256 bytes is sixteen of 16, which is what vpshufb looks up: all sixteen are looked up with the
 * low four bits and a tree of fifteen choices follows the high four. That is 36 instructions for 32 bytes,
 * where one load for each byte takes twice the time.
 *
 * Not here: histograms. Several sets of counters, the usual way to keep equal neighbours from waiting for
 * each other's count, took up to twice the time of one set where this was measured (Zen 3, which forwards
 * stores at once). */
#if defined(__x86_64__)

#include "kernels/cpu/planes_avx2.h"

#include "kernels/ops.h"
#include "kernels/ops_versions.h"

/* One level of the tree: `bit` is the upper bit of each byte. */
AVX2_INLINE void choose_halves(__m256i *found, int count, __m256i bit)
{
    for (int i = 0; i < count; i++)
        found[i] = _mm256_blendv_epi8(found[2 * i], found[2 * i + 1], bit);
}

AVX2_INLINE __m256i look_up_32(const unsigned char table[256], __m256i bytes)
{
    __m256i low = _mm256_and_si256(bytes, _mm256_set1_epi8(15)), found[16];

    for (int i = 0; i < 16; i++) {
        __m128i sixteen = _mm_loadu_si128((const __m128i *)(const void *)(table + (size_t)16 * (size_t)i));

        found[i] = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(sixteen), low);
    }
    choose_halves(found, 8, _mm256_slli_epi16(bytes, 3));
    choose_halves(found, 4, _mm256_slli_epi16(bytes, 2));
    choose_halves(found, 2, _mm256_slli_epi16(bytes, 1));
    choose_halves(found, 1, bytes);
    return found[0];
}

AVX2 static void look_up_plane(unsigned char *plane, uint32_t n, const unsigned char table[256])
{
    for (uint32_t i = 0; i < n; i += 32)
        store(plane + i, look_up_32(table, load(plane + i)));
}

AVX2 static void do_part(unsigned char *dst, const unsigned char *src, uint32_t n, const struct imk_lut *lut)
{
    struct planes_part part;

    take_apart(&part, src, n);
    look_up_plane(part.r, n, lut->channel[0]);
    look_up_plane(part.g, n, lut->channel[1]);
    look_up_plane(part.b, n, lut->channel[2]);
    put_together(dst, &part, n);
}

static void apply_lut(const struct imk_image *dst, const struct imk_image *src, const struct imk_lut *lut)
{
    for (uint32_t y = 0; y < src->height; y++) {
        for (uint32_t x = 0; x < src->width; x += PART) {
            uint32_t n = src->width - x < PART ? src->width - x : PART;

            do_part(dst->pixels + y * dst->stride + (size_t)3 * x,
                    src->pixels + y * src->stride + (size_t)3 * x, n, lut);
        }
    }
}

void imk_ops_avx2_tables(struct imk_ops *ops)
{
    ops->apply_lut = apply_lut;
}

#endif
