/* The narrow types, as bits, and their conversions. CUDA's own headers have the same; these are here so that
 * the kernels also compile without CUDA, and round there as a GPU does: to the nearest, ties to even, NaN to
 * 0x7fff, too large to infinity. On a GPU the conversions are single instructions. */
#ifndef KERNELS_CUDA_NUMBER_CUH
#define KERNELS_CUDA_NUMBER_CUH

#include "kernels/cuda/types.h"

struct bf16 {
    uint16_t bits;
};

struct fp16 {
    uint16_t bits;
};

#define IMK_BOTH static __host__ __device__ __forceinline__
#define IMK_DEVICE static __device__ __forceinline__

IMK_DEVICE float to_float(float x)
{
    return x;
}

IMK_DEVICE float to_float(bf16 x)
{
    return __uint_as_float((uint32_t)x.bits << 16);
}

/* Two numbers in a word, the first in the low half. */
IMK_DEVICE void unpack(uint32_t word, float *v, bf16)
{
    v[0] = __uint_as_float(word << 16);
    v[1] = __uint_as_float(word & 0xffff0000u);
}

#ifdef __CUDA_ARCH__

IMK_DEVICE float to_float(fp16 x)
{
    float f;

    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x.bits));
    return f;
}

IMK_DEVICE void from_float(float x, fp16 *r)
{
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(r->bits) : "f"(x));
}

#else

IMK_DEVICE float to_float(fp16 x)
{
    uint32_t sign = (uint32_t)(x.bits & 0x8000u) << 16, rest = x.bits & 0x7fffu;

    if (rest >= 0x7c00)
        return __uint_as_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
    if (rest >= 0x0400)
        return __uint_as_float(sign | ((rest << 13) + (112u << 23)));
    return sign ? -(float)rest * 0x1p-24f : (float)rest * 0x1p-24f;
}

IMK_DEVICE void from_float(float x, fp16 *r)
{
    uint32_t bits = __float_as_uint(x), size = bits & 0x7fffffffu, half;

    if (size > 0x7f800000u) {
        r->bits = 0x7fff;
        return;
    }
    if (size >= 0x47800000u) /* 65536 */
        half = 0x7c00;
    else if (size >= 0x38800000u) /* 2^-14, the least normal number; the carry goes up to infinity */
        half = (size - (112u << 23) + 0xfffu + (size >> 13 & 1u)) >> 13;
    else /* the unit of 0.5f is 2^-24, and so is that of subnormal numbers */
        half = __float_as_uint(__uint_as_float(size) + 0.5f) - 0x3f000000u;
    r->bits = (uint16_t)((bits >> 16 & 0x8000u) | half);
}

#endif

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800

IMK_DEVICE void from_float(float x, bf16 *r)
{
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r->bits) : "f"(x));
}

IMK_DEVICE uint32_t pack(const float *v, bf16)
{
    uint32_t word;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(v[1]), "f"(v[0]));
    return word;
}

IMK_DEVICE uint32_t pack(const float *v, fp16)
{
    uint32_t word;

    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(v[1]), "f"(v[0]));
    return word;
}

#else

IMK_DEVICE void from_float(float x, bf16 *r)
{
    uint32_t bits = __float_as_uint(x);

    if ((bits & 0x7fffffffu) > 0x7f800000u)
        r->bits = 0x7fff;
    else
        r->bits = (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

template <class T> IMK_DEVICE uint32_t pack(const float *v, T)
{
    T low, high;

    from_float(v[0], &low);
    from_float(v[1], &high);
    return low.bits | (uint32_t)high.bits << 16;
}

#endif

IMK_DEVICE void unpack(uint32_t word, float *v, fp16)
{
    v[0] = to_float(fp16{(uint16_t)(word & 0xffffu)});
    v[1] = to_float(fp16{(uint16_t)(word >> 16)});
}

IMK_DEVICE void from_float(float x, float *r)
{
    *r = x;
}

/* The number that storing x and loading it again gives. */
template <class T> IMK_DEVICE float rounded(float x)
{
    T r;

    from_float(x, &r);
    return to_float(r);
}

#endif
