/* How much arithmetic training is, and how much a GPU can do: the two sides of the model's FLOPs utilisation
 * (MFU; Chowdhery et al. 2022, appendix B). */
#ifndef TRAINER_MODEL_FLOPS_H
#define TRAINER_MODEL_FLOPS_H

#include "trainer/backends/backend.h"
#include "trainer/model/model.h"

/* Floating-point operations of training on one image of size x size: 2 for each multiply-accumulate of
 * convolutions and the classifier, forward, gradient of the weights and gradient of the input, which the
 * first convolution does not need. Nothing is counted that is done twice or for another purpose. */
double tr_training_flop(const struct tr_model *model, int size);

/* Peak rate of dense matrix arithmetic in FLOP/s of the GPU that CUDA calls `name`, with 32-bit sums, as its
 * maker states it; 0: not known here, and none is made up. tf32: fp32 values may be multiplied as TF32. */
double tr_peak_flops(const char *name, enum tr_precision precision, bool tf32);

#endif
