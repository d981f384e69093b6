/* One op, forward or backward: selects the kernel and its pointers, by the table at struct tr_exec; batch
 * norm is in norm.c.
 *
 * Inputs that change from step to step are read from the staged block; an op that runs by itself, with host
 * memory in its arguments, stages that first. */
#include <errno.h>

#include "ipc/base/err.h"
#include "kernels/cuda/gelu.h"
#include "kernels/cuda/input.h"
#include "kernels/cuda/loss.h"
#include "kernels/cuda/pointwise.h"
#include "trainer/backends/cuda/impl.h"

static void *writable(const void *p)
{
    return (void *)(uintptr_t)p;
}

struct imk_cuda_window tr_cuda_window(const struct tr_op_plan *p)
{
    const struct tr_op *op = &p->op;

    return (struct imk_cuda_window){.n = op->x.n,
                                    .h = op->x.h,
                                    .w = op->x.w,
                                    .oh = op->y.h,
                                    .ow = op->y.w,
                                    .pitch = p->x_pitch,
                                    .kernel = op->kernel,
                                    .stride = op->stride,
                                    .pad = op->pad,
                                    .type = p->type};
}

int tr_cuda_join_dy(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct imk_cuda_add_backward sum = {.count = tr_cuda_elements(p->op.y, p->y_pitch),
                                              .type = p->type,
                                              .dy = e->dy[0],
                                              .dy2 = e->dy[1],
                                              .dx = e->dy[0]};

    return e->dy[1] ? imk_cuda_add_backward(&sum, tr_cuda_stream(b)) : 0;
}

/* ---- input, loss, stochastic depth: what takes numbers from the host ---- */

static int input(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_op *op = &p->op;
    const size_t bytes = (size_t)op->x.n * (size_t)op->x.h * (size_t)op->x.w * 3;
    struct imk_cuda_input a = {
        .y = e->y, .type = p->type, .n = op->x.n, .h = op->x.h, .w = op->x.w, .pitch = p->y_pitch};
    int err = 0;

    if (!e->staged)
        err = tr_cuda_stage(b, &(struct tr_inputs){.pixels = e->pixels, .pixel_bytes = bytes, .mix = e->mix});
    for (int k = 0; k < 3; k++) {
        a.mean[k] = op->mean[k];
        a.std[k] = op->std[k];
    }
    a.pixels = b->pixels.memory; /* staging may have moved the buffer */
    a.mix = &tr_cuda_staged(b)->mix;
    return err < 0 ? err : imk_cuda_input(&a, tr_cuda_stream(b));
}

static int loss(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_op *op = &p->op;
    const bool binary = op->loss.sets || (op->training && op->loss.kind == TR_LOSS_BCE);
    struct imk_cuda_loss a = {.kind = binary ? IMK_CUDA_BCE : IMK_CUDA_CE,
                              .threshold = op->loss.threshold,
                              .weights = op->training ? op->loss.weights : NULL,
                              .sets = op->loss.sets,
                              .set_words = op->loss.set_words,
                              .set_count = op->loss.set_count,
                              .sums_classes = op->training && op->loss.sums_classes,
                              .x = e->x,
                              .dx = op->training ? e->dx : NULL,
                              .x_type = IMK_F32,
                              .dx_type = IMK_F32,
                              .n = op->x.n,
                              .classes = op->x.c,
                              .x_pitch = op->x.c,
                              .dx_pitch = op->x.c,
                              .scratch = b->scratch.memory,
                              .tally = &b->results->tally};
    int err = 0;

    if (!e->staged)
        err = tr_cuda_stage(b, &(struct tr_inputs){.labels = e->labels,
                                                   .valid = e->valid,
                                                   .n = op->x.n,
                                                   .mix = e->mix,
                                                   .smoothing = e->smoothing,
                                                   .divisor = e->divisor});
    if (err < 0)
        return err;
    a.labels = (const void *)((char *)b->staged.memory + b->labels_at);
    a.valid = (const void *)((char *)b->staged.memory + b->valid_at);
    a.mix = &tr_cuda_staged(b)->mix;
    a.terms = &tr_cuda_staged(b)->terms;
    err = imk_cuda_loss(&a, tr_cuda_stream(b));
    if (err < 0 || !e->tally)
        return err;
    err = tr_cuda_fetch(b);
    *e->tally = tr_cuda_tally(&b->outcome->tally);
    return err;
}

/* Forward with x, backward with both gradients. */
static int droppath(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e, const void *x,
                    const void *x2, void *y)
{
    const size_t per_sample = tr_cuda_elements(p->op.x, p->x_pitch) / (size_t)p->op.x.n;
    struct imk_cuda_droppath a = {
        .n = p->op.x.n, .per_sample = per_sample, .type = p->type, .x = x, .x2 = x2, .y = y};
    int err = 0;

    if (!p->op.training)
        return y == x ? 0 : tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, y, x, p->info.x_bytes);
    if (!e->staged)
        err = tr_cuda_stage(b, &(struct tr_inputs){.scales = e->scale, .scale_count = (size_t)p->op.x.n});
    a.scale = (const float *)(void *)((char *)b->staged.memory + b->scales_at) + (e->scale - b->scales);
    return err < 0 ? err : imk_cuda_droppath(&a, tr_cuda_stream(b));
}

/* ---- convolution and classifier ---- */

static int conv_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const void *w;
    int err = tr_cuda_weight_current(b, p->weight, e, &w);

    return err < 0 ? err : tr_dnn_conv_run(b->dnn, p->forward, writable(e->x), writable(w), e->y);
}

/* dw, on WEIGHTS if it is apart: nothing that it writes is COMPUTE's. */
static int conv_params(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const bool apart = p->op.dw_apart;
    void *scratch = apart ? b->dw_scratch.memory : b->scratch.memory;
    float *dw = tr_cuda_weight_is_plain(p->weight) ? e->dw : scratch;
    int err = apart ? tr_cuda_dw_begin(b) : 0;

    if (err == 0)
        err = tr_dnn_conv_run(b->dnn, p->backward_weights, writable(e->x), dw, e->dy[0]);
    if (err == 0 && dw != e->dw)
        err = tr_cuda_weight_unpack(b, p->weight, dw, e->dw, apart ? TR_GPU_WEIGHTS : TR_GPU_COMPUTE);
    return err == 0 && apart ? tr_cuda_dw_end(b) : err;
}

static int conv_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    void *dx = p->adds_separately ? b->scratch.memory : e->dx;
    const void *w;
    int err = tr_cuda_weight_current(b, p->weight, e, &w);

    if (err == 0)
        err = tr_cuda_join_dy(b, p, e);
    if (err == 0 && !p->op.frozen)
        err = conv_params(b, p, e);
    if (err == 0 && p->op.needs_dx)
        err = tr_dnn_conv_run(b->dnn, p->backward_data, dx, writable(w), e->dy[0]);
    if (err == 0 && p->adds_separately)
        err = imk_cuda_add_backward(
            &(struct imk_cuda_add_backward){.count = tr_cuda_elements(p->op.x, p->x_pitch),
                                            .type = p->type,
                                            .dy = e->dx,
                                            .dy2 = dx,
                                            .dx = e->dx},
            tr_cuda_stream(b));
    return err;
}

static int classifier_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const void *w;
    int err = tr_cuda_weight_current(b, p->weight, e, &w);

    return err < 0 ? err : tr_blas_gemm_run(b->blas, p->product, e->x, w, e->b, e->y);
}

/* The gradient of the logits in the plan's type; unchanged if that is fp32. */
static int narrow_dy(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e, size_t count,
                     const void **ret_dy)
{
    *ret_dy = p->type == IMK_F32 ? e->dy[0] : b->scratch.memory;
    if (p->type == IMK_F32)
        return 0;
    return imk_cuda_cast(
        &(struct imk_cuda_cast){
            .count = count, .x_type = IMK_F32, .y_type = p->type, .x = e->dy[0], .y = b->scratch.memory},
        tr_cuda_stream(b));
}

/* dy: of `count` numbers, in the plan's type. */
static int classifier_params(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e,
                             const void *dy, size_t count)
{
    const size_t behind = (count * imk_dtype_bytes(p->type) + 255) / 256 * 256;
    float *dw = tr_cuda_weight_is_plain(p->weight) ? e->dw : (void *)((char *)b->scratch.memory + behind);
    int err = imk_cuda_column_sums(&(struct imk_cuda_column_sums){.rows = p->op.y.n,
                                                                  .c = p->op.y.c,
                                                                  .pitch = p->op.y.c,
                                                                  .type = IMK_F32,
                                                                  .x = e->dy[0],
                                                                  .sums = e->db},
                                   tr_cuda_stream(b));
    if (err == 0)
        err = tr_blas_gemm_run(b->blas, p->product_dw, dy, e->x, NULL, dw);
    return err == 0 && dw != e->dw ? tr_cuda_weight_unpack(b, p->weight, dw, e->dw, TR_GPU_COMPUTE) : err;
}

static int classifier_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const size_t count = (size_t)p->op.y.n * (size_t)p->op.y.c;
    const void *w, *dy = NULL;
    int err = tr_cuda_weight_current(b, p->weight, e, &w);

    im_assert(!e->dy[1]); /* only the loss reads logits */
    if (err == 0)
        err = narrow_dy(b, p, e, count, &dy);
    if (err == 0 && !p->op.frozen)
        err = classifier_params(b, p, e, dy, count);
    if (err < 0 || !p->op.needs_dx)
        return err;
    return tr_blas_gemm_run(b->blas, p->product_dx, dy, w, NULL, e->dx);
}

/* ---- pools, blur, addition ---- */

static int add_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_add(&(struct imk_cuda_add){.count = tr_cuda_elements(p->op.x, p->x_pitch),
                                               .type = p->type,
                                               .x = e->x,
                                               .x2 = e->x2,
                                               .y = e->y,
                                               .relu = p->op.relu,
                                               .mask = p->op.relu && p->op.training ? e->save : NULL},
                        tr_cuda_stream(b));
}

static int add_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_add_backward(
        &(struct imk_cuda_add_backward){.count = tr_cuda_elements(p->op.x, p->x_pitch),
                                        .type = p->type,
                                        .dy = e->dy[0],
                                        .dy2 = e->dy[1],
                                        .mask = p->op.relu ? e->save : NULL,
                                        .dx = e->dx},
        tr_cuda_stream(b));
}

static int gap_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_gap(&(struct imk_cuda_gap){.x = e->x,
                                               .y = e->y,
                                               .n = p->op.x.n,
                                               .area = p->op.x.h * p->op.x.w,
                                               .c = p->op.x.c,
                                               .pitch = p->x_pitch,
                                               .y_pitch = p->y_pitch,
                                               .type = p->type},
                        tr_cuda_stream(b));
}

static int gap_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_gap_backward(&(struct imk_cuda_gap_backward){.dy = e->dy[0],
                                                                 .dy2 = e->dy[1],
                                                                 .dx = e->dx,
                                                                 .n = p->op.x.n,
                                                                 .area = p->op.x.h * p->op.x.w,
                                                                 .c = p->op.x.c,
                                                                 .pitch = p->x_pitch,
                                                                 .y_pitch = p->y_pitch,
                                                                 .type = p->type},
                                 tr_cuda_stream(b));
}

static int maxpool_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_maxpool(
        &(struct imk_cuda_maxpool){
            .window = tr_cuda_window(p), .x = e->x, .y = e->y, .place = p->op.training ? e->save : NULL},
        tr_cuda_stream(b));
}

static int maxpool_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_maxpool_backward(
        &(struct imk_cuda_maxpool_backward){
            .window = tr_cuda_window(p), .dy = e->dy[0], .dy2 = e->dy[1], .place = e->save, .dx = e->dx},
        tr_cuda_stream(b));
}

static int blur_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_blur(
        &(struct imk_cuda_blur){.window = tr_cuda_window(p), .reflect = p->op.reflect, .x = e->x, .y = e->y},
        tr_cuda_stream(b));
}

static int blur_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_blur_backward(&(struct imk_cuda_blur_backward){.window = tr_cuda_window(p),
                                                                   .reflect = p->op.reflect,
                                                                   .dy = e->dy[0],
                                                                   .dy2 = e->dy[1],
                                                                   .dx = e->dx},
                                  tr_cuda_stream(b));
}

static struct imk_cuda_rows rows_of(const struct tr_op_plan *p)
{
    const struct tr_shape s = p->op.x;

    return (struct imk_cuda_rows){
        .rows = (int64_t)s.n * s.h * s.w, .c = s.c, .pitch = p->x_pitch, .type = p->type};
}

static int gelu_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_gelu(
        &(struct imk_cuda_gelu){
            .shape = rows_of(p), .x = e->x, .bias = p->op.biased ? e->b : NULL, .y = e->y},
        tr_cuda_stream(b));
}

static int gelu_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    return imk_cuda_gelu_backward(
        &(struct imk_cuda_gelu_backward){.shape = rows_of(p),
                                         .x = e->x,
                                         .dy = e->dy[0],
                                         .dy2 = e->dy[1],
                                         .bias = p->op.biased ? e->b : NULL,
                                         .dx = e->dx,
                                         .dbias = p->op.biased && !p->op.frozen ? e->db : NULL,
                                         .scratch = b->scratch.memory},
        tr_cuda_stream(b));
}

/* ---- the table ---- */

static int tune_new_plans(struct tr_backend *b)
{
    bool moved = false;
    int err;

    if (!b->untuned)
        return 0;
    im_assert(!tr_gpu_is_capturing(b->gpu));
    err = tr_dnn_tune(b->dnn, &(struct tr_dnn_scratch){0}, &moved, NULL);
    b->generation += moved;
    b->untuned = err < 0;
    return err;
}

int tr_cuda_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    int err = tune_new_plans(b);

    if (err < 0)
        return err;
    switch (p->op.kind) {
    case TR_OP_INPUT:
        return input(b, p, e);
    case TR_OP_CONV:
        return conv_forward(b, p, e);
    case TR_OP_BN:
        return tr_cuda_norm_forward(b, p, e);
    case TR_OP_ADD:
        return add_forward(b, p, e);
    case TR_OP_MAXPOOL:
        return maxpool_forward(b, p, e);
    case TR_OP_GAP:
        return gap_forward(b, p, e);
    case TR_OP_FC:
        return classifier_forward(b, p, e);
    case TR_OP_BLUR:
        return blur_forward(b, p, e);
    case TR_OP_DROPPATH:
        return droppath(b, p, e, e->x, NULL, e->y);
    case TR_OP_GELU:
        return gelu_forward(b, p, e);
    case TR_OP_LOSS:
        return loss(b, p, e);
    }
    return -EINVAL;
}

int tr_cuda_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    im_assert(p->op.training);
    switch (p->op.kind) {
    case TR_OP_CONV:
        return conv_backward(b, p, e);
    case TR_OP_BN:
        return tr_cuda_norm_backward(b, p, e);
    case TR_OP_ADD:
        return add_backward(b, p, e);
    case TR_OP_MAXPOOL:
        return maxpool_backward(b, p, e);
    case TR_OP_GAP:
        return gap_backward(b, p, e);
    case TR_OP_FC:
        return classifier_backward(b, p, e);
    case TR_OP_BLUR:
        return blur_backward(b, p, e);
    case TR_OP_DROPPATH:
        return droppath(b, p, e, e->dy[0], e->dy[1], e->dx);
    case TR_OP_GELU:
        return gelu_backward(b, p, e);
    case TR_OP_INPUT:
    case TR_OP_LOSS:
        break;
    }
    return -EINVAL;
}
