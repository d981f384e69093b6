/* What all CUDA kernels share: types of numbers, streams, rules.
 *
 * Every function below kernels/cuda enqueues work on a stream and returns at once: 0; -EIO: the launch failed
 * (the caller queries the CUDA runtime); -EINVAL: unsupported arguments. Nothing allocates, waits, or copies
 * to or from the host, so that everything can be captured. Work on nothing (no samples, no elements) succeeds
 * without a launch.
 *
 * Pointers are to device memory unless a comment says otherwise; numbers in the argument structs are fixed at
 * capture; those that change from step to step are read through pointers.
 *
 * Values of a network are NHWC. `pitch` is the distance from one pixel to the next in elements, at least c;
 * the channels c .. pitch-1 are padding that holds zeros: kernels read it as they like and write zeros.
 * Arithmetic is fp32 whatever is stored; results are rounded once, to the nearest, ties to even. Sums over
 * many elements add up in an order that depends on shapes only: the same bits on every run and every GPU.
 *
 * Kernels take 8 neighbouring elements a thread, in accesses of 16 bytes, where pointers are aligned to 16
 * bytes and the pitch is a multiple of 8, and element by element elsewhere. All are bound by memory: their
 * comments say the bytes moved for an element of s bytes.
 *
 * In this folder: kernels without cuDNN or host logic; they also compile without CUDA and are tested on the
 * CPU (device.cuh). A kernel must not depend on the order of threads: sums have a fixed order. The names of
 * kernels begin with imk_, so that profilers show them. */
#ifndef KERNELS_CUDA_TYPES_H
#define KERNELS_CUDA_TYPES_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/dtype.h"

struct CUstream_st; /* cudaStream_t points to it; NULL: the default stream */

/* ReLU leaves one bit an element behind, 1 where the result is above 0: bit k % 8 of byte k / 8 of a row of
 * ceil(pitch / 8) bytes. Flat arrays are one row. */
static inline size_t imk_cuda_mask_bytes(size_t rows, size_t pitch)
{
    return rows * ((pitch + 7) / 8);
}

#endif
