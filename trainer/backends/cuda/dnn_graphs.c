/* Convolutions and batch norm as cuDNN graphs.
 *
 * The patterns are those that cuDNN's engines support: single convolutions; NormAddRelu (batch norm, then an
 * addition, then ReLU with a mask) and DReluForkDNorm (the mask, a fork for the gradient of the added value,
 * then batch norm backward). Tests query cuDNN for engines of every one of them. */
#include "trainer/backends/cuda/dnn_graphs.h"

#include <string.h>

#include "ipc/base/err.h"

static struct tr_cudnn_tensor add_value(int n, int c, int h, int w, enum imk_dtype type)
{
    return (struct tr_cudnn_tensor){.n = n, .c = c, .h = h, .w = w, .type = type};
}

static struct tr_cudnn_tensor add_scalar(void)
{
    return (struct tr_cudnn_tensor){.n = 1, .c = 1, .h = 1, .w = 1, .type = IMK_F32, .by_value = true};
}

size_t tr_dnn_tensor_bytes(const struct tr_cudnn_tensor *t)
{
    size_t count = (size_t)t->n * (size_t)t->c * (size_t)t->h * (size_t)t->w;

    return t->bits ? (count + 7) / 8 : count * imk_dtype_bytes(t->type);
}

static int out_size(int in, const struct tr_dnn_conv_shape *s)
{
    return (in + 2 * s->pad - s->kernel) / s->stride + 1;
}

void tr_dnn_conv_graph(const struct tr_dnn_conv_shape *s, enum tr_dnn_conv_kind kind, enum imk_dtype type,
                       bool after, struct tr_dnn_graph *ret_graph)
{
    static const enum tr_cudnn_kind kinds[TR_DNN_CONV_KINDS] = {
        [TR_DNN_CONV_FORWARD] = TR_CUDNN_CONV_FORWARD,
        [TR_DNN_CONV_BACKWARD_DATA] = TR_CUDNN_CONV_DATA,
        [TR_DNN_CONV_BACKWARD_ADD] = TR_CUDNN_CONV_DATA,
        [TR_DNN_CONV_BACKWARD_WEIGHTS] = TR_CUDNN_CONV_WEIGHTS,
    };
    struct tr_dnn_graph g = {.tensor_count = 3, .op_count = 1};
    bool adds = kind == TR_DNN_CONV_BACKWARD_ADD;

    g.tensors[TR_CONV_X] = add_value(s->n, s->c, s->h, s->w, type);
    g.tensors[TR_CONV_W] = add_value(s->k, s->c, s->kernel, s->kernel, type);
    g.tensors[TR_CONV_Y] = add_value(s->n, s->k, out_size(s->h, s), out_size(s->w, s), type);
    g.ops[0] = (struct tr_cudnn_op){kinds[kind], {TR_CONV_X, TR_CONV_W, TR_CONV_Y}, s->stride, s->pad, 0};
    if (adds && !after)
        g.ops[0].beta = 1;
    if (adds && after) {
        g.tensors[TR_CONV_X_BEFORE] = g.tensors[TR_CONV_X];
        g.tensors[TR_CONV_SUM] = g.tensors[TR_CONV_X];
        g.tensors[TR_CONV_SUM].type = IMK_F32; /* so that the sum is rounded once */
        g.tensors[TR_CONV_SUM].is_virtual = true;
        g.tensor_count = TR_CONV_TENSORS;
        g.ops[0].tensor[0] = TR_CONV_SUM;
        g.ops[1] =
            (struct tr_cudnn_op){.kind = TR_CUDNN_ADD, .tensor = {TR_CONV_SUM, TR_CONV_X_BEFORE, TR_CONV_X}};
        g.op_count = 2;
    }
    *ret_graph = g;
}

/* Appends an operation with inputs a and, unless negative, b. */
static void add_op(struct tr_dnn_graph *g, enum tr_cudnn_kind kind, int a, int b, int y)
{
    struct tr_cudnn_op op = {.kind = kind, .tensor = {a, b, y}};

    if (b < 0)
        op.tensor[1] = y;
    g->ops[g->op_count++] = op;
}

static void norm_forward_graph(const struct tr_dnn_norm_shape *s, enum imk_dtype type, bool add, bool relu,
                               struct tr_dnn_graph *g)
{
    struct tr_cudnn_tensor x = add_value(s->n, s->c, s->h, s->w, type),
                           channels = add_value(1, s->c, 1, 1, IMK_F32);
    struct tr_cudnn_op norm = {.kind = TR_CUDNN_NORM_FORWARD};

    for (int i = 0; i < TR_NORM_FORWARD_TENSORS; i++)
        g->tensors[i] = channels;
    g->tensors[TR_NORM_X] = g->tensors[TR_NORM_Y] = g->tensors[TR_NORM_Z] = x;
    g->tensors[TR_NORM_EPSILON] = g->tensors[TR_NORM_FACTOR] = g->tensors[TR_NORM_ZERO] = add_scalar();
    g->tensors[TR_NORM_MASK] = x;
    g->tensors[TR_NORM_MASK].bits = true;
    x.type = IMK_F32;
    x.is_virtual = true;
    g->tensors[TR_NORM_V] = g->tensors[TR_NORM_SUM] = x;
    g->tensor_count = TR_NORM_FORWARD_TENSORS;
    for (int i = 0; i <= TR_NORM_NEW_VAR; i++)
        norm.tensor[i] = i;
    if (add || relu)
        norm.tensor[TR_NORM_Y] = TR_NORM_V;
    g->ops[g->op_count++] = norm;
    if (add)
        add_op(g, TR_CUDNN_ADD, TR_NORM_V, TR_NORM_Z, relu ? TR_NORM_SUM : TR_NORM_Y);
    if (relu) {
        add_op(g, TR_CUDNN_RELU, add ? TR_NORM_SUM : TR_NORM_V, -1, TR_NORM_Y);
        add_op(g, TR_CUDNN_ABOVE, TR_NORM_Y, TR_NORM_ZERO, TR_NORM_MASK);
    }
}

static void norm_backward_graph(const struct tr_dnn_norm_shape *s, enum imk_dtype type, bool add, bool relu,
                                struct tr_dnn_graph *g)
{
    struct tr_cudnn_tensor x = add_value(s->n, s->c, s->h, s->w, type),
                           channels = add_value(1, s->c, 1, 1, IMK_F32);
    struct tr_cudnn_op norm = {.kind = TR_CUDNN_NORM_BACKWARD};

    for (int i = 0; i < TR_NORM_BACKWARD_TENSORS; i++)
        g->tensors[i] = channels;
    g->tensors[TR_NORM_BACK_X] = g->tensors[TR_NORM_BACK_DY] = g->tensors[TR_NORM_BACK_DX] = x;
    g->tensors[TR_NORM_BACK_MASK] = x;
    g->tensors[TR_NORM_BACK_MASK].bits = true;
    x.is_virtual = !add;
    g->tensors[TR_NORM_BACK_DZ] = x;
    g->tensor_count = TR_NORM_BACKWARD_TENSORS;
    for (int i = 0; i <= TR_NORM_BACK_DBIAS; i++)
        norm.tensor[i] = i;
    if (relu) {
        norm.tensor[TR_NORM_BACK_DY] = TR_NORM_BACK_DZ;
        add_op(g, TR_CUDNN_MUL, TR_NORM_BACK_DY, TR_NORM_BACK_MASK, TR_NORM_BACK_DZ);
    }
    g->ops[g->op_count++] = norm;
}

void tr_dnn_norm_graph(const struct tr_dnn_norm_shape *s, enum tr_dnn_norm_kind kind, enum imk_dtype type,
                       bool add, bool relu, struct tr_dnn_graph *ret_graph)
{
    struct tr_dnn_graph g = {0};

    if (kind == TR_DNN_NORM_FORWARD)
        norm_forward_graph(s, type, add, relu, &g);
    else
        norm_backward_graph(s, type, add, relu, &g);
    *ret_graph = g;
}
