/* RGB pixels as planes of bytes in AVX2 registers, and parts of rows as planes in memory: shared by the
 * operations that look at each channel by itself. x86-64 only. */
#ifndef KERNELS_CPU_PLANES_AVX2_H
#define KERNELS_CPU_PLANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE __attribute__((target("avx2"), always_inline)) static inline

/* Pixels taken apart at a time, a multiple of 32. */
#define PART 512

/* Bytes after the last pixel do not matter. */
struct planes_part {
    _Alignas(32) unsigned char r[PART], g[PART], b[PART];
};

/* 32 pixels. */
struct planes {
    __m256i r, g, b;
};

/* 32 values of 16 bits: in each, the low or high eight of either lane. */
struct words {
    __m256i low, high;
};

/* x0, x1 or x2 for places 0, 1, 2 modulo 3 of a lane. */
AVX2_INLINE __m256i mix(__m256i x0, __m256i x1, __m256i x2)
{
    const __m256i first =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0));
    const __m256i second =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0, 0, -1, 0));

    return _mm256_blendv_epi8(_mm256_blendv_epi8(x0, x1, first), x2, second);
}

AVX2_INLINE __m256i shuffle(__m256i bytes, __m128i places)
{
    return _mm256_shuffle_epi8(bytes, _mm256_broadcastsi128_si256(places));
}

/* The entry of a table of sixteen for each byte, by its low four bits (bytes are below 128). */
AVX2_INLINE __m256i look_up(__m128i table, __m256i bytes)
{
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), bytes);
}

/* 16 bytes for one lane, and those 48 bytes on for the other. */
AVX2_INLINE __m256i load_lanes(const unsigned char *src)
{
    __m128i low = _mm_loadu_si128((const __m128i *)(const void *)src);

    return _mm256_inserti128_si256(_mm256_castsi128_si256(low),
                                   _mm_loadu_si128((const __m128i *)(const void *)(src + 48)), 1);
}

AVX2_INLINE void store_lanes(unsigned char *dst, __m256i bytes)
{
    _mm_storeu_si128((__m128i *)(void *)dst, _mm256_castsi256_si128(bytes));
    _mm_storeu_si128((__m128i *)(void *)(dst + 48), _mm256_extracti128_si256(bytes, 1));
}

/* Reads 96 bytes. The bytes of one channel are at different places modulo 16: pixel p of a lane at 3
 * p + c. */
AVX2_INLINE struct planes load_32(const unsigned char *src)
{
    __m256i a = load_lanes(src), b = load_lanes(src + 16), c = load_lanes(src + 32);

    return (struct planes){
        shuffle(mix(a, c, b), _mm_setr_epi8(0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10, 13)),
        shuffle(mix(b, a, c), _mm_setr_epi8(1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14)),
        shuffle(mix(c, b, a), _mm_setr_epi8(2, 5, 8, 11, 14, 1, 4, 7, 10, 13, 0, 3, 6, 9, 12, 15))};
}

/* Writes 96 bytes. */
AVX2_INLINE void store_32(unsigned char *dst, struct planes p)
{
    __m256i r = shuffle(p.r, _mm_setr_epi8(0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10, 5));
    __m256i g = shuffle(p.g, _mm_setr_epi8(5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15, 10));
    __m256i b = shuffle(p.b, _mm_setr_epi8(10, 5, 0, 11, 6, 1, 12, 7, 2, 13, 8, 3, 14, 9, 4, 15));

    store_lanes(dst, mix(r, g, b));
    store_lanes(dst + 16, mix(g, b, r));
    store_lanes(dst + 32, mix(b, r, g));
}

AVX2_INLINE __m256i load(const unsigned char *plane)
{
    return _mm256_load_si256((const __m256i *)(const void *)plane);
}

AVX2_INLINE void store(unsigned char *plane, __m256i bytes)
{
    _mm256_store_si256((__m256i *)(void *)plane, bytes);
}

AVX2_INLINE struct planes planes_at(const struct planes_part *part, uint32_t i)
{
    return (struct planes){load(part->r + i), load(part->g + i), load(part->b + i)};
}

AVX2_INLINE void planes_put(struct planes_part *part, uint32_t i, struct planes p)
{
    store(part->r + i, p.r);
    store(part->g + i, p.g);
    store(part->b + i, p.b);
}

AVX2_INLINE void take_apart(struct planes_part *part, const unsigned char *src, uint32_t n)
{
    uint32_t i = 0;

    for (; i + 32 <= n; i += 32)
        planes_put(part, i, load_32(src + (size_t)3 * i));
    if (i < n) {
        unsigned char rest[96] = {0};

        memcpy(rest, src + (size_t)3 * i, (size_t)3 * (n - i));
        planes_put(part, i, load_32(rest));
    }
}

AVX2_INLINE void put_together(unsigned char *dst, const struct planes_part *part, uint32_t n)
{
    uint32_t i = 0;

    for (; i + 32 <= n; i += 32)
        store_32(dst + (size_t)3 * i, planes_at(part, i));
    if (i < n) {
        unsigned char rest[96];

        store_32(rest, planes_at(part, i));
        memcpy(dst + (size_t)3 * i, rest, (size_t)3 * (n - i));
    }
}

AVX2_INLINE struct words widen(__m256i bytes)
{
    const __m256i zero = _mm256_setzero_si256();

    return (struct words){_mm256_unpacklo_epi8(bytes, zero), _mm256_unpackhi_epi8(bytes, zero)};
}

/* To bytes, clipped. */
AVX2_INLINE __m256i narrow(struct words w)
{
    return _mm256_packus_epi16(w.low, w.high);
}

#endif
