/* FLOPs of training and the peak rate of a GPU: the two terms of model FLOPs utilisation (MFU; Chowdhery et
 * al. 2022, appendix B). */
#ifndef TRAINER_MODEL_FLOPS_H
#define TRAINER_MODEL_FLOPS_H

#include "trainer/backends/backend.h"
#include "trainer/model/groups.h"

/* Floating-point operations of training on one image of size x size: 2 for each multiply-accumulate of
 * convolutions and the classifier, forward, gradient of the weights and gradient of the input, which the
 * first convolution does not need. What is frozen has less of them (groups; NULL: all is trained). Recomputation
 * and other operations are not counted. */
double tr_training_flop(const struct tr_model *model, const struct tr_groups *groups, int size);

/* Peak rate of dense matrix arithmetic in FLOP/s of the GPU with this CUDA device name, with 32-bit
 * accumulation, from the data sheet; 0: unknown, never estimated. tf32: fp32 values may be multiplied as
 * TF32. */
double tr_peak_flops(const char *name, enum imk_dtype precision, bool tf32);

#endif
