/* Affine sampling for AVX2, equal to the reference in every bit: eight output pixels at a time.
 *
 * Positions are computed in vectors. Where all eight pixels have their four neighbours inside the image, each
 * pair of neighbours is one load of 8 bytes; bilinear weights have 6 bits, so that vpmaddubsw does the
 * vertical and vpmaddwd the horizontal interpolation exactly. Elsewhere positions are reflected or clamped in
 * vectors too, and pixels gathered one by one; those so far out that one reflection does not bring them back
 * go through the reference, as do images whose offsets do not fit 32 bits.
 *
 * Not here: Pillow's nearest neighbours in double precision, which it takes for positions past 32768 only. */
#if defined(__x86_64__)

#include "kernels/ops.h"

#include <immintrin.h>
#include <string.h>

#include "kernels/ops_versions.h"

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Columns whose steps are computed at a time. */
#define BLOCK 512

struct source {
    const unsigned char *pixels;
    __m256i last_x, last_y, stride, fill;
    enum imk_border border;
};

/* Where eight pixels are in the source, and which of them are there. */
struct places {
    __m256i offset, mask;
};

AVX2_INLINE __m256i all(int32_t value)
{
    return _mm256_set1_epi32(value);
}

AVX2_INLINE struct source source_of(const struct imk_image *src, const struct imk_affine *affine,
                                    enum imk_border border)
{
    uint32_t fill =
        (uint32_t)affine->fill[0] | (uint32_t)affine->fill[1] << 8 | (uint32_t)affine->fill[2] << 16;

    return (struct source){src->pixels,
                           all((int32_t)src->width - 1),
                           all((int32_t)src->height - 1),
                           all((int32_t)src->stride),
                           all((int32_t)fill),
                           border};
}

/* Whether offsets fit 32 bits, and pixels have neighbours. */
static bool is_usual(const struct imk_image *src)
{
    return src->stride <= (size_t)INT32_MAX / src->height && src->width > 1 && src->height > 1;
}

AVX2_INLINE __m256i clamp(__m256i p, __m256i last)
{
    return _mm256_max_epi32(_mm256_min_epi32(p, last), _mm256_setzero_si256());
}

/* Brings positions inside, by one reflection if that is the border: others stay outside. */
AVX2_INLINE __m256i bring_inside(__m256i p, __m256i last, enum imk_border border)
{
    if (border == IMK_BORDER_REFLECT_101)
        return _mm256_sub_epi32(last, _mm256_abs_epi32(_mm256_sub_epi32(last, _mm256_abs_epi32(p))));
    return border == IMK_BORDER_REPLICATE ? clamp(p, last) : p;
}

/* x and y after bring_inside. */
AVX2_INLINE struct places places_of(const struct source *s, __m256i x, __m256i y)
{
    __m256i cx = clamp(x, s->last_x), cy = clamp(y, s->last_y);
    __m256i offset =
        _mm256_add_epi32(_mm256_mullo_epi32(cy, s->stride), _mm256_add_epi32(cx, _mm256_add_epi32(cx, cx)));

    return (struct places){offset, _mm256_and_si256(_mm256_cmpeq_epi32(cx, x), _mm256_cmpeq_epi32(cy, y))};
}

/* R, G, B and one byte of no meaning. */
AVX2_INLINE __m256i gather(const struct source *s, struct places p)
{
    __m256i pixels = _mm256_i32gather_epi32((const int *)(const void *)s->pixels, p.offset, 1);

    return _mm256_blendv_epi8(s->fill, pixels, p.mask);
}

AVX2_INLINE bool is_all(__m256i mask)
{
    return _mm256_movemask_epi8(mask) == -1;
}

/* Writes n <= 8 pixels of 4 bytes as 3 bytes each. */
AVX2_INLINE void store_pixels(unsigned char *dst, __m256i pixels, uint32_t n)
{
    const __m256i pack =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8(pixels, pack),
                                                _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));

    if (n >= 8) {
        _mm_storeu_si128((__m128i *)(void *)dst, _mm256_castsi256_si128(bytes));
        _mm_storel_epi64((__m128i *)(void *)(dst + 16), _mm256_extracti128_si256(bytes, 1));
    } else {
        unsigned char rest[32];

        _mm256_storeu_si256((__m256i *)(void *)rest, bytes);
        memcpy(dst, rest, (size_t)3 * n);
    }
}

/* ---- Bilinear, OpenCV ---- */

/* Weights of eight pixels, as the two multiplications take them: 32 - f and f, in bytes (repeated) for the
 * vertical one and in 16-bit halves for the horizontal one. */
struct weights {
    __m256i vertical, horizontal;
};

AVX2_INLINE struct weights weights_of(__m256i fx, __m256i fy)
{
    __m256i pair_x = _mm256_or_si256(_mm256_slli_epi32(fx, 16), _mm256_sub_epi32(all(32), fx));
    __m256i pair_y = _mm256_or_si256(_mm256_slli_epi32(fy, 8), _mm256_sub_epi32(all(32), fy));

    return (struct weights){_mm256_or_si256(pair_y, _mm256_slli_epi32(pair_y, 16)), pair_x};
}

/* Sums of four vectors of two pixels each (0 and 4, 1 and 5, ...) to eight pixels of 4 bytes. */
AVX2_INLINE __m256i round_and_pack(__m256i s0, __m256i s1, __m256i s2, __m256i s3)
{
    const __m256i half = all(512);

    s0 = _mm256_srli_epi32(_mm256_add_epi32(s0, half), 10);
    s1 = _mm256_srli_epi32(_mm256_add_epi32(s1, half), 10);
    s2 = _mm256_srli_epi32(_mm256_add_epi32(s2, half), 10);
    s3 = _mm256_srli_epi32(_mm256_add_epi32(s3, half), 10);
    return _mm256_packus_epi16(_mm256_packs_epi32(s0, s1), _mm256_packs_epi32(s2, s3));
}

/* Two neighbours of a pixel, and those below them, byte by byte in turn. Reads 8 bytes of each row. */
AVX2_INLINE __m128i two_rows(const unsigned char *p, size_t stride)
{
    return _mm_unpacklo_epi8(_mm_loadl_epi64((const __m128i *)(const void *)p),
                             _mm_loadl_epi64((const __m128i *)(const void *)(p + stride)));
}

/* Two output pixels, one a lane. */
AVX2_INLINE __m256i two_pixels(const unsigned char *low, const unsigned char *high, size_t stride,
                               __m256i vertical, __m256i horizontal)
{
    /* 16-bit columns R0 G0 B0 R1 G1 B1 to pairs of one channel. */
    const __m256i pair =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11, -1, -1, -1, -1));
    __m256i rows =
        _mm256_inserti128_si256(_mm256_castsi128_si256(two_rows(low, stride)), two_rows(high, stride), 1);
    __m256i columns = _mm256_maddubs_epi16(rows, vertical);

    return _mm256_madd_epi16(_mm256_shuffle_epi8(columns, pair), horizontal);
}

/* Eight pixels whose neighbours are all inside. */
AVX2_INLINE __m256i inner_8(const struct source *s, size_t stride, __m256i x, __m256i y, struct weights w)
{
    const unsigned char *p = s->pixels;
    __m256i offset =
        _mm256_add_epi32(_mm256_mullo_epi32(y, s->stride), _mm256_add_epi32(x, _mm256_add_epi32(x, x)));
    uint32_t at[8];

    _mm256_storeu_si256((__m256i *)(void *)at, offset);
    return round_and_pack(two_pixels(p + at[0], p + at[4], stride, _mm256_shuffle_epi32(w.vertical, 0x00),
                                     _mm256_shuffle_epi32(w.horizontal, 0x00)),
                          two_pixels(p + at[1], p + at[5], stride, _mm256_shuffle_epi32(w.vertical, 0x55),
                                     _mm256_shuffle_epi32(w.horizontal, 0x55)),
                          two_pixels(p + at[2], p + at[6], stride, _mm256_shuffle_epi32(w.vertical, 0xaa),
                                     _mm256_shuffle_epi32(w.horizontal, 0xaa)),
                          two_pixels(p + at[3], p + at[7], stride, _mm256_shuffle_epi32(w.vertical, 0xff),
                                     _mm256_shuffle_epi32(w.horizontal, 0xff)));
}

/* Four neighbours of each of eight pixels, 4 bytes each. */
struct corners {
    __m256i top_left, top_right, bottom_left, bottom_right;
};

AVX2_INLINE __m256i interpolate(struct corners c, struct weights w)
{
    /* Pixels 0 1 | 4 5 in the low halves, 2 3 | 6 7 in the high ones. */
    __m256i v_low = _mm256_unpacklo_epi32(w.vertical, w.vertical);
    __m256i v_high = _mm256_unpackhi_epi32(w.vertical, w.vertical);
    __m256i l01 = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(c.top_left, c.bottom_left), v_low);
    __m256i l23 = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(c.top_left, c.bottom_left), v_high);
    __m256i r01 = _mm256_maddubs_epi16(_mm256_unpacklo_epi8(c.top_right, c.bottom_right), v_low);
    __m256i r23 = _mm256_maddubs_epi16(_mm256_unpackhi_epi8(c.top_right, c.bottom_right), v_high);

    return round_and_pack(
        _mm256_madd_epi16(_mm256_unpacklo_epi16(l01, r01), _mm256_shuffle_epi32(w.horizontal, 0x00)),
        _mm256_madd_epi16(_mm256_unpackhi_epi16(l01, r01), _mm256_shuffle_epi32(w.horizontal, 0x55)),
        _mm256_madd_epi16(_mm256_unpacklo_epi16(l23, r23), _mm256_shuffle_epi32(w.horizontal, 0xaa)),
        _mm256_madd_epi16(_mm256_unpackhi_epi16(l23, r23), _mm256_shuffle_epi32(w.horizontal, 0xff)));
}

/* Eight pixels anywhere, with the border constant. */
AVX2_INLINE __m256i outer_8(const struct source *s, __m256i x, __m256i y, struct weights w)
{
    __m256i x1 = _mm256_add_epi32(x, all(1)), y1 = _mm256_add_epi32(y, all(1));

    return interpolate((struct corners){gather(s, places_of(s, x, y)), gather(s, places_of(s, x1, y)),
                                        gather(s, places_of(s, x, y1)), gather(s, places_of(s, x1, y1))},
                       w);
}

/* A position on one axis: between p and p + 1, `fraction` / 32 of the way. */
struct axis {
    __m256i p, fraction;
};

/* The position inside that has the same two neighbours; those that one reflection does not bring inside are
 * still outside. last >= 1. */
AVX2_INLINE struct axis fold(struct axis a, __m256i last, enum imk_border border)
{
    const __m256i one = all(1), whole = all(32);

    if (border == IMK_BORDER_REFLECT_101) {
        __m256i p0 = bring_inside(a.p, last, border),
                p1 = bring_inside(_mm256_add_epi32(a.p, one), last, border);
        __m256i turned = _mm256_cmpgt_epi32(p0, p1);
        __m256i other = _mm256_sub_epi32(whole, a.fraction);

        return (struct axis){_mm256_min_epi32(p0, p1), _mm256_blendv_epi8(a.fraction, other, turned)};
    }

    __m256i before = _mm256_cmpgt_epi32(_mm256_setzero_si256(), a.p);
    __m256i after = _mm256_cmpgt_epi32(_mm256_add_epi32(a.p, one), last);

    return (struct axis){clamp(a.p, _mm256_sub_epi32(last, one)),
                         _mm256_blendv_epi8(_mm256_andnot_si256(before, a.fraction), whole, after)};
}

/* True where p and p + 1 are both inside. */
AVX2_INLINE __m256i has_next(struct axis a, __m256i last)
{
    /* As unsigned numbers, positions before the image are after it. */
    return _mm256_cmpeq_epi32(_mm256_min_epu32(a.p, _mm256_sub_epi32(last, all(1))), a.p);
}

/* ---- Rows, OpenCV ---- */

/* A block of columns: the steps of each, in units of 2^-10, padded to a multiple of eight. */
struct block {
    uint32_t first, count;
    int32_t x[BLOCK], y[BLOCK];
};

static void block_fill(struct block *block, uint32_t first, uint32_t width, const double m[6])
{
    const double one = 1 << IMK_CV_COORD_BITS;

    block->first = first;
    block->count = width - first < BLOCK ? width - first : BLOCK;
    for (uint32_t i = 0; i < ((block->count + 7) & ~7u); i++) {
        block->x[i] = imk_cv_fixed(m[0] * (first + i) * one);
        block->y[i] = imk_cv_fixed(m[3] * (first + i) * one);
    }
}

AVX2_INLINE __m256i load_steps(const int32_t *steps, int32_t start)
{
    return _mm256_add_epi32(_mm256_loadu_si256((const __m256i *)(const void *)steps), all(start));
}

static void slow_pixels(unsigned char *dst, const struct imk_image *src, const struct imk_affine *affine,
                        const int32_t *x, const int32_t *y, const int32_t start[2], uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        imk_cv_sample(dst + (size_t)3 * i, src, affine, start[0] + x[i], start[1] + y[i]);
}

/* Positions of 16 bits, as OpenCV has. */
AVX2_INLINE __m256i to_short(__m256i p)
{
    return _mm256_min_epi32(_mm256_max_epi32(p, all(INT16_MIN)), all(INT16_MAX));
}

/* False: the reference is needed. The source has two rows and two columns at least. */
AVX2_INLINE bool bilinear_8(const struct source *s, size_t stride, __m256i x, __m256i y, __m256i *ret)
{
    const __m256i fraction = all(31);
    __m256i x5 = _mm256_srai_epi32(x, 5), y5 = _mm256_srai_epi32(y, 5);
    struct axis h = {to_short(_mm256_srai_epi32(x5, 5)), _mm256_and_si256(x5, fraction)};
    struct axis v = {to_short(_mm256_srai_epi32(y5, 5)), _mm256_and_si256(y5, fraction)};

    if (!is_all(_mm256_and_si256(has_next(h, s->last_x), has_next(v, s->last_y)))) {
        if (s->border == IMK_BORDER_CONSTANT) {
            *ret = outer_8(s, h.p, v.p, weights_of(h.fraction, v.fraction));
            return true;
        }
        h = fold(h, s->last_x, s->border);
        v = fold(v, s->last_y, s->border);
        if (!is_all(_mm256_and_si256(has_next(h, s->last_x), has_next(v, s->last_y))))
            return false;
    }
    *ret = inner_8(s, stride, h.p, v.p, weights_of(h.fraction, v.fraction));
    return true;
}

AVX2_INLINE bool nearest_8(const struct source *s, __m256i x, __m256i y, __m256i *ret)
{
    x = bring_inside(to_short(_mm256_srai_epi32(x, IMK_CV_COORD_BITS)), s->last_x, s->border);
    y = bring_inside(to_short(_mm256_srai_epi32(y, IMK_CV_COORD_BITS)), s->last_y, s->border);

    struct places places = places_of(s, x, y);

    if (s->border == IMK_BORDER_REFLECT_101 && !is_all(places.mask))
        return false;
    *ret = gather(s, places);
    return true;
}

AVX2_INLINE void opencv_row(unsigned char *dst, const struct imk_image *src, const struct imk_affine *affine,
                            const struct source *s, const struct block *block, const int32_t start[2])
{
    for (uint32_t i = 0; i < block->count; i += 8, dst += 24) {
        uint32_t n = block->count - i < 8 ? block->count - i : 8;
        __m256i x = load_steps(block->x + i, start[0]), y = load_steps(block->y + i, start[1]), pixels;
        bool done = affine->filter == IMK_BILINEAR ? bilinear_8(s, src->stride, x, y, &pixels)
                                                   : nearest_8(s, x, y, &pixels);

        if (done)
            store_pixels(dst, pixels, n);
        else
            slow_pixels(dst, src, affine, block->x + i, block->y + i, start, n);
    }
}

AVX2 static void affine_opencv(const struct imk_image *dst, const struct imk_image *src,
                               const struct imk_affine *affine)
{
    const double one = 1 << IMK_CV_COORD_BITS;
    const int32_t round = affine->filter == IMK_BILINEAR ? 16 : 512;
    const double *m = affine->m;
    struct source s = source_of(src, affine, affine->border);
    struct block block;

    if (!is_usual(src)) {
        struct imk_ops ref;

        imk_ops_ref_affine(&ref);
        ref.affine_opencv(dst, src, affine);
        return;
    }
    for (uint32_t first = 0; first < dst->width; first += BLOCK) {
        block_fill(&block, first, dst->width, m);
        for (uint32_t y = 0; y < dst->height; y++) {
            int32_t start[2] = {imk_cv_fixed((m[1] * y + m[2]) * one) + round,
                                imk_cv_fixed((m[4] * y + m[5]) * one) + round};

            opencv_row(dst->pixels + y * dst->stride + (size_t)3 * first, src, affine, &s, &block, start);
        }
    }
}

/* ---- Nearest, Pillow ---- */

AVX2_INLINE void pillow_fixed(const struct imk_image *dst, const struct source *s, struct imk_pillow_fixed f)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    __m256i steps_x = _mm256_mullo_epi32(index, all(f.step[0]));
    __m256i steps_y = _mm256_mullo_epi32(index, all(f.step[1]));
    __m256i eight_x = _mm256_slli_epi32(all(f.step[0]), 3), eight_y = _mm256_slli_epi32(all(f.step[1]), 3);

    for (uint32_t y = 0; y < dst->height; y++) {
        uint32_t start_x = (uint32_t)f.origin[0] + y * (uint32_t)f.row_step[0];
        uint32_t start_y = (uint32_t)f.origin[1] + y * (uint32_t)f.row_step[1];
        __m256i px = _mm256_add_epi32(all((int32_t)start_x), steps_x);
        __m256i py = _mm256_add_epi32(all((int32_t)start_y), steps_y);
        unsigned char *out = dst->pixels + y * dst->stride;

        for (uint32_t x = 0; x < dst->width; x += 8, out += 24) {
            struct places places = places_of(s, _mm256_srai_epi32(px, 16), _mm256_srai_epi32(py, 16));

            store_pixels(out, gather(s, places), dst->width - x);
            px = _mm256_add_epi32(px, eight_x);
            py = _mm256_add_epi32(py, eight_y);
        }
    }
}

/* Scaling and translation: Pillow adds up positions in double precision, each axis on its own. */
AVX2 static void pillow_scale(const struct imk_image *dst, const struct source *s,
                              const struct imk_affine *affine)
{
    const double *m = affine->m;
    double px = m[2] + m[0] * 0.5;
    int32_t column[BLOCK];

    for (uint32_t first = 0; first < dst->width; first += BLOCK) {
        uint32_t count = dst->width - first < BLOCK ? dst->width - first : BLOCK;
        double py = m[5] + m[4] * 0.5;

        memset(column, 0, sizeof column);
        for (uint32_t i = 0; i < count; i++, px += m[0])
            column[i] = imk_pillow_whole(px);
        for (uint32_t y = 0; y < dst->height; y++, py += m[4]) {
            unsigned char *out = dst->pixels + y * dst->stride + (size_t)3 * first;
            __m256i row = all(imk_pillow_whole(py));

            for (uint32_t i = 0; i < count; i += 8, out += 24)
                store_pixels(out, gather(s, places_of(s, load_steps(column + i, 0), row)), count - i);
        }
    }
}

/* ---- Bilinear, Pillow: in double precision, four pixels at a time ---- */

/* from + (to - from) * part, as BILINEAR of Geometry.c. */
AVX2_INLINE __m256d between(__m256d from, __m256d to, __m256d part)
{
    return _mm256_add_pd(from, _mm256_mul_pd(_mm256_sub_pd(to, from), part));
}

AVX2_INLINE __m256d channel_of(__m128i pixels, int c)
{
    return _mm256_cvtepi32_pd(_mm_and_si128(_mm_srli_epi32(pixels, 8 * c), _mm_set1_epi32(255)));
}

AVX2_INLINE __m128i clamp_4(__m128i p, __m256i last)
{
    return _mm_max_epi32(_mm_min_epi32(p, _mm256_castsi256_si128(last)), _mm_setzero_si128());
}

/* Four pixels of 4 bytes at columns x and at rows that begin at y. */
AVX2_INLINE __m128i gather_4(const struct source *s, __m128i x, __m128i y)
{
    __m128i offset = _mm_add_epi32(y, _mm_add_epi32(x, _mm_add_epi32(x, x)));

    return _mm_i32gather_epi32((const int *)(const void *)s->pixels, offset, 1);
}

/* Four pixels at positions inside the image; elsewhere whatever is nearest. */
AVX2_INLINE __m128i pillow_sample(const struct source *s, __m256d px, __m256d py)
{
    const __m256d half = _mm256_set1_pd(0.5);
    const __m128i one = _mm_set1_epi32(1), stride = _mm256_castsi256_si128(s->stride);
    __m256d fx = _mm256_sub_pd(px, half), fy = _mm256_sub_pd(py, half);
    __m256d left = _mm256_floor_pd(fx), top = _mm256_floor_pd(fy);
    __m256d dx = _mm256_sub_pd(fx, left), dy = _mm256_sub_pd(fy, top);
    __m128i x = _mm256_cvttpd_epi32(left), y = _mm256_cvttpd_epi32(top);
    __m128i x0 = clamp_4(x, s->last_x), x1 = clamp_4(_mm_add_epi32(x, one), s->last_x);
    __m128i y0 = _mm_mullo_epi32(clamp_4(y, s->last_y), stride);
    __m128i y1 = _mm_mullo_epi32(clamp_4(_mm_add_epi32(y, one), s->last_y), stride);
    __m128i top_left = gather_4(s, x0, y0), top_right = gather_4(s, x1, y0);
    __m128i bottom_left = gather_4(s, x0, y1), bottom_right = gather_4(s, x1, y1);
    __m128i pixels = _mm_setzero_si128();

    for (int c = 0; c < 3; c++) {
        __m256d upper = between(channel_of(top_left, c), channel_of(top_right, c), dx);
        __m256d lower = between(channel_of(bottom_left, c), channel_of(bottom_right, c), dx);
        __m128i value = _mm256_cvttpd_epi32(between(upper, lower, dy));

        pixels = _mm_or_si128(pixels, _mm_slli_epi32(value, 8 * c));
    }
    return pixels;
}

/* All bits of those of four pixels whose positions are inside. */
AVX2_INLINE __m128i is_inside(__m256d px, __m256d py, __m256d width, __m256d height)
{
    const __m256d zero = _mm256_setzero_pd();
    __m256d x = _mm256_and_pd(_mm256_cmp_pd(px, zero, _CMP_GE_OQ), _mm256_cmp_pd(px, width, _CMP_LT_OQ));
    __m256d y = _mm256_and_pd(_mm256_cmp_pd(py, zero, _CMP_GE_OQ), _mm256_cmp_pd(py, height, _CMP_LT_OQ));
    __m256i wide = _mm256_castpd_si256(_mm256_and_pd(x, y));

    /* The lower halves of four 64-bit masks. */
    return _mm256_castsi256_si128(
        _mm256_permutevar8x32_epi32(wide, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6)));
}

/* Writes n <= 4 pixels of 4 bytes as 3 bytes each. */
AVX2_INLINE void store_4(unsigned char *dst, __m128i pixels, uint32_t n)
{
    __m128i bytes =
        _mm_shuffle_epi8(pixels, _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    unsigned char rest[16];

    _mm_storeu_si128((__m128i *)(void *)rest, bytes);
    if (n == 4)
        memcpy(dst, rest, 12);
    else
        memcpy(dst, rest, (size_t)3 * n);
}

AVX2 static void pillow_bilinear(const struct imk_image *dst, const struct imk_image *src,
                                 const struct source *s, const double m[6])
{
    const __m256d width = _mm256_set1_pd(src->width), height = _mm256_set1_pd(src->height);
    const __m256d centres = _mm256_setr_pd(0.5, 1.5, 2.5, 3.5);
    const __m128i fill = _mm256_castsi256_si128(s->fill);

    for (uint32_t y = 0; y < dst->height; y++) {
        unsigned char *out = dst->pixels + y * dst->stride;
        __m256d row_x = _mm256_set1_pd(m[1] * (y + 0.5)), row_y = _mm256_set1_pd(m[4] * (y + 0.5));

        for (uint32_t x = 0; x < dst->width; x += 4, out += 12) {
            __m256d at = _mm256_add_pd(_mm256_set1_pd(x), centres);
            __m256d px = _mm256_add_pd(_mm256_mul_pd(_mm256_set1_pd(m[0]), at), row_x);
            __m256d py = _mm256_add_pd(_mm256_mul_pd(_mm256_set1_pd(m[3]), at), row_y);
            __m128i pixels = fill, mask;

            px = _mm256_add_pd(px, _mm256_set1_pd(m[2]));
            py = _mm256_add_pd(py, _mm256_set1_pd(m[5]));
            mask = is_inside(px, py, width, height);
            if (_mm_movemask_epi8(mask) != 0)
                pixels = _mm_blendv_epi8(fill, pillow_sample(s, px, py), mask);
            store_4(out, pixels, dst->width - x < 4 ? dst->width - x : 4);
        }
    }
}

AVX2 static void affine_pillow(const struct imk_image *dst, const struct imk_image *src,
                               const struct imk_affine *affine)
{
    struct source s = source_of(src, affine, IMK_BORDER_CONSTANT);
    enum imk_pillow_way way = imk_pillow_way(dst, affine);

    if (way == IMK_PILLOW_BILINEAR && is_usual(src)) {
        pillow_bilinear(dst, src, &s, affine->m);
    } else if (way == IMK_PILLOW_FIXED && is_usual(src)) {
        pillow_fixed(dst, &s, imk_pillow_fixed(affine));
    } else if (way == IMK_PILLOW_SCALE && is_usual(src)) {
        pillow_scale(dst, &s, affine);
    } else {
        struct imk_ops ref;

        imk_ops_ref_affine(&ref);
        ref.affine_pillow(dst, src, affine);
    }
}

void imk_ops_avx2_affine(struct imk_ops *ops)
{
    ops->affine_opencv = affine_opencv;
    ops->affine_pillow = affine_pillow;
}

#endif
