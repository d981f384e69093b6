/* The colour operations for AVX2, equal to the reference in every bit.
 *
 * A part of a row is taken apart into three planes of floats, which stay in the first-level cache; each step
 * is a loop over them; then they are put together again. All steps on eight pixels in registers would save
 * the loads and stores but is slower: one such chain is as long as what the CPU can look ahead. Whole numbers
 * to 2^24 are exact in floats, so luma and everything but the divisions is exact; multiplications and
 * additions are never contracted.
 *
 * Hue differs from the reference in form. Pillow rounds to 8-bit H and S on the way, in a mix of single and
 * double precision. H depends on which channel is largest, which is smallest and two differences of 8 bits,
 * S on two bytes, and the way back on three; so the forms here, all in single precision, were chosen such
 * that an exhaustive comparison with Pillow's finds no difference (and the tests repeat that over all 2^24
 * colours). Do not reorder their operations.
 *
 * Not here: histograms and tables, where AVX2 has nothing better than a load for each byte. */
#if defined(__x86_64__)

#include "kernels/blend.h"
#include "kernels/ops.h"
#include "kernels/ops_versions.h"

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Pixels taken apart at a time. */
#define PART 512

/* Values are whole numbers in 0..255. Those after the last pixel, to a multiple of eight, do not matter. */
struct part {
    _Alignas(32) float r[PART], g[PART], b[PART];
};

/* Eight pixels; values are whole numbers in 0..255. */
struct planes {
    __m256 r, g, b;
};

AVX2_INLINE __m256 all(float value)
{
    return _mm256_set1_ps(value);
}

/* Reads 24 bytes. */
AVX2_INLINE struct planes load_8(const unsigned char *src)
{
    /* Pixels 0..3 are bytes 0..11 of the first lane, pixels 4..7 bytes 4..15 of the second. */
    const __m256i red = _mm256_setr_epi8(0, -1, -1, -1, 3, -1, -1, -1, 6, -1, -1, -1, 9, -1, -1, -1, 4, -1,
                                         -1, -1, 7, -1, -1, -1, 10, -1, -1, -1, 13, -1, -1, -1);
    const __m256i green = _mm256_setr_epi8(1, -1, -1, -1, 4, -1, -1, -1, 7, -1, -1, -1, 10, -1, -1, -1, 5, -1,
                                           -1, -1, 8, -1, -1, -1, 11, -1, -1, -1, 14, -1, -1, -1);
    const __m256i blue = _mm256_setr_epi8(2, -1, -1, -1, 5, -1, -1, -1, 8, -1, -1, -1, 11, -1, -1, -1, 6, -1,
                                          -1, -1, 9, -1, -1, -1, 12, -1, -1, -1, 15, -1, -1, -1);
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)src);
    __m256i bytes = _mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                            _mm_loadu_si128((const __m128i *)(const void *)(src + 8)), 1);

    return (struct planes){_mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, red)),
                           _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, green)),
                           _mm256_cvtepi32_ps(_mm256_shuffle_epi8(bytes, blue))};
}

/* Writes 24 bytes. */
AVX2_INLINE void store_8(unsigned char *dst, struct planes p)
{
    const __m256i pack =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    __m256i r = _mm256_cvttps_epi32(p.r), g = _mm256_cvttps_epi32(p.g), b = _mm256_cvttps_epi32(p.b);
    __m256i rgb = _mm256_or_si256(_mm256_or_si256(r, _mm256_slli_epi32(g, 8)), _mm256_slli_epi32(b, 16));

    rgb = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(rgb, pack),
                                      _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
    _mm_storeu_si128((__m128i *)(void *)dst, _mm256_castsi256_si128(rgb));
    _mm_storel_epi64((__m128i *)(void *)(dst + 16), _mm256_extracti128_si256(rgb, 1));
}

AVX2_INLINE __m256 truncate(__m256 value)
{
    return _mm256_round_ps(value, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}

/* In units of 2^-16 the sum is at most 255 * 2^16 + 2^15, below 2^24: exact. */
AVX2_INLINE __m256 luma(struct planes p)
{
    const float unit = 1.0F / 65536;
    __m256 sum = _mm256_add_ps(_mm256_mul_ps(p.r, all(19595 * unit)), _mm256_mul_ps(p.g, all(38470 * unit)));

    return truncate(_mm256_add_ps(sum, _mm256_add_ps(_mm256_mul_ps(p.b, all(7471 * unit)), all(0.5F))));
}

/* clip: false only for factors in [0, 1], which cannot leave the range. */
AVX2_INLINE __m256 blend_channel(__m256 from, __m256 to, __m256 factor, bool clip)
{
    __m256 value = _mm256_add_ps(from, _mm256_mul_ps(factor, _mm256_sub_ps(to, from)));

    if (clip)
        value = _mm256_min_ps(_mm256_max_ps(value, _mm256_setzero_ps()), all(255));
    return truncate(value);
}

AVX2_INLINE struct planes blend(__m256 from, struct planes to, __m256 factor, bool clip)
{
    return (struct planes){blend_channel(from, to.r, factor, clip), blend_channel(from, to.g, factor, clip),
                           blend_channel(from, to.b, factor, clip)};
}

/* H in 0..255 as Pillow truncates it. In units of a sixth of a turn, each largest channel has a base, and the
 * position around it is 1 - u to either side, u = (largest - middle) / range. */
AVX2_INLINE __m256i hue_of(struct planes p, __m256 u, __m256 high, __m256 low)
{
    const __m256 sign = all(-0.0F);
    __m256 is_r = _mm256_cmp_ps(p.r, high, _CMP_EQ_OQ), is_g = _mm256_cmp_ps(p.g, high, _CMP_EQ_OQ);
    __m256 base = _mm256_andnot_ps(is_r, _mm256_sub_ps(all(4), _mm256_and_ps(is_g, all(2))));
    __m256 before = _mm256_blendv_ps(_mm256_blendv_ps(p.g, p.r, is_g), p.b, is_r);
    __m256 side = _mm256_andnot_ps(_mm256_cmp_ps(before, low, _CMP_EQ_OQ), sign);
    __m256 h = _mm256_sub_ps(_mm256_add_ps(base, _mm256_xor_ps(all(1), side)), _mm256_xor_ps(u, side));

    /* A little more than a whole turn: below 0 Pillow's rounding never falls short of a whole H. */
    h = _mm256_add_ps(h, _mm256_and_ps(_mm256_cmp_ps(h, _mm256_setzero_ps(), _CMP_LT_OQ), all(6.00001F)));
    return _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_div_ps(h, all(6)), all(255)));
}

/* What is between the two halves of a turn: H in units of a 255th of a whole turn, V * S times 6 / 255^2, V.
 */
struct turned {
    __m256 h, scaled, v;
};

AVX2_INLINE struct turned to_turned(struct planes p, __m256i shift)
{
    __m256 larger = _mm256_max_ps(p.r, p.g), smaller = _mm256_min_ps(p.r, p.g);
    __m256 high = _mm256_max_ps(larger, p.b), low = _mm256_min_ps(smaller, p.b);
    __m256 middle = _mm256_max_ps(smaller, _mm256_min_ps(larger, p.b)), range = _mm256_sub_ps(high, low);
    __m256 u = _mm256_div_ps(_mm256_sub_ps(high, middle), range); /* not a number for greys: S is 0 there */
    __m256i h = _mm256_and_si256(_mm256_add_epi32(hue_of(p, u, high, low), shift), _mm256_set1_epi32(255));
    __m256 ratio = _mm256_div_ps(range, _mm256_max_ps(high, all(1)));
    __m256 s = truncate(_mm256_mul_ps(ratio, all(255)));

    return (struct turned){_mm256_cvtepi32_ps(h), _mm256_mul_ps(_mm256_mul_ps(high, s), all(6.0F / 65025)),
                           high};
}

/* Limited to 0 .. one sextant. */
AVX2_INLINE __m256 within_sextant(__m256 value)
{
    return _mm256_min_ps(_mm256_max_ps(value, _mm256_setzero_ps()), all(42.5F));
}

AVX2_INLINE __m256 distance(__m256 h, float centre)
{
    return _mm256_andnot_ps(all(-0.0F), _mm256_sub_ps(h, all(centre)));
}

/* v * (1 - s * weight), rounded to nearest; v_half is v + 0.5. */
AVX2_INLINE __m256 darken(__m256 v_half, __m256 scaled, __m256 weight)
{
    return truncate(_mm256_sub_ps(v_half, _mm256_mul_ps(scaled, within_sextant(weight))));
}

/* Red is full within a sextant of 0, green and blue within one of a third and two thirds of a turn. */
AVX2_INLINE struct planes to_rgb(struct turned t)
{
    __m256 v_half = _mm256_add_ps(t.v, all(0.5F));

    return (struct planes){darken(v_half, t.scaled, _mm256_sub_ps(all(85), distance(t.h, 127.5F))),
                           darken(v_half, t.scaled, _mm256_sub_ps(distance(t.h, 85), all(42.5F))),
                           darken(v_half, t.scaled, _mm256_sub_ps(distance(t.h, 170), all(42.5F)))};
}

/* ---- Loops over a part of a row ---- */

AVX2_INLINE struct planes planes_at(const struct part *part, uint32_t i)
{
    return (struct planes){_mm256_load_ps(part->r + i), _mm256_load_ps(part->g + i),
                           _mm256_load_ps(part->b + i)};
}

AVX2_INLINE void planes_put(struct part *part, uint32_t i, struct planes p)
{
    _mm256_store_ps(part->r + i, p.r);
    _mm256_store_ps(part->g + i, p.g);
    _mm256_store_ps(part->b + i, p.b);
}

AVX2 static void take_apart(struct part *part, const unsigned char *src, uint32_t n)
{
    uint32_t i = 0;

    for (; i + 8 <= n; i += 8)
        planes_put(part, i, load_8(src + (size_t)3 * i));
    if (i < n) {
        unsigned char rest[24] = {0};

        memcpy(rest, src + (size_t)3 * i, (size_t)3 * (n - i));
        planes_put(part, i, load_8(rest));
    }
}

AVX2 static void put_together(unsigned char *dst, const struct part *part, uint32_t n)
{
    uint32_t i = 0;

    for (; i + 8 <= n; i += 8)
        store_8(dst + (size_t)3 * i, planes_at(part, i));
    if (i < n) {
        unsigned char rest[24];

        store_8(rest, planes_at(part, i));
        memcpy(dst + (size_t)3 * i, rest, (size_t)3 * (n - i));
    }
}

/* from_luma: blends with each pixel's own luma rather than the step's value. */
AVX2_INLINE void blend_all(struct part *part, uint32_t n, const struct imk_step *step, bool from_luma,
                           bool clip)
{
    const __m256 value = all(step->value), factor = all(step->factor);

    for (uint32_t i = 0; i < n; i += 8) {
        struct planes p = planes_at(part, i);

        planes_put(part, i, blend(from_luma ? luma(p) : value, p, factor, clip));
    }
}

AVX2 static void blend_part(struct part *part, uint32_t n, const struct imk_step *step)
{
    bool clip = !(step->factor >= 0 && step->factor <= 1);

    if (step->kind == IMK_STEP_SATURATION && clip)
        blend_all(part, n, step, true, true);
    else if (step->kind == IMK_STEP_SATURATION)
        blend_all(part, n, step, true, false);
    else if (clip)
        blend_all(part, n, step, false, true);
    else
        blend_all(part, n, step, false, false);
}

AVX2 static void turn_part(struct part *part, uint32_t n, unsigned char shift)
{
    const __m256i turn = _mm256_set1_epi32(shift);

    for (uint32_t i = 0; i < n; i += 8) {
        struct turned t = to_turned(planes_at(part, i), turn);

        planes_put(part, i, (struct planes){t.h, t.scaled, t.v});
    }
    for (uint32_t i = 0; i < n; i += 8) {
        struct planes p = planes_at(part, i);

        planes_put(part, i, to_rgb((struct turned){p.r, p.g, p.b}));
    }
}

/* The sum of luma of n pixels. */
AVX2 static uint64_t sum_part(const struct part *part, uint32_t n)
{
    __m256i lanes = _mm256_setzero_si256();
    uint32_t lane[8], i = 0;
    uint64_t sum = 0;

    for (; i + 8 <= n; i += 8)
        lanes = _mm256_add_epi32(lanes, _mm256_cvttps_epi32(luma(planes_at(part, i))));
    _mm256_storeu_si256((__m256i *)(void *)lane, lanes);
    for (int k = 0; k < 8; k++)
        sum += lane[k];
    if (i < n)
        _mm256_storeu_si256((__m256i *)(void *)lane, _mm256_cvttps_epi32(luma(planes_at(part, i))));
    for (uint32_t k = 0; i + k < n; k++)
        sum += lane[k];
    return sum;
}

/* n pixels, at most PART. Returns the sum of luma of the result if that is wanted. */
static uint64_t do_part(unsigned char *pixels, uint32_t n, const struct imk_step *steps, unsigned count,
                        bool want_luma)
{
    struct part part;

    take_apart(&part, pixels, n);
    for (unsigned i = 0; i < count; i++) {
        if (steps[i].kind == IMK_STEP_HUE)
            turn_part(&part, n, steps[i].value);
        else
            blend_part(&part, n, &steps[i]);
    }
    if (count > 0)
        put_together(pixels, &part, n);
    return want_luma ? sum_part(&part, n) : 0;
}

static void do_steps(const struct imk_image *image, const struct imk_step *steps, unsigned count,
                     uint64_t *ret_luma)
{
    bool is_one_run = image->stride == (size_t)3 * image->width;
    uint32_t rows = is_one_run ? 1 : image->height;
    uint32_t width = is_one_run ? image->width * image->height : image->width;
    uint64_t sum = 0;

    for (uint32_t y = 0; y < rows; y++) {
        unsigned char *row = image->pixels + y * image->stride;

        for (uint32_t x = 0; x < width; x += PART) {
            uint32_t n = width - x < PART ? width - x : PART;

            sum += do_part(row + (size_t)3 * x, n, steps, count, ret_luma != NULL);
        }
    }
    if (ret_luma)
        *ret_luma = sum;
}

static uint64_t luma_sum(const struct imk_image *src)
{
    uint64_t sum;

    do_steps(src, NULL, 0, &sum);
    return sum;
}

static void contrast(const struct imk_image *image, unsigned mean, double factor)
{
    do_steps(image, &(struct imk_step){IMK_STEP_BLEND, (unsigned char)mean, (float)factor}, 1, NULL);
}

static void saturation(const struct imk_image *image, double factor)
{
    do_steps(image, &(struct imk_step){IMK_STEP_SATURATION, 0, (float)factor}, 1, NULL);
}

static void hue(const struct imk_image *image, unsigned char shift)
{
    do_steps(image, &(struct imk_step){IMK_STEP_HUE, shift, 0}, 1, NULL);
}

/* ---- Sharpness ---- */

AVX2_INLINE __m256i load_16(const unsigned char *src)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)src));
}

/* A byte and its neighbours in the same channel. */
AVX2_INLINE __m256i three(const unsigned char *src)
{
    return _mm256_add_epi16(_mm256_add_epi16(load_16(src - 3), load_16(src)), load_16(src + 3));
}

/* Eight values of `from` and `to`, as 16-bit numbers in 32 bits. */
AVX2_INLINE __m256i blend_8(__m256i from, __m256i to, float factor)
{
    return _mm256_cvttps_epi32(
        blend_channel(_mm256_cvtepi32_ps(from), _mm256_cvtepi32_ps(to), all(factor), true));
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
    ops->luma_sum = luma_sum;
    ops->contrast = contrast;
    ops->steps = do_steps;
    ops->saturation = saturation;
    ops->hue = hue;
    ops->sharpness = sharpness;
}

#endif
