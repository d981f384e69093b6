/* Describes a network: its tensors, with the names, shapes and order of torchvision's or timm's state_dict,
 * and its layers. No memory for values, no device.
 *
 *     resnet18, 34, 50, 101, 152          torchvision's (v1.5: the stride of a bottleneck sits on its 3x3
 *                                         convolution)
 *     resnetv2_18, 34, 50, 101, 152       timm's of that name: pre-activation (He et al. 2016, "Identity
 *                                         mappings in deep residual networks"), no ReLU on the
 *                                         shortcuts, a 1x1 convolution as classifier
 *     resnet20, 32, 44, 56                for CIFAR (He et al. 2016, "Deep residual learning", section 4.2):
 *                                         three stages of basic blocks with 16, 32 and 64 channels
 *
 *     airbench94                          for CIFAR (K. Jordan, arXiv 2404.00498, in its Muon variant of 2024-11):
 *                                         a whitened first layer, three groups of two 3x3 convolutions with 64,
 *                                         256 and 256 channels, GELU; airbench.c has the details
 *
 * The shortcuts of the CIFAR networks are projections (option B of section 3.3), so that their state_dict has
 * torchvision's names (`downsample.0`, `downsample.1`) and every operator is one that the larger networks use
 * too: resnet20 has 272,474 parameters at 10 classes, where the parameter-free option A has 269,722.
 *
 * Blur (Zhang 2019, "Making convolutional networks shift-invariant again") comes in two placements. ZHANG is
 * the one of timm's resnetblur50: the max-pool has stride 1 and a blur of stride 2 behind it; the strided
 * convolution of a block has stride 1, and behind its batch norm and ReLU comes a blur of stride 2; padding
 * by reflection; the 1x1 convolutions of the shortcuts keep their stride. FFCV is the one of ffcv-imagenet: a
 * blur of stride 1, padded with zeros, in front of every strided convolution of at least 16 input channels,
 * those of the shortcuts included. Neither has a tensor in the state_dict.
 *
 * In this folder: descriptions only, no device and no memory for values. Names, shapes and order of tensors
 * are a file format (state_dict) and do not change for a released model. A new model is a row of
 * ipc/config/models.h and, if its blocks are new, a function in resnet.c or a new builder, as airbench.c is; tests compare its
 * table with torchvision or timm. */
#ifndef TRAINER_MODEL_MODEL_H
#define TRAINER_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/backend.h"

struct im_text;

enum tr_stem {
    TR_STEM_AUTO,     /* small for resnet20, imagenet for the others */
    TR_STEM_IMAGENET, /* 7x7 stride 2, then 3x3 max-pool stride 2 */
    TR_STEM_SMALL,    /* 3x3 stride 1, no pool: images of 32 to 64 pixels */
};

enum tr_head {
    TR_HEAD_AUTO, /* conv for resnetv2, fc for the others */
    TR_HEAD_FC,   /* weight [classes][channels] */
    TR_HEAD_CONV, /* weight [classes][channels][1][1]: the same numbers in the shape of a 1x1 convolution */
};

enum tr_blurpool { TR_BLURPOOL_NONE, TR_BLURPOOL_ZHANG, TR_BLURPOOL_FFCV };

struct tr_model_config {
    const char *name;
    enum tr_stem stem;
    enum tr_head head;
    enum tr_blurpool blurpool;
    int classes;             /* 1 .. 2^20 */
    double drop_path_rate;   /* of the last block, from 0 to below 1; block i of n has i / (n - 1) of it */
    bool zero_init_residual; /* the last batch norm of a block starts with weight 0; resnetv2: the last
                                convolution, as timm's zero_init_last does */
};

enum tr_tensor_kind {
    TR_TENSOR_CONV_WEIGHT, /* the first six are in the parameter arena */
    TR_TENSOR_CONV_BIAS,
    TR_TENSOR_BN_WEIGHT,
    TR_TENSOR_BN_BIAS,
    TR_TENSOR_FC_WEIGHT,
    TR_TENSOR_FC_BIAS,
    TR_TENSOR_BN_MEAN, /* these two are in the statistics arena */
    TR_TENSOR_BN_VAR,
    TR_TENSOR_BN_COUNT, /* int64 scalar, num_batches_tracked: in no arena, always the network's number of
                           training steps */
};

/* The arena that holds a tensor. */
enum tr_tensor_home { TR_HOME_PARAMS, TR_HOME_STATS, TR_HOME_COUNTER };

#define TR_TENSOR_NAME_MAX 48
#define TR_STAGES_MAX 6 /* the stem, up to four stages of blocks, the head */

/* Initial distribution of a tensor. */
enum tr_init_kind {
    TR_INIT_CONSTANT, /* all equal to init_value */
    TR_INIT_NORMAL,   /* N(0, init_value^2) */
    TR_INIT_UNIFORM,  /* U(-init_value, init_value) */
    TR_INIT_IDENTITY, /* of a convolution: the first filters, one for each input channel, pass it as it is; the
                         others U(-init_value, init_value) */
};

struct tr_param_tensor {
    char name[TR_TENSOR_NAME_MAX];
    enum tr_tensor_kind kind;
    int rank;      /* 0 for a scalar */
    int shape[4];  /* the first `rank` count */
    size_t count;  /* elements */
    size_t offset; /* of the first element in its arena, in elements; a multiple of TR_ARENA_ALIGN */
    enum tr_init_kind init;
    double init_value;
    bool constant;    /* never trained */
    int stage, depth; /* groups.h */
};

#define TR_ARENA_ALIGN 16 /* floats: each tensor begins a cache line; the gaps are zero and stay zero */

/* One layer; its number is also the number of its output value. Inputs have smaller numbers. */
struct tr_layer {
    char name[TR_TENSOR_NAME_MAX]; /* of the module, as in the state_dict: "layer1.0.conv2" */
    enum tr_op_kind kind;
    int in[2];               /* -1: none */
    int channels;            /* of the output */
    int kernel, stride, pad; /* CONV, MAXPOOL, BLUR */
    bool relu;               /* BN, ADD */
    bool reflect;            /* BLUR: else it is padded with zeros */
    int tensor; /* first tensor: CONV weight; BN weight, bias, mean, var, count; FC weight, bias; GELU bias; -1: none */
    bool constant;    /* its parameters are never trained */
    int stage;        /* groups.h */
    int block;        /* DROPPATH: which residual block it is in, from 0 */
    double drop_rate; /* DROPPATH: probability that a sample skips the block */
};

struct tr_model {
    char name[24];
    enum tr_stem stem; /* never AUTO */
    enum tr_head head; /* never AUTO */
    enum tr_blurpool blurpool;
    int classes;
    int stride; /* pixels of the image per place of the last values: the least image size */
    int blocks; /* number of residual blocks */
    int whitens; /* the layer whose filters follow from the images (whiten.h), which it takes as they are; 0: none */
    int stages, depths;              /* one more than the largest stage, depth */
    struct tr_param_tensor *tensors; /* in state_dict order */
    int tensor_count;
    struct tr_layer *layers; /* INPUT first, LOSS last */
    int layer_count;
    size_t param_count;  /* numbers of parameters, as torch counts them, constant ones among them */
    size_t param_floats; /* size of the parameter, gradient and momentum arenas, with the gaps */
    size_t stat_floats;  /* size of the statistics arena */
};

/* -EINVAL with a sentence: no such model, or a value out of range. The caller frees it. */
int tr_model_new(const struct tr_model_config *config, struct tr_model **ret_model, struct im_text *text);
void tr_model_free(struct tr_model *m); /* NULL is fine */

enum tr_tensor_home tr_tensor_home(const struct tr_param_tensor *t);

/* Whether weight decay applies: to weights of convolutions and the fully connected layer; not to batch norm,
 * not to biases. */
bool tr_tensor_decays(const struct tr_param_tensor *t);

/* The filters of a convolution that is neither the first layer nor the classifier: what Muon is for. */
bool tr_tensor_is_hidden_matrix(const struct tr_model *m, const struct tr_param_tensor *t);

/* Fills host arrays of param_floats and stat_floats with initial values of the distributions that torchvision
 * and timm draw from: convolutions N(0, 2 / (kh kw c_out)), batch norm weight 1, bias 0, mean 0, variance 1;
 * the classifier's weight and bias U(+-1/sqrt(c_in)) as torchvision has it, in resnetv2 N(0, 0.01^2) and 0 as
 * timm has it. Tensor i draws from im_rng_at(seed, IM_RNG_INIT, 0, i): a tensor's values do not depend on any
 * other tensor. */
void tr_model_init(const struct tr_model *m, uint64_t seed, float *params, float *stats);

/* The names of all models, separated by commas, as far as they fit. */
void tr_model_names(char *names, size_t size);

#endif
