/* CUDA's words for the kernels in kernels/cuda, on a CPU: the unchanged .cu files compile as C++ after this
 * header (-x c++ -include), and a launch runs there and then.
 *
 * All blocks run one after the other, all threads of a block as fibres that change over at barriers and
 * shuffles, in an order that a seed shuffles, so that what depends on an order shows as a wrong result. What
 * would be undefined on a GPU is an error here: the launch fails with -EIO and emulation_error() says why.
 *
 *   - threads of a block that do not all come to the same barrier or shuffle
 *   - a number of shared memory that is read before it was written, or out of bounds, or that two threads
 * use, one of them writing, with no barrier in between
 *   - accesses of 8 and 16 bytes that are not aligned to that
 *   - a grid or a block larger than a GPU takes, shared memory of more than 48 KiB
 *
 * What it cannot see: the caches, other streams, global memory that blocks of one launch share (no kernel of
 * ours does), time. Accesses out of global memory's bounds are AddressSanitizer's to find. */
#ifndef TESTS_CUDA_EMULATOR_EMULATION_H
#define TESTS_CUDA_EMULATOR_EMULATION_H

#ifdef __cplusplus

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define IMK_UNROLL
#define IMK_UNROLL4

struct CUstream_st;

struct uint2 {
    unsigned x, y;
};

struct uint4 {
    unsigned x, y, z, w;
};

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

/* Of the fibre that runs. */
struct emulated_thread {
    dim3 thread, block, block_size, grid;
};
extern struct emulated_thread emulated;

#define threadIdx (emulated.thread)
#define blockIdx (emulated.block)
#define blockDim (emulated.block_size)
#define gridDim (emulated.grid)

/* ---- what emulation.cc does ---- */

int emulation_launch(dim3 blocks, unsigned threads, void (*kernel)(void *), void *argument);
void emulation_barrier(int line, const char *file);

/* Hands over 8 bytes at most; returns those of the lane that is this one's number ^ mask. */
uint64_t emulation_shuffle(unsigned lanes, uint64_t bits, int mask);

/* A shared array of this block: made at its first use, one for each tag. */
struct emulated_array;
struct emulated_array *emulation_shared(const void *tag, size_t count, size_t item_bytes);
void *emulation_read(struct emulated_array *array, size_t i);
void *emulation_write(struct emulated_array *array, size_t i);
void emulation_fail(const char *sentence);

/* ---- CUDA's words ---- */

#define __syncthreads() emulation_barrier(__LINE__, __FILE__)

template <class V> static inline V __shfl_xor_sync(unsigned lanes, V value, int mask)
{
    uint64_t bits = 0;

    static_assert(sizeof(V) <= sizeof bits, "a register or two");
    memcpy(&bits, &value, sizeof(V));
    bits = emulation_shuffle(lanes, bits, mask);
    memcpy(&value, &bits, sizeof(V));
    return value;
}

static inline float __uint_as_float(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t __float_as_uint(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* ---- what device.cuh leaves to us ---- */

template <class A> static int launch(void (*kernel)(A), dim3 blocks, unsigned threads, CUstream_st *, A a)
{
    struct call {
        void (*kernel)(A);
        const A *a;
    } call = {kernel, &a};

    static_assert(sizeof(A) <= 4096, "a GPU takes no more");
    return emulation_launch(
        blocks, threads,
        [](void *argument) {
            const struct call *c = (const struct call *)argument;

            c->kernel(*c->a);
        },
        &call);
}

/* One number of a shared array; reading and writing are checked. */
template <class V> struct emulated_number {
    struct emulated_array *array;
    size_t i;

    operator V() const
    {
        return *(const V *)emulation_read(array, i);
    }
    V operator=(V value)
    {
        return *(V *)emulation_write(array, i) = value;
    }
    V operator=(const emulated_number &other) /* the number, not the place */
    {
        return *this = (V)other;
    }
};

template <class V> struct emulated_shared {
    struct emulated_array *array;

    template <class I> emulated_number<V> operator[](I i) const /* a negative one is out of bounds */
    {
        return {array, (size_t)i};
    }
};

#define IMK_SHARED(type, name, count)                                                                        \
    static const char name##_tag = 0;                                                                        \
    const emulated_shared<type> name = {emulation_shared(&name##_tag, count, sizeof(type))}

template <class Q> static inline Q emulated_load(const void *p)
{
    Q q;

    if ((uintptr_t)p % sizeof(Q) != 0)
        emulation_fail("an access of 8 or 16 bytes is not aligned");
    memcpy(&q, p, sizeof q);
    return q;
}

template <class Q> static inline void emulated_store(void *p, Q q)
{
    if ((uintptr_t)p % sizeof(Q) != 0)
        emulation_fail("an access of 8 or 16 bytes is not aligned");
    memcpy(p, &q, sizeof q);
}

static inline uint4 read16(const void *p)
{
    return emulated_load<uint4>(p);
}

static inline void write16(void *p, uint4 q)
{
    emulated_store(p, q);
}

static inline uint2 read8(const void *p)
{
    return emulated_load<uint2>(p);
}

static inline void write8(void *p, uint2 q)
{
    emulated_store(p, q);
}

extern "C" {
#endif

/* For tests. Order of blocks and threads: 0 as numbered, 1 backwards, above: shuffled. */
void emulation_seed(unsigned seed);

/* Why the last launch that failed did; "" when none has since the last call. */
const char *emulation_error(void);

/* Waits for what was launched: here nothing, 0. On a GPU (on_gpu.c) kernels fail late. */
int emulation_finish(void);

/* Since the last call. */
struct emulation_counts {
    unsigned long launches, blocks, threads, barriers;
};
struct emulation_counts emulation_count(void);

#ifdef __cplusplus
}
#endif

#endif
