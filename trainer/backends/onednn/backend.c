/* The CPU backend: oneDNN (dnnl.h) for convolution, average pooling and matrix products, our own loops (loops.h,
 * vector_loops.h) for memory-bound ops. Each family of ops has its file; this one has what they
 * share: planning, dispatch, and the device.
 *
 * Layouts: pixels enter as plain NCHW; a convolution's output has oneDNN's preferred layout for this CPU
 * (nChw8c with AVX2, nChw16c with AVX-512), and every later op takes the layout it is given. So a step
 * reorders no value except the [n][c] of the global pool, and the operands of a convolution for whose layout
 * oneDNN has only its reference code (images of 2 x 2, for example): those are copied to the layout it
 * prefers.
 *
 * Weights are repacked once per change, one copy per layout, shared by all plans of the same layer; their
 * gradients come out packed and are unpacked into the flat arena. Forward and backward allocate nothing. With
 * a fixed number of threads every run gives the same bits (tests/backend checks it). */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/sysinfo.h"
#include "trainer/backends/onednn/loops.h"
#include "trainer/backends/ref/ops.h"

static void plan_free(struct tr_backend *b, struct tr_op_plan *p)
{
    if (!p)
        return;
    tr_staged_fini(&p->forward);
    tr_staged_fini(&p->backward_data);
    tr_staged_fini(&p->backward_weights);
    tr_pack_put(b, p->pack_forward);
    tr_pack_put(b, p->pack_backward);
    free(p->taps);
    free(p);
}

static bool is_frozen_norm(const struct tr_op *op)
{
    return op->kind == TR_OP_BN && op->training && op->frozen;
}

static int plan_op(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    enum tr_op_kind kind = p->op.kind;
    const enum imk_dtype type = p->op.precision;
    bool plain = kind == TR_OP_INPUT || kind == TR_OP_FC || kind == TR_OP_LOSS || !p->op.x_layout;

    if (kind == TR_OP_CONV)
        return tr_conv_plan(b, p, info);
    info->x_layout = plain ? tr_value_layout(b, p->op.x, TR_TAG_PLAIN, type) : p->op.x_layout;
    info->y_layout = plain ? tr_value_layout(b, p->op.y, TR_TAG_PLAIN, type) : info->x_layout;
    if (!info->x_layout || !info->y_layout)
        return -ENOMEM;
    if (is_frozen_norm(&p->op))
        return tr_frozen_norm_plan(b, p, info);
    if (kind == TR_OP_BN)
        return tr_bn_plan(b, p, info);
    if (kind == TR_OP_MAXPOOL)
        return tr_maxpool_plan(b, p, info);
    if (kind == TR_OP_GAP)
        return tr_gap_plan(b, p, info);
    if (kind == TR_OP_BLUR)
        return tr_blur_plan(b, p, info);
    if (kind == TR_OP_GELU)
        return tr_gelu_plan(b, p, info);
    if (kind == TR_OP_FC)
        return tr_fc_plan(b, p, info);
    info->keeps_y = p->op.training && kind == TR_OP_ADD && p->op.relu;
    info->y_may_be_x = info->dx_may_be_dy = kind == TR_OP_ADD || kind == TR_OP_DROPPATH;
    return 0;
}

/* The ops that read and write bf16 as it is: our loops, and what oneDNN has if the CPU has bf16. */
static bool runs_narrow(const struct tr_backend *b, const struct tr_op *op)
{
    return (op->kind == TR_OP_BN && !is_frozen_norm(op)) || op->kind == TR_OP_MAXPOOL ||
           (b->has_bf16 && op->kind == TR_OP_CONV);
}

static int plan_sized(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    bool narrow = p->op.precision == IMK_BF16 && !runs_narrow(b, &p->op);
    int err = narrow ? tr_narrow_plan(b, p) : 0;

    if (err == 0)
        err = plan_op(b, p, info);
    if (err < 0)
        return err;
    info->x_bytes = tr_layout_bytes(info->x_layout);
    info->y_bytes = p->op.kind == TR_OP_LOSS ? 0 : tr_layout_bytes(info->y_layout);
    p->count = info->y_bytes / (p->op.precision == IMK_BF16 ? sizeof(uint16_t) : sizeof(float));
    return narrow ? tr_narrow_planned(b, p, info) : 0;
}

static int plan(struct tr_backend *b, const struct tr_op *op, struct tr_op_plan **ret_plan,
                struct tr_plan_info *ret_info, struct im_text *text)
{
    struct tr_op_plan *p = calloc(1, sizeof *p);
    struct tr_plan_info info = {0};
    int err;

    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a plan");
    p->op = *op;
    tr_cpu_set_threads(b->threads);
    err = plan_sized(b, p, &info);
    if (err < 0) {
        plan_free(b, p);
        return im_fail(text, err, "oneDNN cannot run op %d of %d x %d x %d x %d (kernel %d, stride %d): %s",
                       (int)op->kind, op->x.n, op->x.c, op->x.h, op->x.w, op->kernel, op->stride,
                       strerror(-err));
    }
    *ret_info = info;
    *ret_plan = p;
    return 0;
}

/* In every layout a sample is contiguous. Forward and backward are the same; in evaluation a copy, or nothing
 * in place. */
static void drop_path(const struct tr_op_plan *p, const void *from, const float *scale, void *to)
{
    size_t samples = (size_t)p->op.x.n;

    if (p->op.training)
        tr_cpu_scale(to, from, scale, samples, p->count / samples);
    else if (to != from)
        memcpy(to, from, p->count * sizeof(float));
}

static int forward_op(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    switch (p->op.kind) {
    case TR_OP_INPUT:
        tr_cpu_input(&p->op, e);
        return 0;
    case TR_OP_CONV:
        return tr_conv_forward(b, p, e);
    case TR_OP_BN:
        if (!is_frozen_norm(&p->op))
            return tr_bn_forward(b, p, e);
        tr_frozen_norm_forward(b, p, e);
        return 0;
    case TR_OP_ADD:
        tr_cpu_residual(e->y, e->x, e->x2, p->count, p->op.relu);
        return 0;
    case TR_OP_MAXPOOL:
        tr_maxpool_forward(p, e);
        return 0;
    case TR_OP_GAP:
        return tr_gap_forward(b, p, e);
    case TR_OP_BLUR:
        tr_blur_forward(p, e);
        return 0;
    case TR_OP_DROPPATH:
        drop_path(p, e->x, e->scale, e->y);
        return 0;
    case TR_OP_GELU:
        tr_gelu_forward(b, p, e);
        return 0;
    case TR_OP_FC:
        return tr_fc_forward(b, p, e);
    case TR_OP_LOSS: /* n x classes numbers: the reference is fast enough */
        tr_ref_loss(&p->op, e);
        return 0;
    }
    return -EINVAL;
}

static int forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_exec inputs = tr_host_inputs(b, e);
    struct tr_exec wide;
    int err;

    tr_cpu_set_threads(b->threads);
    if (!p->narrow.on)
        return forward_op(b, p, &inputs);
    wide = tr_widen_forward(b, p, &inputs);
    err = forward_op(b, p, &wide);
    if (err == 0)
        tr_narrow_forward(b, p, e);
    return err;
}

static int backward_op(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    if (p->op.kind == TR_OP_ADD) {
        tr_cpu_residual_backward(e->dx, e->dy[0], e->dy[1], e->y, p->count, p->op.relu);
        return 0;
    }
    if (p->op.kind == TR_OP_BN && !is_frozen_norm(&p->op))
        return tr_bn_backward(b, p, e);
    if (p->op.kind == TR_OP_MAXPOOL) {
        tr_maxpool_backward(p, e);
        return 0;
    }
    if (p->op.kind == TR_OP_GELU) {
        tr_gelu_backward(b, p, e);
        return 0;
    }
    if (e->dy[1] && p->op.precision == IMK_BF16)
        tr_cpu_add_bf16(e->dy[0], e->dy[1], p->count);
    else if (e->dy[1])
        tr_cpu_add(e->dy[0], e->dy[1], p->count);
    switch (p->op.kind) {
    case TR_OP_CONV:
        return tr_conv_backward(b, p, e);
    case TR_OP_BN:
        tr_frozen_norm_backward(b, p, e);
        return 0;
    case TR_OP_GAP:
        return tr_gap_backward(b, p, e);
    case TR_OP_BLUR:
        tr_blur_backward(p, e);
        return 0;
    case TR_OP_DROPPATH:
        drop_path(p, e->dy[0], e->scale, e->dx);
        return 0;
    case TR_OP_FC:
        return tr_fc_backward(b, p, e);
    case TR_OP_ADD:
    case TR_OP_GELU:
    case TR_OP_MAXPOOL:
    case TR_OP_INPUT:
    case TR_OP_LOSS:
        break;
    }
    return -EINVAL;
}

static int backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_exec wide;
    int err;

    tr_cpu_set_threads(b->threads);
    if (!p->narrow.on)
        return backward_op(b, p, e);
    wide = tr_widen_backward(b, p, e);
    err = backward_op(b, p, &wide);
    if (err == 0)
        tr_narrow_backward(b, p, e);
    return err;
}

static int update(struct tr_backend *b, const struct tr_update *u)
{
    tr_cpu_set_threads(b->threads);
    return tr_cpu_update(u, b->threads);
}

static int lerp(struct tr_backend *b, float *y, const float *x, double k, size_t count)
{
    tr_cpu_set_threads(b->threads);
    tr_cpu_lerp(y, x, k, count);
    return 0;
}

static int backend_add(struct tr_backend *b, float *y, const float *x, size_t count)
{
    tr_cpu_set_threads(b->threads);
    tr_cpu_add(y, x, count);
    return 0;
}

static int sum_squares(struct tr_backend *b, const float *x, size_t count, double *ret_sum)
{
    tr_cpu_set_threads(b->threads);
    *ret_sum = tr_cpu_sum_squares(x, count);
    return 0;
}

/* ---- the device ---- */

static void close_onednn(struct tr_backend *b)
{
    if (!b)
        return;
    im_assert(!b->packs);
    tr_cpu_free(b->stage);
    for (int i = 0; i < TR_WIDES; i++)
        tr_cpu_free(b->wide[i]);
    tr_dn_close(b->dn);
    free(b);
}

static int open_onednn(int threads, struct tr_backend **ret_backend, struct im_text *text)
{
    struct tr_backend *b = calloc(1, sizeof *b);
    int err;

    if (!b)
        return im_fail(text, -ENOMEM, "no memory for the oneDNN backend");
    b->step.ops = &tr_backend_onednn;
    b->threads = threads > 0 ? threads : tr_cpu_count();
    err = tr_dn_open(&b->dn);
    if (err < 0) {
        close_onednn(b);
        return im_fail(text, err, "cannot initialise oneDNN on this machine: %s", strerror(-err));
    }
    b->has_bf16 = tr_dn_has_bf16(b->dn);
    *ret_backend = b;
    return 0;
}

static int buffer_new(struct tr_backend *b, size_t bytes, void **ret_buffer)
{
    void *buffer = tr_cpu_alloc(bytes);

    (void)b;
    if (!buffer)
        return -ENOMEM;
    *ret_buffer = buffer;
    return 0;
}

static void buffer_free(struct tr_backend *b, void *buffer, size_t bytes)
{
    (void)b;
    (void)bytes;
    tr_cpu_free(buffer);
}

static int copy(struct tr_backend *b, void *to, const void *from, size_t bytes)
{
    (void)b;
    memcpy(to, from, bytes);
    return 0;
}

/* Converts once, with a temporary primitive. */
static int convert(struct tr_backend *b, const struct tr_layout *from, const struct tr_layout *to,
                   const void *data, void *result)
{
    struct tr_prim *p = NULL;
    int err = from && to ? tr_dn_reorder(b->dn, from, to, &p) : -ENOMEM;

    if (err == 0)
        err = tr_prim_run(b->dn, p, (void *[]){tr_in(data), result});
    tr_prim_free(p);
    return err;
}

/* Converts between plain fp32 and a value of either type; bf16 values go through fp32. */
static int value_in(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                    const float *nchw, void *value)
{
    const struct tr_layout *plain = tr_value_layout(b, shape, TR_TAG_PLAIN, IMK_F32), *wide;
    float *copied;
    int err = tr_dn_retype(b->dn, layout, IMK_F32, &wide);

    if (err < 0 || wide == layout)
        return err < 0 ? err : convert(b, plain, layout, nchw, value);
    copied = tr_cpu_alloc(tr_layout_bytes(wide));
    err = copied ? convert(b, plain, wide, nchw, copied) : -ENOMEM;
    if (err == 0)
        tr_cpu_narrow(value, copied, tr_layout_bytes(wide) / sizeof(float));
    tr_cpu_free(copied);
    return err;
}

static int value_out(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                     const void *value, float *nchw)
{
    const struct tr_layout *plain = tr_value_layout(b, shape, TR_TAG_PLAIN, IMK_F32), *wide;
    float *copied;
    int err = tr_dn_retype(b->dn, layout, IMK_F32, &wide);

    if (err < 0 || wide == layout)
        return err < 0 ? err : convert(b, layout, plain, value, nchw);
    copied = tr_cpu_alloc(tr_layout_bytes(wide));
    if (!copied)
        return -ENOMEM;
    tr_cpu_widen(copied, value, tr_layout_bytes(wide) / sizeof(float));
    err = convert(b, wide, plain, copied, nchw);
    tr_cpu_free(copied);
    return err;
}

static size_t memory_left(struct tr_backend *b)
{
    (void)b;
    return im_memory_available();
}

static size_t private_bytes(struct tr_backend *b)
{
    size_t bytes = tr_dn_scratch_bytes(b->dn) + b->stage_bytes;

    for (int i = 0; i < TR_WIDES; i++)
        bytes += b->wide_bytes[i];
    for (struct tr_pack *p = b->packs; p; p = p->next)
        bytes += p->bytes + (p->round ? p->count * sizeof(float) : 0);
    return bytes;
}

static const char *plan_kernel(struct tr_op_plan *plan)
{
    if (plan->wino_values)
        return plan->wino_weights ? "winograd" : "winograd, weights direct";
    return plan->forward.prim ? tr_prim_kernel(plan->forward.prim) : "";
}

static const char *precision_warning(struct tr_backend *b, enum imk_dtype precision)
{
    if (precision != IMK_BF16 || b->has_bf16)
        return NULL;
    return "this CPU has no bf16 instructions: bf16 is emulated with fp32, which halves the memory of "
           "activations but is slower than --amp none";
}

const struct tr_backend_ops tr_backend_onednn = {
    .version = TR_BACKEND_VERSION,
    .name = "onednn",
    .precisions = 1 << IMK_F32 | 1 << IMK_BF16,
    .fuses = TR_FUSES_ADD,
    .open = open_onednn,
    .close = close_onednn,
    .buffer_new = buffer_new,
    .buffer_free = buffer_free,
    .copy_in = copy,
    .copy_out = copy,
    .plan = plan,
    .plan_free = plan_free,
    .forward = forward,
    .backward = backward,
    .update = update,
    .lerp = lerp,
    .add = backend_add,
    .sum_squares = sum_squares,
    .step = &tr_host_step_ops,
    .value_in = value_in,
    .value_out = value_out,
    .private_bytes = private_bytes,
    .memory_left = memory_left,
    .plan_kernel = plan_kernel,
    .precision_warning = precision_warning,
};
