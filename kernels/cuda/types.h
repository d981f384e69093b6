/* What all CUDA kernels share: types of numbers, streams, rules.
 *
 * Every function below kernels/cuda puts one piece of work on a stream and returns at once: 0; -EIO when the
 * launch was refused (the caller asks the CUDA runtime why); -EINVAL when no kernel takes such arguments.
 * Nothing is allocated, nothing waits, nothing is copied to or from the host, so that all of it can be
 * recorded. Work on nothing (no samples, no elements) succeeds without a launch.
 *
 * Pointers are to device memory unless a comment says otherwise; numbers in the argument structs are the
 * host's and are fixed when the work is recorded, those that change from step to step lie behind pointers.
 *
 * Values of a network are NHWC. `pitch` is the distance from one pixel to the next in elements, at least c;
 * the channels c .. pitch-1 are padding that holds zeros: kernels read it as they like and write zeros.
 * Arithmetic is fp32 whatever is stored; results are rounded once, to the nearest, ties to even. Sums over
 * many elements add up in an order that depends on shapes only: the same bits on every run and every GPU.
 *
 * Kernels take 8 neighbouring elements a thread, in accesses of 16 bytes, where pointers are aligned to 16
 * bytes and the pitch is a multiple of 8, and element by element elsewhere. All are bound by memory: their
 * comments say the bytes moved for an element of s bytes. */
#ifndef KERNELS_CUDA_TYPES_H
#define KERNELS_CUDA_TYPES_H

#include <stddef.h>
#include <stdint.h>

struct CUstream_st; /* cudaStream_t points to it; NULL: the default stream */

enum imk_cuda_type { IMK_CUDA_FP32, IMK_CUDA_BF16, IMK_CUDA_FP16 };

/* ReLU leaves one bit an element behind, 1 where the result is above 0: bit k % 8 of byte k / 8 of a row of
 * ceil(pitch / 8) bytes. Flat arrays are one row. */
static inline size_t imk_cuda_mask_bytes(size_t rows, size_t pitch)
{
    return rows * ((pitch + 7) / 8);
}

#endif
