/* A block takes a tile: some channels of one output with all their taps, at most TILE numbers, contiguous in
 * the arena. It is read in the order of one side into shared memory and written in the order of the other.
 * Tensors with one tap and no padding have the same order on both sides: they are one row of numbers that is
 * cast by groups of 8. */
#include "kernels/cuda/pack.h"

#include "kernels/cuda/device.cuh"

enum { TILE = 4096 };

/* How a tensor is cut. straight: as one row. */
struct tiles {
    uint64_t straight; /* numbers of a straight tensor; 0: it is not one */
    uint32_t channels; /* of a tile */
    uint32_t per_output;
    uint64_t count;
};

IMK_BOTH struct tiles tiles_of(const struct imk_cuda_packing &r)
{
    struct tiles t = {0, 0, 0, 0};

    if (r.taps == 1 && r.pitch == r.c) {
        t.straight = (uint64_t)r.k * (uint64_t)r.c;
        t.count = (t.straight + TILE - 1) / TILE;
        return t;
    }
    t.channels = (uint32_t)TILE / (uint32_t)r.taps;
    t.per_output = ((uint32_t)r.pitch + t.channels - 1) / t.channels;
    t.count = (uint64_t)r.k * t.per_output;
    return t;
}

/* This block's tensor. All threads call it. */
IMK_DEVICE struct imk_cuda_packing row_of(const struct imk_cuda_packing *rows, uint32_t row_count)
{
    IMK_SHARED(uint32_t, found, 1);

    for (uint32_t r = threadIdx.x; r < row_count; r += blockDim.x)
        if (blockIdx.x - rows[r].first_block < rows[r].block_count) /* below first_block: wraps around */
            found[0] = r;
    __syncthreads();
    return rows[found[0]];
}

/* The tile of this block: output, first channel, channels with the padding and without. */
struct tile {
    uint64_t output;
    uint32_t channel, width, real;
};

IMK_DEVICE struct tile tile_of(const struct imk_cuda_packing &r, const struct tiles &t)
{
    const uint32_t block = blockIdx.x - r.first_block;
    struct tile at = {block / t.per_output, block % t.per_output * t.channels, 0, 0};
    const uint32_t padded = (uint32_t)r.pitch - at.channel;
    const uint32_t left = at.channel < (uint32_t)r.c ? (uint32_t)r.c - at.channel : 0;

    at.width = padded < t.channels ? padded : t.channels;
    at.real = left < at.width ? left : at.width;
    return at;
}

template <bool WIDE, class X, class Y>
IMK_DEVICE void cast_tile(const X *from, Y *to, uint64_t count, uint32_t block)
{
    const uint64_t end = (uint64_t)(block + 1) * TILE < count ? (uint64_t)(block + 1) * TILE : count;

    for (uint64_t at = (uint64_t)block * TILE + threadIdx.x * GROUP; at < end; at += THREADS * GROUP)
        cast8<WIDE>(from + at, to + at, left_of(end, at));
}

/* This block's tile of a straight tensor. */
template <class X, class Y>
IMK_DEVICE void cast_straight(const X *from, Y *to, uint64_t count, uint32_t block)
{
    if ((size_t)from % 16 == 0 && (size_t)to % 16 == 0)
        cast_tile<true>(from, to, count, block);
    else
        cast_tile<false>(from, to, count, block);
}

template <class T> static __global__ void imk_pack_all(struct imk_cuda_pack a)
{
    IMK_SHARED(float, numbers, TILE);
    const struct imk_cuda_packing r = row_of(a.rows, a.row_count);
    const struct tiles t = tiles_of(r);
    const float *plain = a.plain + r.plain;
    T *packed = (T *)a.packed + r.packed;

    if (t.straight) {
        cast_straight(plain, packed, t.straight, blockIdx.x - r.first_block);
        return;
    }
    const struct tile at = tile_of(r, t);
    const uint32_t taps = (uint32_t)r.taps;

    plain += (at.output * (uint64_t)r.c + at.channel) * taps;
    packed += at.output * taps * (uint64_t)r.pitch + at.channel;
    for (uint32_t i = threadIdx.x; i < at.real * taps; i += THREADS)
        numbers[i] = plain[i];
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < at.width * taps; i += THREADS) {
        const uint32_t tap = i / at.width, channel = i % at.width;
        const float v = channel < at.real ? (float)numbers[channel * taps + tap] : 0.0f;

        from_float(v, &packed[(uint64_t)tap * (uint64_t)r.pitch + channel]);
    }
}

static __global__ void imk_unpack_all(struct imk_cuda_unpack a)
{
    IMK_SHARED(float, numbers, TILE);
    const struct imk_cuda_packing r = row_of(a.rows, a.row_count);
    const struct tiles t = tiles_of(r);
    const float *packed = a.packed + r.packed;
    float *plain = a.plain + r.plain;

    if (t.straight) {
        cast_straight(packed, plain, t.straight, blockIdx.x - r.first_block);
        return;
    }
    const struct tile at = tile_of(r, t);
    const uint32_t taps = (uint32_t)r.taps;

    plain += (at.output * (uint64_t)r.c + at.channel) * taps;
    packed += at.output * taps * (uint64_t)r.pitch + at.channel;
    for (uint32_t i = threadIdx.x; i < at.real * taps; i += THREADS) {
        const uint32_t tap = i / at.real, channel = i % at.real;

        numbers[channel * taps + tap] = packed[(uint64_t)tap * (uint64_t)r.pitch + channel];
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < at.real * taps; i += THREADS)
        plain[i] = numbers[i];
}

extern "C" uint32_t imk_cuda_packing_blocks(struct imk_cuda_packing *rows, uint32_t row_count)
{
    uint32_t blocks = 0;

    for (uint32_t i = 0; i < row_count; i++) {
        rows[i].first_block = blocks;
        rows[i].block_count = (uint32_t)tiles_of(rows[i]).count;
        blocks += rows[i].block_count;
    }
    return blocks;
}

extern "C" int imk_cuda_pack(const struct imk_cuda_pack *a, struct CUstream_st *stream)
{
    if (a->block_count > GRID_X_MAX)
        return -EINVAL;
    if (a->block_count == 0)
        return 0;
    return by_type(a->type, [&](auto t) {
        return launch(imk_pack_all<decltype(t)>, dim3(a->block_count), THREADS, stream, *a);
    });
}

extern "C" int imk_cuda_unpack(const struct imk_cuda_unpack *a, struct CUstream_st *stream)
{
    if (a->block_count > GRID_X_MAX)
        return -EINVAL;
    return a->block_count ? launch(imk_unpack_all, dim3(a->block_count), THREADS, stream, *a) : 0;
}
