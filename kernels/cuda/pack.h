/* Weights between the arena (fp32, torchvision's order OIHW) and what convolutions take (KRSC, low precision,
 * channels padded), and gradients back: all tensors in one launch, by a table in device memory. Tiles pass
 * through shared memory, so that both sides are read and written in order. 4 + s bytes an element. */
#ifndef KERNELS_CUDA_PACK_H
#define KERNELS_CUDA_PACK_H

#include "kernels/cuda/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One tensor. A fully connected layer is k outputs of c inputs with taps 1. */
struct imk_cuda_packing {
    uint64_t plain;       /* first element in the arena: [k][c][taps] */
    uint64_t packed;      /* first element in the packed array: [k][taps][pitch] */
    int32_t k, c, taps;   /* taps: kernel * kernel, 1 .. IMK_CUDA_TAPS_MAX */
    int32_t pitch;        /* >= c; the padding is written as zeros, and ignored when gradients are unpacked */
    uint32_t first_block; /* these two: imk_cuda_packing_blocks */
    uint32_t block_count;
};

#define IMK_CUDA_TAPS_MAX 256

/* Host: fills in first_block and block_count of all rows; returns the sum of the counts. */
uint32_t imk_cuda_packing_blocks(struct imk_cuda_packing *rows, uint32_t row_count);

struct imk_cuda_pack {
    const struct imk_cuda_packing *rows;
    uint32_t row_count, block_count;
    const float *plain;
    void *packed;
    enum imk_dtype type; /* of packed */
};
int imk_cuda_pack(const struct imk_cuda_pack *a, struct CUstream_st *stream);

/* plain = packed (fp32) in the other order; the gaps of the arena are left alone. */
struct imk_cuda_unpack {
    const struct imk_cuda_packing *rows;
    uint32_t row_count, block_count;
    const float *packed;
    float *plain;
};
int imk_cuda_unpack(const struct imk_cuda_unpack *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
