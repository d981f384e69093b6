/* The colour steps (imk_ops.steps and its single forms) for AVX2, equal to the reference in every bit.
 *
 * A part of a row is taken apart into three planes of bytes, which stay in the first-level cache; each step
 * is a loop over them; then they are put together again. Arithmetic is in whole numbers of 16 bits, sixteen
 * at a time, where Pillow's is in floats:
 *
 * Blends: floor(factor * difference) from two multiplications, the factor in units of 2^-22. Whether that
 * gives what rounded floats give is checked for every difference there can be before a pass begins; one
 * factor in 150 or so does not, nor does one outside of 0..2, and its blends are done in floats.
 *
 * Hue: S is floor(255 * range / largest). H, in units of a 255th of a turn, is 0, 85 or 170 for the largest
 * channel, plus floor(w) or minus ceil(w), w = 42.5 * (middle - smallest) / range, one less where w is whole
 * and Pillow's floats fall short of it (`shortfalls`, found by going through all ranges). The way back has
 * one channel V, one V * (1 - S) and one in between, all with denominators so odd that nothing is ever half
 * way. One division gives both quotients, with an error much below the distance of any from a whole number
 * that it is not. The tests repeat the comparison over all 2^24 colours. */
#if defined(__x86_64__)

#include "kernels/cpu/planes_avx2.h"

#include <math.h>

#include "kernels/ops.h"
#include "kernels/ops_versions.h"

/* Fraction bits of a factor. */
#define FACTOR_BITS 22

/* ---- Luma ---- */

AVX2_INLINE __m256i times_and_round(__m256i pairs)
{
    const __m256i weights = _mm256_set1_epi32(7471 << 16 | 19595);

    return _mm256_srai_epi32(_mm256_add_epi32(_mm256_madd_epi16(pairs, weights), _mm256_set1_epi32(0x8000)),
                             16);
}

/* The three weights sum to 2^16, so only differences from green are multiplied. */
AVX2_INLINE __m256i luma_16(__m256i r, __m256i g, __m256i b)
{
    __m256i red = _mm256_sub_epi16(r, g), blue = _mm256_sub_epi16(b, g);
    __m256i low = times_and_round(_mm256_unpacklo_epi16(red, blue));
    __m256i high = times_and_round(_mm256_unpackhi_epi16(red, blue));

    return _mm256_add_epi16(g, _mm256_packs_epi32(low, high));
}

AVX2_INLINE __m256i luma_32(struct planes p)
{
    struct words r = widen(p.r), g = widen(p.g), b = widen(p.b);

    return narrow((struct words){luma_16(r.low, g.low, b.low), luma_16(r.high, g.high, b.high)});
}

/* The sum over n pixels. */
AVX2 static uint64_t sum_part(const struct planes_part *part, uint32_t n)
{
    __m256i sums = _mm256_setzero_si256();
    uint64_t lane[4];
    uint32_t i = 0;

    for (; i + 32 <= n; i += 32)
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(luma_32(planes_at(part, i)), _mm256_setzero_si256()));
    _mm256_storeu_si256((__m256i *)(void *)lane, sums);
    if (i < n) {
        _Alignas(32) unsigned char rest[32];

        store(rest, luma_32(planes_at(part, i)));
        for (uint32_t k = 0; i + k < n; k++)
            lane[0] += rest[k];
    }
    return lane[0] + lane[1] + lane[2] + lane[3];
}

/* ---- Blends ---- */

/* A step as a part is given it. */
struct plan {
    enum imk_step_kind kind;
    unsigned char value;
    float factor;
    bool is_whole; /* the factor is high * 2^16 + low in units of 2^-FACTOR_BITS, or as good as that */
    int16_t high, low;
};

struct factor {
    __m256i high, low;
};

/* floor(factor * difference), |difference| <= 255. The sum before the shift is at most 2^15 - 1: its 6
 * fraction bits are those that a factor of 2 leaves of 16. */
AVX2_INLINE __m256i times(__m256i difference, struct factor f)
{
    __m256i high = _mm256_mullo_epi16(difference, f.high), low = _mm256_mulhi_epi16(difference, f.low);

    return _mm256_srai_epi16(_mm256_add_epi16(high, low), FACTOR_BITS - 16);
}

AVX2_INLINE __m256i blend_16(__m256i from, __m256i to, struct factor f)
{
    return _mm256_add_epi16(from, times(_mm256_sub_epi16(to, from), f));
}

AVX2_INLINE __m256i blend_32(struct words from, __m256i bytes, struct factor f)
{
    struct words to = widen(bytes);

    return narrow((struct words){blend_16(from.low, to.low, f), blend_16(from.high, to.high, f)});
}

/* Whether whole numbers do: for each difference the product in floats has the same floor, and is so far below
 * the next whole number that no sum of the two can round up to it (half a unit of the last place of 255). */
AVX2 static bool is_same_in_whole_numbers(float factor, int32_t whole)
{
    const __m256 gap = _mm256_set1_ps(1.0F / 65536), one = _mm256_set1_ps(1);
    __m256i difference = _mm256_setr_epi32(-256, -255, -254, -253, -252, -251, -250, -249);
    int wrong = 0;

    for (int i = 0; i < 512; i += 8) {
        __m256 product = _mm256_mul_ps(_mm256_set1_ps(factor), _mm256_cvtepi32_ps(difference));
        __m256 floor = _mm256_floor_ps(product), rest = _mm256_sub_ps(product, floor);
        __m256i shifted =
            _mm256_srai_epi32(_mm256_mullo_epi32(difference, _mm256_set1_epi32(whole)), FACTOR_BITS);
        __m256 differs = _mm256_cmp_ps(_mm256_cvtepi32_ps(shifted), floor, _CMP_NEQ_UQ);

        wrong |= _mm256_movemask_ps(
            _mm256_or_ps(differs, _mm256_cmp_ps(_mm256_sub_ps(one, rest), gap, _CMP_LE_OQ)));
        difference = _mm256_add_epi32(difference, _mm256_set1_epi32(8));
    }
    return wrong == 0;
}

static struct plan plan_of(const struct imk_step *step)
{
    struct plan plan = {.kind = step->kind, .value = step->value, .factor = step->factor};

    if (step->kind != IMK_STEP_HUE && step->factor >= 0 && step->factor <= 2) {
        int32_t whole = (int32_t)floor((double)step->factor * (1 << FACTOR_BITS) + 0.5);

        plan.high = (int16_t)((whole + 0x8000) >> 16);
        plan.low = (int16_t)(whole - plan.high * 65536);
        plan.is_whole = is_same_in_whole_numbers(step->factor, whole);
    }
    return plan;
}

/* from_luma: blends with each pixel's own luma rather than the step's value. */
AVX2_INLINE void blend_whole(struct planes_part *part, uint32_t n, const struct plan *plan, bool from_luma)
{
    const struct factor f = {_mm256_set1_epi16(plan->high), _mm256_set1_epi16(plan->low)};
    const __m256i value = _mm256_set1_epi8((char)plan->value);

    for (uint32_t i = 0; i < n; i += 32) {
        struct planes p = planes_at(part, i);
        struct words from = widen(from_luma ? luma_32(p) : value);

        planes_put(part, i,
                   (struct planes){blend_32(from, p.r, f), blend_32(from, p.g, f), blend_32(from, p.b, f)});
    }
}

AVX2_INLINE __m256 load_floats(const unsigned char *plane)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)plane)));
}

AVX2 static void blend_floats(unsigned char *plane, const unsigned char *from, uint32_t n, float factor)
{
    for (uint32_t i = 0; i < n; i += 8) {
        __m256 base = load_floats(from + i), to = load_floats(plane + i);
        __m256 value = _mm256_add_ps(base, _mm256_mul_ps(_mm256_set1_ps(factor), _mm256_sub_ps(to, base)));
        __m256 clipped = _mm256_min_ps(_mm256_max_ps(value, _mm256_setzero_ps()), _mm256_set1_ps(255));
        __m256i whole = _mm256_cvttps_epi32(clipped);
        __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));

        _mm_storel_epi64((__m128i *)(void *)(plane + i), _mm_packus_epi16(words, words));
    }
}

AVX2 static void blend_part(struct planes_part *part, uint32_t n, const struct plan *plan)
{
    _Alignas(32) unsigned char from[PART];

    if (plan->is_whole && plan->kind == IMK_STEP_SATURATION) {
        blend_whole(part, n, plan, true);
    } else if (plan->is_whole) {
        blend_whole(part, n, plan, false);
    } else {
        memset(from, plan->value, sizeof from);
        for (uint32_t i = 0; i < n && plan->kind == IMK_STEP_SATURATION; i += 32)
            store(from + i, luma_32(planes_at(part, i)));
        blend_floats(part->r, from, n, plan->factor);
        blend_floats(part->g, from, n, plan->factor);
        blend_floats(part->b, from, n, plan->factor);
    }
}

/* ---- Hue ---- */

/* Of 32 pixels: the largest value, what it exceeds the smallest by, and what the middle one does. Masks: red
 * is the largest; else green is; H is below that channel's own. */
struct order {
    __m256i high, range, middle, is_r, is_g, below;
};

AVX2_INLINE struct order order_of(struct planes p)
{
    __m256i larger = _mm256_max_epu8(p.r, p.g), smaller = _mm256_min_epu8(p.r, p.g);
    __m256i high = _mm256_max_epu8(larger, p.b), low = _mm256_min_epu8(smaller, p.b);
    __m256i middle = _mm256_max_epu8(smaller, _mm256_min_epu8(larger, p.b));
    __m256i is_r = _mm256_cmpeq_epi8(p.r, high), is_g = _mm256_cmpeq_epi8(p.g, high);
    __m256i before = _mm256_blendv_epi8(_mm256_blendv_epi8(p.g, p.r, is_g), p.b, is_r);

    return (struct order){high,
                          _mm256_sub_epi8(high, low),
                          _mm256_sub_epi8(middle, low),
                          is_r,
                          is_g,
                          _mm256_xor_si256(_mm256_cmpeq_epi8(before, low), _mm256_set1_epi8(-1))};
}

/* numerator * scale, rounded to nearest, of 16 values; both scales are for the lanes' halves. */
AVX2_INLINE __m256i times_scale(__m256i numerator, __m256 low, __m256 high)
{
    const __m256i zero = _mm256_setzero_si256();
    __m256 first = _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(numerator, zero));
    __m256 second = _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(numerator, zero));

    return _mm256_packus_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(first, low)),
                               _mm256_cvtps_epi32(_mm256_mul_ps(second, high)));
}

/* Of 16 pixels: S; w rounded down; a mask of those where w is whole. */
struct quotients {
    __m256i s, w, is_whole;
};

/* Both quotients are over range * high, in units of 2^-8 of S, which are 1536ths of w: 65280 at most. Grey
 * has 0 over 1. */
AVX2_INLINE struct quotients divide(__m256i high, __m256i range, __m256i middle)
{
    const __m256i zero = _mm256_setzero_si256();
    const __m256 unit = _mm256_set1_ps(255 * 256);
    __m256i divisor = _mm256_max_epu16(_mm256_mullo_epi16(range, high), _mm256_set1_epi16(1));
    __m256 first = _mm256_div_ps(unit, _mm256_cvtepi32_ps(_mm256_unpacklo_epi16(divisor, zero)));
    __m256 second = _mm256_div_ps(unit, _mm256_cvtepi32_ps(_mm256_unpackhi_epi16(divisor, zero)));
    __m256i s = times_scale(_mm256_mullo_epi16(range, range), first, second);
    __m256i w = times_scale(_mm256_mullo_epi16(middle, high), first, second);
    __m256i whole = _mm256_srli_epi16(_mm256_mulhi_epu16(w, _mm256_set1_epi16((int16_t)43691)), 10);

    return (struct quotients){_mm256_srli_epi16(s, 8), whole,
                              _mm256_cmpeq_epi16(_mm256_mullo_epi16(whole, _mm256_set1_epi16(1536)), w)};
}

/* Where w is whole and Pillow's H one less than it should be. Bit k / 16 of entry k % 16 of a table is for
 * w = k, in the first for red and H above it, in the second for blue and H above it; bit 3 + k / 16 is for
 * green and H above it, and for blue and H below it. Below red and green it never happens. */
AVX2_INLINE __m256i shortfalls(__m256i w, __m256i is_whole, const struct order *o)
{
    const __m128i red_green = _mm_setr_epi8(2, 3, 3, 27, 3, 3, 3, 11, 3, 3, 3, 11, 3, 3, 3, 11);
    const __m128i blue = _mm_setr_epi8(0, 56, 0, 39, 0, 56, 1, 55, 0, 56, 0, 19, 0, 24, 1, 19);
    const __m128i row = _mm_setr_epi8(9, 18, 36, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i first = _mm256_set1_epi8(7), second = _mm256_set1_epi8(56);
    __m256i is_b = _mm256_xor_si256(_mm256_or_si256(o->is_r, o->is_g), _mm256_set1_epi8(-1));
    __m256i table = _mm256_blendv_epi8(look_up(red_green, w), look_up(blue, w), is_b);
    __m256i above = _mm256_blendv_epi8(first, second, _mm256_andnot_si256(o->is_r, o->is_g));
    __m256i bits = _mm256_blendv_epi8(above, _mm256_and_si256(is_b, second), o->below);
    __m256i sixteenth = _mm256_and_si256(_mm256_srli_epi16(w, 4), _mm256_set1_epi8(15));

    bits = _mm256_and_si256(_mm256_and_si256(bits, table), look_up(row, sixteenth));
    return _mm256_andnot_si256(_mm256_cmpeq_epi8(bits, _mm256_setzero_si256()), is_whole);
}

/* What is between the two halves of a turn, all in bytes. */
struct hsv {
    __m256i h, s, v;
};

AVX2_INLINE struct hsv to_hsv(struct planes p)
{
    struct order o = order_of(p);
    struct words high = widen(o.high), range = widen(o.range), middle = widen(o.middle);
    struct quotients low_q = divide(high.low, range.low, middle.low);
    struct quotients high_q = divide(high.high, range.high, middle.high);
    __m256i w = narrow((struct words){low_q.w, high_q.w});
    __m256i is_whole = _mm256_packs_epi16(low_q.is_whole, high_q.is_whole);

    /* Below red is below a whole turn, 255. Masks are -1: below, -w - 1, or -w where that is whole. */
    __m256i base = _mm256_blendv_epi8(_mm256_set1_epi8((char)170), _mm256_set1_epi8(85), o.is_g);
    __m256i part = _mm256_sub_epi8(_mm256_xor_si256(w, o.below), _mm256_and_si256(is_whole, o.below));

    base = _mm256_blendv_epi8(base, o.below, o.is_r);
    return (struct hsv){_mm256_add_epi8(_mm256_add_epi8(base, part), shortfalls(w, is_whole, &o)),
                        narrow((struct words){low_q.s, high_q.s}), o.high};
}

AVX2_INLINE __m256i distance(__m256i a, __m256i b)
{
    return _mm256_sub_epi8(_mm256_max_epu8(a, b), _mm256_min_epu8(a, b));
}

/* The weight of S in the channel in between, 0..85: 85 - 2 h and 2 h - 85 in turns, h modulo 85. */
AVX2_INLINE __m256i middle_weight(__m256i h)
{
    const __m256i third = _mm256_set1_epi8(85);

    for (int i = 0; i < 3; i++)
        h = _mm256_min_epu8(h, _mm256_sub_epi8(h, third));
    return distance(_mm256_add_epi8(h, h), third);
}

/* v - v * s / 255, the quotient rounded, of 16 values. */
AVX2_INLINE __m256i darken(__m256i v, __m256i s)
{
    __m256i product = _mm256_add_epi16(_mm256_mullo_epi16(v, s), _mm256_set1_epi16(128));

    return _mm256_sub_epi16(v,
                            _mm256_srli_epi16(_mm256_add_epi16(product, _mm256_srli_epi16(product, 8)), 8));
}

/* v - v * share / 21675, the quotient rounded; share = s * weight, 255 * 85 = 21675 at most. The quotient is
 * first taken from the upper halves of products, which gives it or one less; then the remainder tells. */
AVX2_INLINE __m256i darken_share(__m256i v, __m256i share)
{
    __m256i scaled = _mm256_mulhi_epu16(_mm256_slli_epi16(v, 8), _mm256_set1_epi16((int16_t)49538));
    __m256i about = _mm256_add_epi16(_mm256_mulhi_epu16(share, scaled), _mm256_set1_epi16(32));
    __m256i quotient = _mm256_srli_epi16(about, 6);
    __m256i rest = _mm256_sub_epi16(_mm256_mullo_epi16(v, share),
                                    _mm256_mullo_epi16(quotient, _mm256_set1_epi16(21675)));
    __m256i is_less = _mm256_cmpgt_epi16(rest, _mm256_set1_epi16(21675 / 2));

    return _mm256_add_epi16(_mm256_sub_epi16(v, quotient), is_less);
}

/* A channel by how far H is from its own: within a sixth of a turn full, beyond a third dark. Masks are the
 * uppermost bits. */
AVX2_INLINE __m256i choose(__m256i away, __m256i full, __m256i between, __m256i dark)
{
    __m256i is_full = _mm256_sub_epi8(away, _mm256_set1_epi8(43));
    __m256i is_dark = _mm256_adds_epu8(away, _mm256_set1_epi8(43));

    return _mm256_blendv_epi8(_mm256_blendv_epi8(between, dark, is_dark), full, is_full);
}

AVX2_INLINE struct planes to_rgb(struct hsv p)
{
    struct words v = widen(p.v), s = widen(p.s), weight = widen(middle_weight(p.h));
    __m256i dark = narrow((struct words){darken(v.low, s.low), darken(v.high, s.high)});
    __m256i between = narrow((struct words){darken_share(v.low, _mm256_mullo_epi16(s.low, weight.low)),
                                            darken_share(v.high, _mm256_mullo_epi16(s.high, weight.high))});
    __m256i other_way = _mm256_xor_si256(p.h, _mm256_set1_epi8(-1)); /* 255 - h */

    return (struct planes){choose(_mm256_min_epu8(p.h, other_way), p.v, between, dark),
                           choose(distance(p.h, _mm256_set1_epi8(85)), p.v, between, dark),
                           choose(distance(p.h, _mm256_set1_epi8((char)170)), p.v, between, dark)};
}

AVX2 static void turn_part(struct planes_part *part, uint32_t n, unsigned char shift)
{
    const __m256i turn = _mm256_set1_epi8((char)shift);

    for (uint32_t i = 0; i < n; i += 32) {
        struct hsv p = to_hsv(planes_at(part, i));

        p.h = _mm256_add_epi8(p.h, turn);
        planes_put(part, i, to_rgb(p));
    }
}

/* ---- Passes ---- */

/* n pixels, at most PART. Returns the sum of luma of the result if that is wanted. */
AVX2 static uint64_t do_part(unsigned char *pixels, uint32_t n, const struct plan *plans, unsigned count,
                             bool want_luma)
{
    struct planes_part part;

    take_apart(&part, pixels, n);
    for (unsigned i = 0; i < count; i++) {
        if (plans[i].kind == IMK_STEP_HUE)
            turn_part(&part, n, plans[i].value);
        else
            blend_part(&part, n, &plans[i]);
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
    struct plan plans[IMK_STEPS_MAX];
    uint64_t sum = 0;

    for (unsigned i = 0; i < count; i++)
        plans[i] = plan_of(&steps[i]);
    for (uint32_t y = 0; y < rows; y++) {
        unsigned char *row = image->pixels + y * image->stride;

        for (uint32_t x = 0; x < width; x += PART) {
            uint32_t n = width - x < PART ? width - x : PART;

            sum += do_part(row + (size_t)3 * x, n, plans, count, ret_luma != NULL);
        }
    }
    if (ret_luma)
        *ret_luma = sum;
}

void imk_ops_avx2_steps(struct imk_ops *ops)
{
    ops->steps = do_steps;
}

#endif
