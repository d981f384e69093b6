/* Plans of ops. The memory of a plan follows from its op alone (measure), so that a batch that does not fit
 * is refused before anything is allocated (measure.c); then come the plans of cuDNN and cuBLASLt and the shared scratch.
 *
 * Batch norm in training uses cuDNN if it supports the shape and the type in both directions, otherwise our
 * kernels in both, so that the saved state has one meaning. It saves means [c], inverse deviations [c], over
 * several ranks the number of values, a double; then the ReLU mask or, with a pool after it, the positions of
 * the maxima. Over several ranks our kernels run: cuDNN's engines cannot be interrupted between the
 * statistics and their use. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "kernels/cuda/gelu.h"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/norm.h"
#include "trainer/backends/cuda/impl.h"

static size_t aligned(size_t bytes)
{
    return (bytes + TR_CUDA_SAVE_ALIGN - 1) / TR_CUDA_SAVE_ALIGN * TR_CUDA_SAVE_ALIGN;
}

static size_t pixels_of(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.h * (size_t)s.w;
}

/* ---- what each kind needs ---- */

static int reserve_scratch(struct tr_backend *b, size_t bytes, struct im_text *text)
{
    return tr_cuda_buffer_grow(b, &b->scratch, bytes, false, "scratch memory of ops", text);
}

static int reserve_dw_scratch(struct tr_backend *b, size_t bytes, struct im_text *text)
{
    return tr_cuda_buffer_grow(b, &b->dw_scratch, bytes, false, "scratch memory of gradients of weights",
                               text);
}

static int new_conv(struct tr_backend *b, struct tr_op_plan *p, enum tr_dnn_conv_kind kind,
                    struct tr_dnn_conv **ret, struct im_text *text)
{
    const struct tr_op *op = &p->op;
    const struct tr_dnn_conv_shape shape = {.n = op->x.n,
                                            .h = op->x.h,
                                            .w = op->x.w,
                                            .c = p->x_pitch,
                                            .k = p->y_pitch,
                                            .kernel = op->kernel,
                                            .stride = op->stride,
                                            .pad = op->pad};

    return tr_dnn_conv_new(b->dnn, &shape, kind, p->type, ret, text);
}

/* Whether cuDNN has engines for a first convolution over four channels, of either stem. */
bool tr_cuda_has_narrow_input(struct tr_backend *b, enum imk_dtype type)
{
    static const struct tr_dnn_conv_shape stems[] = {{64, 224, 224, 4, 64, 7, 2, 3},
                                                     {64, 32, 32, 4, 64, 3, 1, 1}};
    static const enum tr_dnn_conv_kind kinds[] = {TR_DNN_CONV_FORWARD, TR_DNN_CONV_BACKWARD_WEIGHTS};
    bool has = true;

    for (size_t i = 0; i < IM_COUNT(stems) && has; i++)
        for (size_t k = 0; k < IM_COUNT(kinds) && has; k++) {
            struct tr_dnn_conv *conv = NULL;

            has = tr_dnn_conv_new(b->dnn, &stems[i], kinds[k], type, &conv, NULL) == 0;
            tr_dnn_conv_free(b->dnn, conv);
        }
    return has;
}

static int plan_conv(struct tr_backend *b, struct tr_op_plan *p, struct im_text *text)
{
    const struct tr_op *op = &p->op;
    const size_t weights = (size_t)p->y_pitch * (size_t)p->x_pitch * (size_t)op->kernel * (size_t)op->kernel;
    size_t scratch = 0, dw_scratch = 0;
    int err = tr_cuda_weight_get(b, op, p->y_pitch, p->x_pitch, &p->weight, text);

    if (err == 0)
        err = new_conv(b, p, TR_DNN_CONV_FORWARD, &p->forward, text);
    if (err < 0 || !op->training)
        return err;
    if (!tr_cuda_weight_is_plain(p->weight) && !op->frozen)
        *(op->dw_apart ? &dw_scratch : &scratch) = weights * sizeof(float);
    if (!op->frozen)
        err = new_conv(b, p, TR_DNN_CONV_BACKWARD_WEIGHTS, &p->backward_weights, text);
    if (err == 0 && op->dw_apart)
        tr_dnn_conv_set_apart(p->backward_weights);
    if (err == 0 && op->needs_dx && op->sums_dx) {
        err = new_conv(b, p, TR_DNN_CONV_BACKWARD_ADD, &p->backward_data, NULL);
        p->adds_separately = err == -ENOTSUP;
        if (p->adds_separately && p->info.x_bytes > scratch)
            scratch = p->info.x_bytes;
    }
    if ((err == 0 && op->needs_dx && !op->sums_dx) || p->adds_separately)
        err = new_conv(b, p, TR_DNN_CONV_BACKWARD_DATA, &p->backward_data, text);
    if (err == 0)
        err = reserve_dw_scratch(b, dw_scratch, text);
    return err < 0 ? err : reserve_scratch(b, scratch, text);
}

/* Uses cuDNN's batch norm if it supports both directions. */
static int try_norm(struct tr_backend *b, struct tr_op_plan *p)
{
    const struct tr_op *op = &p->op;
    const struct tr_dnn_norm_shape shape = {.n = op->x.n, .h = op->x.h, .w = op->x.w, .c = op->x.c};
    int err;

    if (op->pools || op->synced || p->x_pitch != op->x.c)
        return 0;
    err = tr_dnn_norm_new(b->dnn, &shape, TR_DNN_NORM_FORWARD, p->type, op->adds, op->relu, &p->norm_forward,
                          NULL);
    if (err == 0)
        err = tr_dnn_norm_new(b->dnn, &shape, TR_DNN_NORM_BACKWARD, p->type, op->adds, op->relu,
                              &p->norm_backward, NULL);
    if (err < 0) {
        tr_dnn_norm_free(b->dnn, p->norm_forward);
        p->norm_forward = NULL;
    }
    return err == -ENOTSUP ? 0 : err;
}

/* The larger of forward's doubles and backward's floats: kernels/cuda/norm.h. */
static size_t sums_bytes(const struct tr_op *op)
{
    return op->synced ? (2 * (size_t)op->x.c + 1) * sizeof(double) : 0;
}

static int plan_norm(struct tr_backend *b, struct tr_op_plan *p, struct im_text *text)
{
    const struct tr_op *op = &p->op;
    const struct imk_cuda_rows shape = {
        .rows = (int64_t)pixels_of(op->x), .c = op->x.c, .pitch = p->x_pitch, .type = p->type};
    int err = op->training && !op->frozen ? try_norm(b, p) : 0;

    p->mask_at = tr_cuda_mask_at(op);
    if (err < 0)
        return im_fail(text, err, "cuDNN cannot plan a batch norm of %d channels", op->x.c);
    p->sums_at = aligned(imk_cuda_bn_scratch(&shape));
    return op->training && !op->frozen && !p->norm_forward
               ? reserve_scratch(b, p->sums_at + sums_bytes(op), text)
               : 0;
}

static int new_product(struct tr_backend *b, const struct tr_blas_gemm_shape *shape,
                       struct tr_blas_gemm **ret, struct im_text *text)
{
    return tr_blas_gemm_new(b->blas, shape, ret, text);
}

/* A classifier: y = x w' + b; dx = dy w; dw = dy' x. The gradient of the logits is rounded to the plan's type
 * first, in scratch memory, followed by dw if it needs repacking. */
static int plan_classifier(struct tr_backend *b, struct tr_op_plan *p, struct im_text *text)
{
    const int n = p->op.x.n, k = p->op.y.c, c = p->x_pitch;
    const size_t dy = aligned((size_t)n * (size_t)k * imk_dtype_bytes(p->type));
    const struct tr_blas_gemm_shape y = {
        .m = n, .n = k, .k = c, .b_transposed = true, .type = p->type, .c_type = IMK_F32, .bias = true};
    const struct tr_blas_gemm_shape dx = {.m = n, .n = c, .k = k, .type = p->type, .c_type = p->type};
    const struct tr_blas_gemm_shape dw = {
        .m = k, .n = c, .k = n, .a_transposed = true, .type = p->type, .c_type = IMK_F32};
    int err = tr_cuda_weight_get(b, &p->op, k, c, &p->weight, text);

    if (err == 0)
        err = new_product(b, &y, &p->product, text);
    if (err < 0 || !p->op.training)
        return err;
    if (p->op.needs_dx)
        err = new_product(b, &dx, &p->product_dx, text);
    if (err == 0 && !p->op.frozen)
        err = new_product(b, &dw, &p->product_dw, text);
    return err < 0 ? err : reserve_scratch(b, dy + (size_t)k * (size_t)c * sizeof(float), text);
}

static int plan_gelu(struct tr_backend *b, const struct tr_op_plan *p, struct im_text *text)
{
    const struct imk_cuda_rows shape = {
        .rows = (int64_t)pixels_of(p->op.x), .c = p->op.x.c, .pitch = p->x_pitch, .type = p->type};

    return p->op.training && p->op.biased ? reserve_scratch(b, imk_cuda_gelu_scratch(&shape), text) : 0;
}

static int plan_kind(struct tr_backend *b, struct tr_op_plan *p, struct im_text *text)
{
    const struct tr_op *op = &p->op;

    switch (op->kind) {
    case TR_OP_CONV:
        return plan_conv(b, p, text);
    case TR_OP_BN:
        return plan_norm(b, p, text);
    case TR_OP_FC:
        return plan_classifier(b, p, text);
    case TR_OP_GELU:
        return plan_gelu(b, p, text);
    case TR_OP_LOSS:
        return reserve_scratch(b, imk_cuda_loss_scratch(op->x.n), text);
    case TR_OP_INPUT:
        return tr_cuda_reserve_pixels(b, pixels_of(op->x) * 3, text);
    case TR_OP_BLUR:
        if (op->reflect && (op->x.h < 2 || op->x.w < 2))
            return im_fail(text, -EINVAL, "reflect padding of a blur needs images of at least 2 pixels");
        return 0;
    case TR_OP_ADD:
    case TR_OP_MAXPOOL:
    case TR_OP_GAP:
    case TR_OP_DROPPATH:
        break;
    }
    return 0;
}

int tr_cuda_plan(struct tr_backend *b, const struct tr_op *op, struct tr_op_plan **ret_plan,
                 struct tr_plan_info *ret_info, struct im_text *text)
{
    struct tr_op_plan *p = calloc(1, sizeof *p);
    int err;

    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a plan");
    p->op = *op;
    p->type = op->precision;
    err = tr_cuda_measure(b, op, &p->info);
    if (err < 0) {
        im_fail(text, err, "no memory for a plan");
        goto out;
    }
    p->x_pitch = p->info.x_layout->pitch;
    p->y_pitch = p->info.y_layout->pitch;
    err = plan_kind(b, p, text);
    if (err < 0)
        goto out;
    b->untuned |= op->kind == TR_OP_CONV || p->norm_forward;
    *ret_info = p->info;
    *ret_plan = p;
    p = NULL;
out:
    tr_cuda_plan_free(b, p);
    return err;
}

void tr_cuda_plan_free(struct tr_backend *b, struct tr_op_plan *p)
{
    if (!p)
        return;
    tr_dnn_conv_free(b->dnn, p->forward);
    tr_dnn_conv_free(b->dnn, p->backward_data);
    tr_dnn_conv_free(b->dnn, p->backward_weights);
    tr_dnn_norm_free(b->dnn, p->norm_forward);
    tr_dnn_norm_free(b->dnn, p->norm_backward);
    tr_blas_gemm_free(b->blas, p->product);
    tr_blas_gemm_free(b->blas, p->product_dx);
    tr_blas_gemm_free(b->blas, p->product_dw);
    tr_cuda_weight_put(b, p->weight);
    free(p);
}

const char *tr_cuda_plan_kernel(struct tr_op_plan *p)
{
    if (p->forward)
        snprintf(p->kernel, sizeof p->kernel, "%s", tr_dnn_conv_kernel(p->forward));
    else if (p->norm_forward)
        snprintf(p->kernel, sizeof p->kernel, "%s", tr_dnn_norm_kernel(p->norm_forward));
    else if (p->product)
        snprintf(p->kernel, sizeof p->kernel, "cublasLt");
    return p->kernel;
}
