/* Describes the convolutions and batch norms of dnn.h as cuDNN graphs. Pure descriptions: nothing here calls
 * cuDNN. */
#ifndef TRAINER_BACKENDS_CUDA_DNN_GRAPHS_H
#define TRAINER_BACKENDS_CUDA_DNN_GRAPHS_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/backends/cuda/cudnn.h"
#include "trainer/backends/cuda/dnn.h"

struct tr_dnn_graph {
    struct tr_cudnn_tensor tensors[TR_CUDNN_TENSORS];
    int tensor_count;
    struct tr_cudnn_op ops[TR_CUDNN_OPS];
    int op_count;
};

/* Indices of a convolution's tensors. X_BEFORE: the old contents of dx, the same memory as X. */
enum { TR_CONV_X, TR_CONV_W, TR_CONV_Y, TR_CONV_X_BEFORE, TR_CONV_SUM, TR_CONV_TENSORS };

/* BACKWARD_ADD has two formulations: beta = 1 of the convolution itself, or a pointwise addition after it.
 * Which of them has engines depends on the shape. Other kinds ignore `after`. */
void tr_dnn_conv_graph(const struct tr_dnn_conv_shape *shape, enum tr_dnn_conv_kind kind, enum imk_dtype type,
                       bool after, struct tr_dnn_graph *ret_graph);

/* Indices of a batch norm's tensors. NEW_: the updated running statistics, the same memory as RUN_. EPSILON,
 * FACTOR and ZERO are scalars in host memory; V and SUM are virtual. */
enum {
    TR_NORM_X,
    TR_NORM_SCALE,
    TR_NORM_BIAS,
    TR_NORM_EPSILON,
    TR_NORM_Y,
    TR_NORM_MEAN,
    TR_NORM_INV_DEV,
    TR_NORM_RUN_MEAN,
    TR_NORM_RUN_VAR,
    TR_NORM_FACTOR,
    TR_NORM_NEW_MEAN,
    TR_NORM_NEW_VAR,
    TR_NORM_Z,
    TR_NORM_MASK,
    TR_NORM_ZERO,
    TR_NORM_V,
    TR_NORM_SUM,
    TR_NORM_FORWARD_TENSORS
};
enum {
    TR_NORM_BACK_X,
    TR_NORM_BACK_MEAN,
    TR_NORM_BACK_INV_DEV,
    TR_NORM_BACK_SCALE,
    TR_NORM_BACK_DY,
    TR_NORM_BACK_DX,
    TR_NORM_BACK_DSCALE,
    TR_NORM_BACK_DBIAS,
    TR_NORM_BACK_MASK,
    TR_NORM_BACK_DZ,
    TR_NORM_BACKWARD_TENSORS
};
void tr_dnn_norm_graph(const struct tr_dnn_norm_shape *shape, enum tr_dnn_norm_kind kind, enum imk_dtype type,
                       bool add, bool relu, struct tr_dnn_graph *ret_graph);

/* Of a tensor in memory. */
size_t tr_dnn_tensor_bytes(const struct tr_cudnn_tensor *tensor);

#endif
