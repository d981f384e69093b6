/* Kernels with a fault each, for the emulation to find, and good ones for it to leave alone. */
#include "tests/cuda/emulator/emulation.h"

#include "kernels/cuda/device.cuh"
#include "tests/cuda/emulator/bad_kernels.h"

struct nothing {
    float *out;
};

static __global__ void some_leave_before_the_barrier(nothing)
{
    if (threadIdx.x >= 40)
        return;
    __syncthreads();
}

static __global__ void two_barriers_in_branches(nothing)
{
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
}

static __global__ void half_a_warp_shuffles(nothing k)
{
    if (threadIdx.x % WARP < 16)
        k.out[0] = __shfl_xor_sync(0xffffffffu, 1.0f, 1);
}

static __global__ void reads_what_nobody_wrote(nothing k)
{
    IMK_SHARED(float, numbers, 64);

    if (threadIdx.x < 63)
        numbers[threadIdx.x] = 1.0f;
    __syncthreads();
    k.out[threadIdx.x] = numbers[threadIdx.x];
}

static __global__ void forgets_the_barrier(nothing k)
{
    IMK_SHARED(float, numbers, 64);

    numbers[threadIdx.x] = 1.0f;
    k.out[threadIdx.x] = numbers[63 - threadIdx.x];
}

static __global__ void writes_again_too_early(nothing k)
{
    IMK_SHARED(float, numbers, 64);

    numbers[threadIdx.x] = 1.0f;
    __syncthreads();
    k.out[threadIdx.x] = numbers[63 - threadIdx.x];
    numbers[threadIdx.x] = 2.0f;
}

static __global__ void two_write_one_number(nothing)
{
    IMK_SHARED(float, numbers, 64);

    numbers[threadIdx.x / 2] = 1.0f;
}

static __global__ void writes_past_the_end(nothing)
{
    IMK_SHARED(float, numbers, 64);

    numbers[threadIdx.x + 1] = 1.0f;
}

static __global__ void has_too_much_shared_memory(nothing)
{
    IMK_SHARED(double, numbers, 6145);

    numbers[threadIdx.x] = 1.0;
}

static __global__ void reads_across_16_bytes(nothing k)
{
    k.out[0] = (float)read16(k.out + 1).x;
}

static __global__ void sums_well(nothing k)
{
    const float sum = block_sum((float)threadIdx.x), most = block_max(-(float)threadIdx.x);

    k.out[threadIdx.x] = sum + most;
}

static __global__ void does_nothing(nothing)
{
}

typedef void kernel(nothing);

extern "C" int run_bad_kernel(enum bad_kernel which, float *out)
{
    static kernel *const kernels[] = {
        some_leave_before_the_barrier,
        two_barriers_in_branches,
        half_a_warp_shuffles,
        reads_what_nobody_wrote,
        forgets_the_barrier,
        writes_again_too_early,
        two_write_one_number,
        writes_past_the_end,
        has_too_much_shared_memory,
        reads_across_16_bytes,
        sums_well,
    };

    return launch(kernels[which], dim3(1), 64, nullptr, nothing{out});
}

extern "C" int run_grid(unsigned x, unsigned y, unsigned z, unsigned threads)
{
    return launch(does_nothing, dim3(x, y, z), threads, nullptr, nothing{nullptr});
}
