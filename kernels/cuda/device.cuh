/* What the kernels are written with: launches, groups of 8 numbers, sums over a block.
 *
 * The files below kernels/cuda compile in two ways. nvcc makes kernels of them. A C++ compiler makes
 * functions of them that tests run on the CPU, after a header of the tests that has CUDA's words
 * (__global__, threadIdx, __syncthreads ...) and, in place of the first part below, its own launch, shared
 * arrays and 16-byte accesses. So shared memory is declared with IMK_SHARED only and used as NAME[index]
 * only: the tests see each access. A kernel takes one struct; its name begins with imk_, by which profilers
 * and checkers find ours. */
#ifndef KERNELS_CUDA_DEVICE_CUH
#define KERNELS_CUDA_DEVICE_CUH

#include <errno.h>
#include <math.h>

#include "kernels/cuda/number.cuh"

#ifdef __CUDACC__

#define IMK_SHARED(type, name, count) __shared__ type name[count]
#define IMK_UNROLL _Pragma("unroll")
#define IMK_UNROLL4 _Pragma("unroll 4")

template <class A>
static int launch(void (*kernel)(A), dim3 blocks, unsigned threads, CUstream_st *stream, A a)
{
    void *list[] = {&a};
    cudaError_t err = cudaLaunchKernel((const void *)kernel, blocks, dim3(threads), list, 0, stream);

    return err == cudaSuccess ? 0 : -EIO;
}

IMK_DEVICE uint4 read16(const void *p)
{
    return *(const uint4 *)p;
}

IMK_DEVICE void write16(void *p, uint4 q)
{
    *(uint4 *)p = q;
}

IMK_DEVICE uint2 read8(const void *p)
{
    return *(const uint2 *)p;
}

IMK_DEVICE void write8(void *p, uint2 q)
{
    *(uint2 *)p = q;
}

#endif

enum {
    THREADS = 256,      /* of a block, unless a kernel says otherwise */
    THREADS_MAX = 1024, /* a kernel with as many says so: no compiler may give it too many registers */
    WARP = 32,
    GROUP = 8, /* numbers a thread takes at once */
    GRID_X_MAX = 0x7fffffff,
    GRID_Y_MAX = 65535,
};

/* ---- on the host ---- */

static inline bool aligned(const void *p)
{
    return (uintptr_t)p % 16 == 0;
}

template <class... P> static bool aligned(const void *p, P... more)
{
    return aligned(p) && aligned(more...);
}

static inline bool is_type(enum imk_dtype type)
{
    return type == IMK_F32 || type == IMK_BF16 || type == IMK_F16;
}

/* p + offset; NULL stays NULL. */
template <class T> IMK_BOTH T *past(T *p, size_t offset)
{
    return p ? p + offset : nullptr;
}

template <bool B> struct constant_flag {
    static const bool value = B;
};

/* f(a number of the type), f(constant_flag<wide>()): run time to compile time. */
template <class F> static int by_type(enum imk_dtype type, F f)
{
    switch (type) {
    case IMK_F32:
        return f(0.0f);
    case IMK_BF16:
        return f(bf16());
    case IMK_F16:
        return f(fp16());
    }
    return -EINVAL;
}

template <class F> static int by_flag(bool is, F f)
{
    return is ? f(constant_flag<true>()) : f(constant_flag<false>());
}

IMK_BOTH int64_t ceil_div(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

/* A launch over items, `per_block` of them a block. */
template <class A>
static int launch_over(void (*kernel)(A), uint64_t items, unsigned per_block, CUstream_st *stream, A a)
{
    uint64_t blocks = items / per_block + (items % per_block != 0);

    if (blocks == 0)
        return 0;
    if (blocks > GRID_X_MAX)
        return -EINVAL;
    return launch(kernel, dim3((unsigned)blocks), THREADS, stream, a);
}

/* ---- on the device ---- */

/* The number of this thread in a grid of one dimension. */
IMK_DEVICE uint64_t thread_number()
{
    return (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

IMK_DEVICE void load_wide(float *v, const float *p)
{
    uint4 a = read16(p), b = read16(p + 4);

    v[0] = __uint_as_float(a.x), v[1] = __uint_as_float(a.y);
    v[2] = __uint_as_float(a.z), v[3] = __uint_as_float(a.w);
    v[4] = __uint_as_float(b.x), v[5] = __uint_as_float(b.y);
    v[6] = __uint_as_float(b.z), v[7] = __uint_as_float(b.w);
}

template <class T> IMK_DEVICE void load_wide(float *v, const T *p)
{
    uint4 a = read16(p);

    unpack(a.x, v, T());
    unpack(a.y, v + 2, T());
    unpack(a.z, v + 4, T());
    unpack(a.w, v + 6, T());
}

IMK_DEVICE void store_wide(const float *v, float *p)
{
    write16(
        p, uint4{__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3])});
    write16(p + 4, uint4{__float_as_uint(v[4]), __float_as_uint(v[5]), __float_as_uint(v[6]),
                         __float_as_uint(v[7])});
}

template <class T> IMK_DEVICE void store_wide(const float *v, T *p)
{
    write16(p, uint4{pack(v, T()), pack(v + 2, T()), pack(v + 4, T()), pack(v + 6, T())});
}

/* Four numbers, on 16 (fp32) or 8 bytes. */
IMK_DEVICE void store4(const float *v, float *p)
{
    write16(
        p, uint4{__float_as_uint(v[0]), __float_as_uint(v[1]), __float_as_uint(v[2]), __float_as_uint(v[3])});
}

template <class T> IMK_DEVICE void store4(const float *v, T *p)
{
    write8(p, uint2{pack(v, T()), pack(v + 2, T())});
}

/* The 8 numbers at p, of which `left` are there; zeros for the others. WIDE: all are, on 16 bytes. */
template <bool WIDE, class T> IMK_DEVICE void load8(float *v, const T *p, int left)
{
    if constexpr (WIDE) {
        load_wide(v, p);
    } else {
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            v[j] = j < left ? to_float(p[j]) : 0.0f;
    }
}

template <bool WIDE, class T> IMK_DEVICE void store8(const float *v, T *p, int left)
{
    if constexpr (WIDE) {
        store_wide(v, p);
    } else {
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            if (j < left)
                from_float(v[j], &p[j]);
    }
}

/* The sum of two contributions to a gradient; b may be NULL. */
template <bool WIDE, class T> IMK_DEVICE void load_sum8(float *v, const T *a, const T *b, int left)
{
    float w[GROUP];

    load8<WIDE>(v, a, left);
    if (!b)
        return;
    load8<WIDE>(w, b, left);
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        v[j] += w[j];
}

/* How many numbers are left at a position of a flat array, as load8 expects it. */
IMK_DEVICE int left_of(uint64_t count, uint64_t at)
{
    return count - at < GROUP ? (int)(count - at) : (int)GROUP;
}

/* 8 numbers, or as many as are left. WIDE: both on 16 bytes. */
template <bool WIDE, class X, class Y> IMK_DEVICE void cast8(const X *from, Y *to, int left)
{
    float v[GROUP];

    if (WIDE && left == GROUP) {
        load8<WIDE>(v, from, left);
        store8<WIDE>(v, to, left);
    } else {
        load8<false>(v, from, left);
        store8<false>(v, to, left);
    }
}

/* The same 8 places of a place array: bytes. */
template <bool WIDE> IMK_DEVICE void load_bytes8(uint8_t *v, const uint8_t *p, int left)
{
    if constexpr (WIDE) {
        uint2 q = read8(p);

        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            v[j] = (uint8_t)((j < 4 ? q.x : q.y) >> 8 * (j % 4));
    } else {
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            v[j] = j < left ? p[j] : (uint8_t)0;
    }
}

template <bool WIDE> IMK_DEVICE void store_bytes8(const uint8_t *v, uint8_t *p, int left)
{
    if constexpr (WIDE) {
        uint2 q = {0, 0};

        IMK_UNROLL
        for (int j = 0; j < 4; j++) {
            q.x |= (uint32_t)v[j] << 8 * j;
            q.y |= (uint32_t)v[j + 4] << 8 * j;
        }
        write8(p, q);
    } else {
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++)
            if (j < left)
                p[j] = v[j];
    }
}

/* ReLU in place; the byte of its mask. */
IMK_DEVICE uint8_t relu8(float *v)
{
    unsigned bits = 0;

    IMK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        bits |= (v[j] <= 0.0f ? 0u : 1u) << j; /* NaN passes, */
        v[j] = v[j] < 0.0f ? 0.0f : v[j];      /* and stays */
    }
    return (uint8_t)bits;
}

IMK_DEVICE void mask8(float *v, uint8_t bits)
{
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        if (!(bits >> j & 1))
            v[j] = 0.0f;
}

/* The sum over the block, for all its threads, in an order that depends on the block's size only. All threads
 * call it; full warps. */
template <class V> IMK_DEVICE V block_sum(V value)
{
    IMK_SHARED(V, parts, WARP);
    V sum = 0;

    for (int offset = WARP / 2; offset > 0; offset /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, offset);
    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = value;
    __syncthreads();
    for (unsigned i = 0; i < blockDim.x / WARP; i++)
        sum += parts[i];
    __syncthreads(); /* parts may be written again */
    return sum;
}

/* The same for the largest value; NaN counts as smaller than all. */
IMK_DEVICE float block_max(float value)
{
    IMK_SHARED(float, parts, WARP);
    float most;

    for (int offset = WARP / 2; offset > 0; offset /= 2)
        value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, offset));
    if (threadIdx.x % WARP == 0)
        parts[threadIdx.x / WARP] = value;
    __syncthreads();
    most = parts[0];
    for (unsigned i = 1; i < blockDim.x / WARP; i++)
        most = fmaxf(most, parts[i]);
    __syncthreads();
    return most;
}

#endif
