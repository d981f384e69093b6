/* What a network is: its tensors, with torchvision's state_dict names, shapes and order, and its layers. No
 * memory for values, no device.
 *
 * resnet18, resnet34, resnet50 have torchvision's structure (v1.5: the stride of a bottleneck sits on its 3x3
 * convolution). resnet20 is the CIFAR network of He et al. 2016, section 4.2: three stages of three basic
 * blocks with 16, 32 and 64 channels. Its shortcuts are projections (option B of section 3.3), so that its
 * state_dict has torchvision's names (`downsample.0`, `downsample.1`) and every operator is one that the
 * larger networks use too: 272,474 parameters at 10 classes, where the parameter-free option A has 269,722.
 */
#ifndef TRAINER_MODEL_H
#define TRAINER_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backend.h"

struct im_text;

enum im_stem {
    IM_STEM_AUTO,     /* small for resnet20, imagenet for the others */
    IM_STEM_IMAGENET, /* 7x7 stride 2, then 3x3 max-pool stride 2 */
    IM_STEM_SMALL,    /* 3x3 stride 1, no pool: images of 32 to 64 pixels */
};

enum im_tensor_kind {
    IM_TENSOR_CONV_WEIGHT, /* the first five lie in the parameter arena */
    IM_TENSOR_BN_WEIGHT,
    IM_TENSOR_BN_BIAS,
    IM_TENSOR_FC_WEIGHT,
    IM_TENSOR_FC_BIAS,
    IM_TENSOR_BN_MEAN, /* these two in the statistics arena */
    IM_TENSOR_BN_VAR,
    IM_TENSOR_BN_COUNT, /* int64 scalar, num_batches_tracked: in no arena, all are the network's number of
                           training steps */
};

/* Where a tensor's numbers are. */
enum im_tensor_home { IM_HOME_PARAMS, IM_HOME_STATS, IM_HOME_COUNTER };

#define IM_TENSOR_NAME_MAX 48

struct im_tensor {
    char name[IM_TENSOR_NAME_MAX];
    enum im_tensor_kind kind;
    int rank;      /* 0 for a scalar */
    int shape[4];  /* the first `rank` count */
    size_t count;  /* elements */
    size_t offset; /* of the first element in its arena, in elements; a multiple of IM_ARENA_ALIGN */
};

#define IM_ARENA_ALIGN 16 /* floats: each tensor begins a cache line; the gaps are zero and stay zero */

/* One layer; its number is also the number of the value it makes. Inputs come before. */
struct im_layer {
    enum im_op_kind kind;
    int in[2];               /* -1: none */
    int channels;            /* of the output */
    int kernel, stride, pad; /* CONV, MAXPOOL */
    bool relu;               /* BN, ADD */
    int tensor; /* first tensor: CONV weight; BN weight, bias, mean, var, count; FC weight, bias; -1: none */
};

struct im_model {
    char name[16];
    enum im_stem stem;
    int classes;
    struct im_tensor *tensors; /* in state_dict order */
    int tensor_count;
    struct im_layer *layers; /* INPUT first, LOSS last */
    int layer_count;
    size_t param_count;  /* trainable numbers, as torch counts them */
    size_t param_floats; /* size of the parameter, gradient and momentum arenas, with the gaps */
    size_t stat_floats;  /* size of the statistics arena */
};

/* name: resnet18, resnet20, resnet34 or resnet50; classes 1 .. 2^20. -EINVAL with a sentence otherwise. The
 * caller frees it. */
int im_model_new(const char *name, enum im_stem stem, int classes, struct im_model **ret_model,
                 struct im_text *text);
void im_model_free(struct im_model *m); /* NULL is fine */

enum im_tensor_home im_tensor_home(const struct im_tensor *t);

/* Whether weight decay applies: to the weights of convolutions and of the fully connected layer; not to batch
 * norm, not to biases. */
bool im_tensor_decays(const struct im_tensor *t);

/* Fills host arrays of param_floats and stat_floats with the initial values torchvision draws: convolutions
 * N(0, 2 / (kh kw c_out)), fully connected weight and bias U(+-1/sqrt(c_in)), batch norm weight 1, bias 0,
 * mean 0, variance 1. Tensor i draws from im_rng_at(seed, IM_RNG_INIT, 0, i): a tensor's values do not depend
 * on any other tensor. */
void im_model_init(const struct im_model *m, uint64_t seed, float *params, float *stats);

/* Covers the parameter arena: a span for each tensor that decays, one for each run of others. The caller
 * frees *ret_spans. -ENOMEM. */
int im_model_spans(const struct im_model *m, struct im_span **ret_spans, size_t *ret_count);

#endif
