/* Pixels to the network's input: y = (pixel / 255 - mean[c]) / std[c], mixed, padded to pitch channels with
 * zeros. One pass; 3 (mixed: up to 6) + pitch * s bytes a pixel. Within 1e-6 of the exact value before y is
 * rounded, for mean and std of the usual sizes. */
#ifndef KERNELS_CUDA_INPUT_H
#define KERNELS_CUDA_INPUT_H

#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

struct imk_cuda_input {
    const uint8_t *pixels; /* [n][h][w][3] */
    void *y;               /* [n][h][w][pitch] */
    enum imk_dtype type;
    int n, h, w, pitch; /* 3 <= pitch <= 16; 4, 8 and 16 are fast */
    float mean[3], std[3];
    const struct imk_cuda_mix *mix; /* NULL: no mixing */
};
int imk_cuda_input(const struct imk_cuda_input *a, struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif

#endif
