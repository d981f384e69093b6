/* The reference backend: every op by its definition, on one thread, in plain C. It is the oracle of the
 * conformance tests and too slow for training. Values are NCHW fp32; sums are in double. The ops are in the
 * other files of this folder. */
#include "trainer/backends/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/sysinfo.h"
#include "trainer/backends/host_step.h"
#include "trainer/backends/ref/ops.h"

struct tr_backend {
    struct tr_host_step step; /* first: host_step.h */
    int threads;              /* ignored: the reference is single-threaded */
};

struct tr_op_plan {
    struct tr_op op;
    float *w;    /* bf16 and fp16: the rounded weights; NULL: used as they are */
    float *full; /* BN that pools: its values before the pooling */
};

struct tr_layout {
    char nothing; /* NCHW is the only layout */
};

static const struct tr_layout nchw;

static int open_ref(int threads, struct tr_backend **ret_backend, struct im_text *text)
{
    struct tr_backend *b = calloc(1, sizeof *b);

    if (!b)
        return im_fail(text, -ENOMEM, "no memory for the reference backend");
    b->step.ops = &tr_backend_ref;
    b->threads = threads;
    *ret_backend = b;
    return 0;
}

static void close_ref(struct tr_backend *b)
{
    free(b);
}

static int buffer_new(struct tr_backend *b, size_t bytes, void **ret_buffer)
{
    size_t rounded = (bytes + 63) / 64 * 64;
    void *buffer = aligned_alloc(64, rounded ? rounded : 64);

    (void)b;
    if (!buffer)
        return -ENOMEM;
    memset(buffer, 0, rounded ? rounded : 64);
    *ret_buffer = buffer;
    return 0;
}

static void buffer_free(struct tr_backend *b, void *buffer, size_t bytes)
{
    (void)b;
    (void)bytes;
    free(buffer);
}

static int copy(struct tr_backend *b, void *to, const void *from, size_t bytes)
{
    (void)b;
    memcpy(to, from, bytes);
    return 0;
}

static void plan_free(struct tr_backend *b, struct tr_op_plan *p)
{
    (void)b;
    if (!p)
        return;
    free(p->w);
    free(p->full);
    free(p);
}

static bool is_frozen_norm(const struct tr_op *op)
{
    return op->kind == TR_OP_BN && op->training && op->frozen;
}

static int norm_forward(const struct tr_op *op, const struct tr_exec *e)
{
    if (!is_frozen_norm(op))
        return tr_ref_bn_forward(op, e);
    tr_ref_frozen_norm_forward(op, e);
    return 0;
}

static int norm_backward(const struct tr_op *op, const struct tr_exec *e)
{
    if (!is_frozen_norm(op))
        return tr_ref_bn_backward(op, e);
    tr_ref_frozen_norm_backward(op, e);
    return 0;
}

static int plan(struct tr_backend *b, const struct tr_op *op, struct tr_op_plan **ret_plan,
                struct tr_plan_info *ret_info, struct im_text *text)
{
    struct tr_op_plan *p = calloc(1, sizeof *p);
    enum tr_op_kind kind = op->kind;

    (void)b;
    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a plan");
    if (kind == TR_OP_BLUR && op->reflect && (op->x.h < 2 || op->x.w < 2)) {
        free(p);
        return im_fail(text, -EINVAL, "reflect padding of a blur needs images of at least 2 pixels");
    }
    p->op = *op;
    im_assert(kind != TR_OP_BN || !op->pools || !op->adds);
    if (op->precision != IMK_F32 && (kind == TR_OP_CONV || kind == TR_OP_FC))
        p->w = calloc(tr_ref_weights(op), sizeof *p->w);
    if (op->pools)
        p->full = calloc(tr_count(op->x), sizeof *p->full);
    if ((op->precision != IMK_F32 && (kind == TR_OP_CONV || kind == TR_OP_FC) && !p->w) ||
        (op->pools && !p->full)) {
        plan_free(b, p);
        return im_fail(text, -ENOMEM, "no memory for a plan");
    }
    *ret_info = (struct tr_plan_info){
        .x_layout = &nchw,
        .y_layout = &nchw,
        .x_bytes = tr_count(op->x) * sizeof(float),
        .y_bytes = kind == TR_OP_LOSS ? 0 : tr_count(op->y) * sizeof(float),
        .keeps_x =
            op->training && ((!op->frozen && (kind == TR_OP_CONV || kind == TR_OP_BN || kind == TR_OP_FC)) ||
                             kind == TR_OP_GELU),
        .keeps_y = op->training && op->relu && (kind == TR_OP_ADD || (is_frozen_norm(op) && !op->pools)),
        .y_may_be_x = kind == TR_OP_ADD || kind == TR_OP_DROPPATH ||
                      (kind == TR_OP_BN && (!op->training || op->frozen) && !op->pools),
        .dx_may_be_dy = kind == TR_OP_ADD || kind == TR_OP_DROPPATH || kind == TR_OP_GELU ||
                        (kind == TR_OP_BN && !op->pools),
    };
    if (op->training && kind == TR_OP_BN)
        ret_info->save_bytes = tr_ref_bn_save_bytes(op) + (op->pools ? tr_count(op->y) * sizeof(int32_t) : 0);
    if (op->training && kind == TR_OP_MAXPOOL)
        ret_info->save_bytes = tr_count(op->y) * sizeof(int32_t);
    *ret_plan = p;
    return 0;
}

/* The arguments with rounded weights. */
static struct tr_exec with_weights(const struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_exec with = *e;

    if (p->w) {
        memcpy(p->w, e->w, tr_ref_weights(&p->op) * sizeof *p->w);
        tr_ref_round(p->op.precision, p->w, tr_ref_weights(&p->op));
        with.w = p->w;
    }
    return with;
}

/* The pooling after a batch norm, as a separate op. Its positions follow batch norm's saved state. */
static struct tr_op pooling(const struct tr_op *op)
{
    struct tr_op pool = *op;

    pool.kind = TR_OP_MAXPOOL;
    return pool;
}

static void *places(const struct tr_op *op, void *save)
{
    return save ? (char *)save + tr_ref_bn_save_bytes(op) : NULL;
}

static int bn_forward(struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_op pool = pooling(&p->op);
    struct tr_exec to_full = *e;
    int err;

    if (!p->op.pools)
        return norm_forward(&p->op, e);
    to_full.y = p->full;
    err = norm_forward(&p->op, &to_full);
    tr_ref_round(p->op.precision, p->full, tr_count(p->op.x));
    if (err == 0)
        tr_ref_maxpool_forward(&pool,
                               &(struct tr_exec){.x = p->full, .y = e->y, .save = places(&p->op, e->save)});
    return err;
}

/* The gradient before the pooling is stored in dx. */
static int bn_backward(struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_op pool = pooling(&p->op);
    struct tr_exec from_full = *e;

    if (!p->op.pools)
        return norm_backward(&p->op, e);
    tr_ref_maxpool_backward(
        &pool, &(struct tr_exec){.dy = {e->dy[0], e->dy[1]}, .dx = e->dx, .save = places(&p->op, e->save)});
    from_full.dy[0] = e->dx;
    from_full.dy[1] = NULL;
    from_full.y = p->full;
    return norm_backward(&p->op, &from_full);
}

static int forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    static void (*const rows[])(const struct tr_op *, const struct tr_exec *) = {
        [TR_OP_INPUT] = tr_ref_input,
        [TR_OP_CONV] = tr_ref_conv_forward,
        [TR_OP_ADD] = tr_ref_add_forward,
        [TR_OP_MAXPOOL] = tr_ref_maxpool_forward,
        [TR_OP_GAP] = tr_ref_gap_forward,
        [TR_OP_BLUR] = tr_ref_blur_forward,
        [TR_OP_DROPPATH] = tr_ref_droppath_forward,
        [TR_OP_GELU] = tr_ref_gelu_forward,
        [TR_OP_FC] = tr_ref_fc_forward,
        [TR_OP_LOSS] = tr_ref_loss,
    };

    int err = 0;
    const bool logits = p->op.kind == TR_OP_FC || p->op.kind == TR_OP_LOSS;
    const struct tr_exec inputs = tr_host_inputs(b, e), with = with_weights(p, &inputs);

    if (p->op.kind == TR_OP_BN)
        err = bn_forward(p, &with);
    else
        rows[p->op.kind](&p->op, &with);
    if (!logits)
        tr_ref_round(p->op.precision, e->y, tr_count(p->op.y));
    return err;
}

static int backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    static void (*const rows[])(const struct tr_op *, const struct tr_exec *) = {
        [TR_OP_CONV] = tr_ref_conv_backward,
        [TR_OP_ADD] = tr_ref_add_backward,
        [TR_OP_MAXPOOL] = tr_ref_maxpool_backward,
        [TR_OP_GAP] = tr_ref_gap_backward,
        [TR_OP_FC] = tr_ref_fc_backward,
        [TR_OP_BLUR] = tr_ref_blur_backward,
        [TR_OP_DROPPATH] = tr_ref_droppath_backward,
        [TR_OP_GELU] = tr_ref_gelu_backward,
    };

    int err = 0;
    const struct tr_exec with = with_weights(p, e);

    (void)b;
    im_assert(p->op.training && p->op.kind != TR_OP_INPUT && p->op.kind != TR_OP_LOSS);
    if (p->op.kind == TR_OP_BN)
        err = bn_backward(p, &with);
    else
        rows[p->op.kind](&p->op, &with);
    if (p->op.needs_dx)
        tr_ref_round(p->op.precision, e->dx, tr_count(p->op.x));
    if (p->op.adds)
        tr_ref_round(p->op.precision, e->dx2, tr_count(p->op.x));
    return err;
}

static int update(struct tr_backend *b, const struct tr_update *u)
{
    (void)b;
    return tr_ref_update(u);
}

static int lerp(struct tr_backend *b, float *y, const float *x, double k, size_t count)
{
    (void)b;
    tr_ref_lerp(y, x, k, count);
    return 0;
}

static int backend_add(struct tr_backend *b, float *y, const float *x, size_t count)
{
    (void)b;
    tr_ref_add(y, x, count);
    return 0;
}

static int sum_squares(struct tr_backend *b, const float *x, size_t count, double *ret_sum)
{
    (void)b;
    *ret_sum = tr_ref_sum_squares(x, count);
    return 0;
}

static int value_in(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                    const float *plain, void *value)
{
    (void)layout;
    return copy(b, value, plain, tr_count(shape) * sizeof(float));
}

static int value_out(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                     const void *value, float *plain)
{
    (void)layout;
    return copy(b, plain, value, tr_count(shape) * sizeof(float));
}

static size_t memory_left(struct tr_backend *b)
{
    (void)b;
    return im_memory_available();
}

static size_t private_bytes(struct tr_backend *b)
{
    (void)b;
    return 0;
}

const struct tr_backend_ops tr_backend_ref = {
    .version = TR_BACKEND_VERSION,
    .name = "ref",
    .precisions = 1 << IMK_F32 | 1 << IMK_BF16 | 1 << IMK_F16,
    .open = open_ref,
    .close = close_ref,
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
};
