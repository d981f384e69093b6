/* The CPU backend: oneDNN (onednn.h) for convolution, batch norm with its ReLU, pooling and matrix products,
 * our own loops (cpu_ops.h) for what is memory-bound.
 *
 * Layouts: the pixels enter as plain NCHW; a convolution's output is what oneDNN likes best for this
 * processor (nChw8c with AVX2, nChw16c with AVX-512), and everything behind takes the layout it is given. So
 * in a step no value is reordered but the [n][c] of the global pool, and the operands of a convolution for
 * whose layout oneDNN has only its reference code (images of 2 x 2, for one): those go through the stage to
 * the layout it prefers.
 *
 * Weights are repacked once per change, one copy per layout wanted, shared by all plans of the same layer;
 * their gradients come out packed and are unpacked into the flat arena. Nothing is allocated in forward and
 * backward. With one number of threads the results are the same bits in every run (tests/backend checks it).
 */
#include "trainer/backend.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/cpu_ops.h"
#include "trainer/onednn.h"
#include "trainer/ref_ops.h"

/* One layer's weights in one layout. */
struct pack {
    struct pack *next;
    int weight_id;
    int users; /* plans */
    const struct im_layout *layout;
    void *data; /* NULL: the layout is the plain one */
    const float *from;
    uint64_t version; /* of `from` that `data` holds */
    struct tr_prim *reorder;
};

struct im_backend {
    struct tr_dn *dn;
    int threads;
    struct pack *packs;
    char *stage; /* values on their way to another layout */
    size_t stage_bytes;
};

/* A primitive whose operands may have to be reordered on the way: operand i goes through the stage when
 * reorder[i] is there. */
struct staged {
    struct tr_prim *prim;
    struct tr_prim *reorder[3];
    size_t at[3]; /* in the stage */
};

struct im_plan {
    struct im_op op;
    size_t floats; /* of y, with the layout's padding */
    struct staged forward, backward_data, backward_weights;
    struct pack *pack_forward, *pack_backward;
    size_t var_at, mask_at; /* BN: in the saved state, behind the means */
};

/* Operands that a primitive reads come first, what it writes is the last. */
enum { OPERANDS = 3, WRITTEN = 2 };

static size_t lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static const struct im_layout *value_layout(struct im_backend *b, struct im_shape s, enum tr_tag tag)
{
    return tr_dn_layout(b->dn, (int[4]){s.n, s.c, s.h, s.w}, tag);
}

static const struct im_layout *weight_layout(struct im_backend *b, const struct im_op *op, enum tr_tag tag)
{
    return tr_dn_layout(b->dn, (int[4]){op->y.c, op->x.c, op->kernel, op->kernel}, tag);
}

static int reserve_stage(struct im_backend *b, size_t bytes)
{
    char *larger;

    if (bytes <= b->stage_bytes)
        return 0;
    larger = tr_cpu_alloc(bytes);
    if (!larger)
        return -ENOMEM;
    tr_cpu_free(b->stage);
    b->stage = larger;
    b->stage_bytes = bytes;
    return 0;
}

/* ---- packed weights ---- */

static int pack_new(struct im_backend *b, const struct im_op *op, const struct im_layout *layout,
                    struct pack **ret_pack)
{
    const struct im_layout *plain = weight_layout(b, op, TR_TAG_PLAIN);
    struct pack *p = plain ? calloc(1, sizeof(*p)) : NULL;
    int err = 0;

    if (!p)
        return -ENOMEM;
    *p = (struct pack){.next = b->packs, .weight_id = op->weight_id, .users = 1, .layout = layout};
    if (layout != plain) {
        p->data = tr_cpu_alloc(tr_layout_bytes(layout));
        err = p->data ? tr_dn_reorder(b->dn, plain, layout, &p->reorder) : -ENOMEM;
    }
    if (err < 0) {
        tr_cpu_free(p->data);
        free(p);
        return err;
    }
    b->packs = p;
    *ret_pack = p;
    return 0;
}

static int pack_get(struct im_backend *b, const struct im_op *op, const struct im_layout *layout,
                    struct pack **ret_pack)
{
    for (struct pack *p = b->packs; p; p = p->next) {
        if (op->weight_id >= 0 && p->weight_id == op->weight_id && p->layout == layout) {
            p->users++;
            *ret_pack = p;
            return 0;
        }
    }
    return pack_new(b, op, layout, ret_pack);
}

static void pack_put(struct im_backend *b, struct pack *p)
{
    struct pack **link = &b->packs;

    if (!p || --p->users > 0)
        return;
    while (*link != p)
        link = &(*link)->next;
    *link = p->next;
    tr_prim_free(p->reorder);
    tr_cpu_free(p->data);
    free(p);
}

/* The C API takes pointers to data it only reads as void *. */
static void *in(const void *data)
{
    return (void *)(uintptr_t)data;
}

/* The weights in the pack's layout, repacked if they have changed. */
static int pack_fresh(struct im_backend *b, struct pack *p, const struct im_exec *e, void **ret_weights)
{
    int err = 0;

    *ret_weights = p->data ? p->data : in(e->w);
    if (!p->data || (p->from == e->w && p->version == e->param_version))
        return 0;
    err = tr_prim_run(b->dn, p->reorder, (void *[]){in(e->w), p->data});
    p->from = err < 0 ? NULL : e->w;
    p->version = e->param_version;
    return err;
}

/* ---- primitives with reorders around them ---- */

/* Lets the operand have the layout `outside` while the primitive has `inside`. *used: of the stage by this
 * primitive so far. */
static int stage_operand(struct im_backend *b, struct staged *s, int operand, const struct im_layout *outside,
                         const struct im_layout *inside, size_t *used)
{
    int err;

    if (outside == inside)
        return 0;
    s->at[operand] = *used;
    *used += lines(tr_layout_bytes(inside));
    err = reserve_stage(b, *used);
    if (err < 0)
        return err;
    return operand == WRITTEN ? tr_dn_reorder(b->dn, inside, outside, &s->reorder[operand])
                              : tr_dn_reorder(b->dn, outside, inside, &s->reorder[operand]);
}

static int staged_run(struct im_backend *b, struct staged *s, void *const operands[OPERANDS])
{
    void *data[OPERANDS];
    int err = 0;

    for (int i = 0; i < OPERANDS; i++) {
        data[i] = s->reorder[i] ? b->stage + s->at[i] : operands[i];
        if (err == 0 && s->reorder[i] && i != WRITTEN)
            err = tr_prim_run(b->dn, s->reorder[i], (void *[]){operands[i], data[i]});
    }
    if (err == 0)
        err = tr_prim_run(b->dn, s->prim, data);
    if (err == 0 && s->reorder[WRITTEN])
        err = tr_prim_run(b->dn, s->reorder[WRITTEN], (void *[]){data[WRITTEN], operands[WRITTEN]});
    return err;
}

static void staged_fini(struct staged *s)
{
    tr_prim_free(s->prim);
    for (int i = 0; i < OPERANDS; i++)
        tr_prim_free(s->reorder[i]);
}

/* ---- plans ---- */

/* A convolution between values of the layouts x and y. Where oneDNN has only its reference code for them, it
 * may choose others. */
static int conv_between(struct im_backend *b, const struct im_op *op, enum tr_direction direction,
                        const struct im_layout *x, const struct im_layout *y, const struct tr_prim *forward,
                        struct tr_prim **ret_prim)
{
    const struct im_layout *any_w = weight_layout(b, op, TR_TAG_ANY);
    const struct im_layout *any_x = value_layout(b, op->x, TR_TAG_ANY),
                           *any_y = value_layout(b, op->y, TR_TAG_ANY);
    struct tr_prim *freely = NULL;
    int err;

    if (!any_w || !any_x || !any_y)
        return -ENOMEM;
    err = tr_dn_conv(b->dn, op, direction, (const struct im_layout *[]){x, any_w, y}, forward, ret_prim);
    if (err < 0 || strncmp(tr_prim_kernel(*ret_prim), "ref", 3) != 0)
        return err;
    err =
        tr_dn_conv(b->dn, op, direction, (const struct im_layout *[]){any_x, any_w, any_y}, forward, &freely);
    if (err < 0)
        return 0; /* the reference code does it */
    tr_prim_free(*ret_prim);
    *ret_prim = freely;
    return 0;
}

static int plan_conv_backward(struct im_backend *b, struct im_plan *p, const struct im_plan_info *info)
{
    const struct im_layout *plain = weight_layout(b, &p->op, TR_TAG_PLAIN), *x = info->x_layout,
                           *y = info->y_layout;
    struct staged *data = &p->backward_data, *weights = &p->backward_weights;
    size_t used = 0;
    int err = 0;

    if (p->op.needs_dx) {
        err = conv_between(b, &p->op, TR_BACKWARD_DATA, x, y, p->forward.prim, &data->prim);
        if (err == 0)
            err = pack_get(b, &p->op, tr_prim_layout(data->prim, TR_W), &p->pack_backward);
        if (err == 0)
            err = stage_operand(b, data, 0, y, tr_prim_layout(data->prim, TR_Y), &used);
        if (err == 0)
            err = stage_operand(b, data, WRITTEN, x, tr_prim_layout(data->prim, TR_X), &used);
        if (err < 0)
            return err;
    }
    used = 0;
    err = conv_between(b, &p->op, TR_BACKWARD_WEIGHTS, x, y, p->forward.prim, &weights->prim);
    if (err == 0)
        err = stage_operand(b, weights, 0, x, tr_prim_layout(weights->prim, TR_X), &used);
    if (err == 0)
        err = stage_operand(b, weights, 1, y, tr_prim_layout(weights->prim, TR_Y), &used);
    if (err == 0)
        err = stage_operand(b, weights, WRITTEN, plain, tr_prim_layout(weights->prim, TR_W), &used);
    return err;
}

static int plan_conv(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    const struct im_layout *any_y = value_layout(b, p->op.y, TR_TAG_ANY);
    const struct im_layout *x = p->op.x_layout ? p->op.x_layout : value_layout(b, p->op.x, TR_TAG_ANY);
    struct staged *s = &p->forward;
    size_t used = 0;
    int err = any_y && x ? conv_between(b, &p->op, TR_FORWARD, x, any_y, NULL, &s->prim) : -ENOMEM;

    if (err < 0)
        return err;
    info->x_layout = p->op.x_layout ? p->op.x_layout : tr_prim_layout(s->prim, TR_X);
    info->y_layout = tr_prim_layout(s->prim, TR_Y);
    info->keeps_x = p->op.training;
    err = stage_operand(b, s, 0, info->x_layout, tr_prim_layout(s->prim, TR_X), &used);
    if (err == 0)
        err = pack_get(b, &p->op, tr_prim_layout(s->prim, TR_W), &p->pack_forward);
    return err == 0 && p->op.training ? plan_conv_backward(b, p, info) : err;
}

static int plan_bn(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    int err = tr_dn_bn(b->dn, &p->op, info->x_layout, NULL, &p->forward.prim);

    info->y_may_be_x = !p->op.training;
    info->dx_may_be_dy = true;
    if (err < 0 || !p->op.training)
        return err;
    p->var_at = lines((size_t)p->op.x.c * sizeof(float));
    p->mask_at = 2 * p->var_at;
    info->keeps_x = true;
    info->save_bytes = p->mask_at + tr_prim_workspace(p->forward.prim);
    return tr_dn_bn(b->dn, &p->op, info->x_layout, p->forward.prim, &p->backward_data.prim);
}

static int plan_pool(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    const struct im_layout *any = value_layout(b, p->op.y, TR_TAG_ANY), *pooled;
    size_t used = 0;
    int err = any ? tr_dn_pool(b->dn, &p->op, info->x_layout, any, NULL, &p->forward.prim) : -ENOMEM;

    if (err < 0)
        return err;
    pooled = tr_prim_layout(p->forward.prim, TR_Y);
    info->y_layout = p->op.kind == IM_OP_GAP ? value_layout(b, p->op.y, TR_TAG_PLAIN) : pooled;
    if (!info->y_layout)
        return -ENOMEM;
    if (p->op.training)
        info->save_bytes = tr_prim_workspace(p->forward.prim);
    if (info->y_layout != pooled) {
        err = reserve_stage(b, tr_layout_bytes(pooled));
        if (err == 0)
            err = tr_dn_reorder(b->dn, pooled, info->y_layout, &p->forward.reorder[1]);
    }
    if (err < 0 || !p->op.training)
        return err;
    err = tr_dn_pool(b->dn, &p->op, info->x_layout, pooled, p->forward.prim, &p->backward_data.prim);
    return err < 0 ? err : stage_operand(b, &p->backward_data, 0, info->y_layout, pooled, &used);
}

static void plan_free(struct im_backend *b, struct im_plan *p)
{
    if (!p)
        return;
    staged_fini(&p->forward);
    staged_fini(&p->backward_data);
    staged_fini(&p->backward_weights);
    pack_put(b, p->pack_forward);
    pack_put(b, p->pack_backward);
    free(p);
}

static int plan_op(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    enum im_op_kind kind = p->op.kind;
    bool plain = kind == IM_OP_INPUT || kind == IM_OP_FC || kind == IM_OP_LOSS || !p->op.x_layout;

    if (kind == IM_OP_CONV)
        return plan_conv(b, p, info);
    info->x_layout = plain ? value_layout(b, p->op.x, TR_TAG_PLAIN) : p->op.x_layout;
    info->y_layout = plain ? value_layout(b, p->op.y, TR_TAG_PLAIN) : info->x_layout;
    if (!info->x_layout || !info->y_layout)
        return -ENOMEM;
    if (kind == IM_OP_BN)
        return plan_bn(b, p, info);
    if (kind == IM_OP_MAXPOOL || kind == IM_OP_GAP)
        return plan_pool(b, p, info);
    info->keeps_x = p->op.training && kind == IM_OP_FC;
    info->keeps_y = p->op.training && kind == IM_OP_ADD && p->op.relu;
    info->y_may_be_x = info->dx_may_be_dy = kind == IM_OP_ADD;
    return 0;
}

static int plan(struct im_backend *b, const struct im_op *op, struct im_plan **ret_plan,
                struct im_plan_info *ret_info, struct im_text *text)
{
    struct im_plan *p = calloc(1, sizeof(*p));
    struct im_plan_info info = {0};
    int err;

    if (!p)
        return im_fail(text, -ENOMEM, "no memory for a plan");
    p->op = *op;
    tr_cpu_set_threads(b->threads);
    err = plan_op(b, p, &info);
    if (err < 0) {
        plan_free(b, p);
        return im_fail(text, err, "oneDNN cannot run op %d of %d x %d x %d x %d (kernel %d, stride %d): %s",
                       (int)op->kind, op->x.n, op->x.c, op->x.h, op->x.w, op->kernel, op->stride,
                       strerror(-err));
    }
    info.x_bytes = tr_layout_bytes(info.x_layout);
    info.y_bytes = op->kind == IM_OP_LOSS ? 0 : tr_layout_bytes(info.y_layout);
    p->floats = info.y_bytes / sizeof(float);
    *ret_info = info;
    *ret_plan = p;
    return 0;
}

/* ---- execution ---- */

static int conv_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    void *weights;
    int err = pack_fresh(b, p->pack_forward, e, &weights);

    return err < 0 ? err : staged_run(b, &p->forward, (void *[]){in(e->x), weights, e->y});
}

static int conv_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    void *weights;
    int err = 0;

    if (p->op.needs_dx) {
        err = pack_fresh(b, p->pack_backward, e, &weights);
        if (err == 0)
            err = staged_run(b, &p->backward_data, (void *[]){e->dy[0], weights, e->dx});
    }
    return err < 0 ? err : staged_run(b, &p->backward_weights, (void *[]){in(e->x), e->dy[0], e->dw});
}

static int bn_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    double m = (double)p->op.x.n * p->op.x.h * p->op.x.w;
    char *save = e->save;
    float *mean = p->op.training ? (float *)e->save : e->run_mean;
    float *var = p->op.training ? (float *)e->save + p->var_at / sizeof(float) : e->run_var;
    void *mask = save ? save + p->mask_at : NULL;
    int err =
        tr_prim_run(b->dn, p->forward.prim, (void *[]){in(e->x), e->y, in(e->w), in(e->b), mean, var, mask});

    if (err == 0 && p->op.training) {
        tr_cpu_running(e->run_mean, mean, p->op.x.c, 1);
        tr_cpu_running(e->run_var, var, p->op.x.c, m > 1 ? m / (m - 1) : 1);
    }
    return err;
}

static int bn_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    char *save = e->save;

    return tr_prim_run(b->dn, p->backward_data.prim,
                       (void *[]){in(e->x), e->dy[0], e->dx, in(e->w), in(e->b), save, save + p->var_at,
                                  e->dw, e->db, save + p->mask_at});
}

static int pool_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    struct tr_prim *to_plain = p->forward.reorder[1];
    void *pooled = to_plain ? b->stage : e->y;
    int err = tr_prim_run(b->dn, p->forward.prim, (void *[]){in(e->x), pooled, e->save});

    return err < 0 || !to_plain ? err : tr_prim_run(b->dn, to_plain, (void *[]){pooled, e->y});
}

static int pool_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    struct tr_prim *from_plain = p->backward_data.reorder[0];
    void *dy = from_plain ? b->stage : e->dy[0];
    int err = from_plain ? tr_prim_run(b->dn, from_plain, (void *[]){e->dy[0], dy}) : 0;

    return err < 0 ? err : tr_prim_run(b->dn, p->backward_data.prim, (void *[]){dy, e->dx, e->save});
}

/* y[n][k] = x[n][c] w[k][c]^T + b. */
static int fc_forward(const struct im_op *op, const struct im_exec *e)
{
    const int n = op->x.n, c = op->x.c, k = op->y.c;
    float *y = e->y;

    for (int i = 0; i < n; i++)
        memcpy(y + (size_t)i * (size_t)k, e->b, (size_t)k * sizeof(float));
    return tr_dn_gemm(&(struct tr_gemm){'N', 'T', n, k, c, e->x, e->w, c, c, 1, y});
}

/* dw[k][c] = dy[n][k]^T x[n][c], dx[n][c] = dy[n][k] w[k][c]. */
static int fc_backward(const struct im_op *op, const struct im_exec *e)
{
    const int n = op->x.n, c = op->x.c, k = op->y.c;
    const float *dy = e->dy[0];
    int err;

    memset(e->db, 0, (size_t)k * sizeof(float));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            e->db[j] += dy[(size_t)i * (size_t)k + (size_t)j];
    err = tr_dn_gemm(&(struct tr_gemm){'T', 'N', k, c, n, dy, e->x, k, c, 0, e->dw});
    return err < 0 ? err : tr_dn_gemm(&(struct tr_gemm){'N', 'N', n, c, k, dy, e->w, k, c, 0, e->dx});
}

static int forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    tr_cpu_set_threads(b->threads);
    switch (p->op.kind) {
    case IM_OP_INPUT:
        tr_cpu_input(&p->op, e->pixels, e->y);
        return 0;
    case IM_OP_CONV:
        return conv_forward(b, p, e);
    case IM_OP_BN:
        return bn_forward(b, p, e);
    case IM_OP_ADD:
        tr_cpu_residual(e->y, e->x, e->x2, p->floats, p->op.relu);
        return 0;
    case IM_OP_MAXPOOL:
    case IM_OP_GAP:
        return pool_forward(b, p, e);
    case IM_OP_FC:
        return fc_forward(&p->op, e);
    case IM_OP_LOSS: /* n x classes numbers: the definition is fast enough */
        tr_ref_loss(&p->op, e);
        return 0;
    }
    return -EINVAL;
}

static int backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    tr_cpu_set_threads(b->threads);
    if (p->op.kind == IM_OP_ADD) {
        tr_cpu_residual_backward(e->dx, e->dy[0], e->dy[1], e->y, p->floats, p->op.relu);
        return 0;
    }
    if (e->dy[1])
        tr_cpu_add(e->dy[0], e->dy[1], p->floats);
    switch (p->op.kind) {
    case IM_OP_CONV:
        return conv_backward(b, p, e);
    case IM_OP_BN:
        return bn_backward(b, p, e);
    case IM_OP_MAXPOOL:
    case IM_OP_GAP:
        return pool_backward(b, p, e);
    case IM_OP_FC:
        return fc_backward(&p->op, e);
    case IM_OP_ADD:
    case IM_OP_INPUT:
    case IM_OP_LOSS:
        break;
    }
    return -EINVAL;
}

static int update(struct im_backend *b, const struct im_sgd *sgd)
{
    tr_cpu_set_threads(b->threads);
    tr_cpu_sgd(sgd);
    return 0;
}

/* ---- the device ---- */

static void close_onednn(struct im_backend *b)
{
    if (!b)
        return;
    im_assert(!b->packs);
    tr_cpu_free(b->stage);
    tr_dn_close(b->dn);
    free(b);
}

static int open_onednn(int threads, struct im_backend **ret_backend, struct im_text *text)
{
    struct im_backend *b = calloc(1, sizeof(*b));
    int err;

    if (!b)
        return im_fail(text, -ENOMEM, "no memory for the oneDNN backend");
    b->threads = threads > 0 ? threads : tr_cpu_count();
    err = tr_dn_open(&b->dn);
    if (err < 0) {
        close_onednn(b);
        return im_fail(text, err, "oneDNN does not start on this machine: %s", strerror(-err));
    }
    *ret_backend = b;
    return 0;
}

static int buffer_new(struct im_backend *b, size_t bytes, void **ret_buffer)
{
    void *buffer = tr_cpu_alloc(bytes);

    (void)b;
    if (!buffer)
        return -ENOMEM;
    *ret_buffer = buffer;
    return 0;
}

static void buffer_free(struct im_backend *b, void *buffer, size_t bytes)
{
    (void)b;
    (void)bytes;
    tr_cpu_free(buffer);
}

static int copy(struct im_backend *b, void *to, const void *from, size_t bytes)
{
    (void)b;
    memcpy(to, from, bytes);
    return 0;
}

/* Once, with a primitive of its own. */
static int convert(struct im_backend *b, const struct im_layout *from, const struct im_layout *to,
                   const void *data, void *result)
{
    struct tr_prim *p = NULL;
    int err = from && to ? tr_dn_reorder(b->dn, from, to, &p) : -ENOMEM;

    if (err == 0)
        err = tr_prim_run(b->dn, p, (void *[]){in(data), result});
    tr_prim_free(p);
    return err;
}

static int value_in(struct im_backend *b, const struct im_layout *layout, struct im_shape shape,
                    const float *nchw, void *value)
{
    return convert(b, value_layout(b, shape, TR_TAG_PLAIN), layout, nchw, value);
}

static int value_out(struct im_backend *b, const struct im_layout *layout, struct im_shape shape,
                     const void *value, float *nchw)
{
    return convert(b, layout, value_layout(b, shape, TR_TAG_PLAIN), value, nchw);
}

static size_t private_bytes(struct im_backend *b)
{
    size_t bytes = tr_dn_scratch_bytes(b->dn) + b->stage_bytes;

    for (struct pack *p = b->packs; p; p = p->next)
        bytes += p->data ? tr_layout_bytes(p->layout) : 0;
    return bytes;
}

static const char *plan_kernel(struct im_plan *plan)
{
    return plan->forward.prim ? tr_prim_kernel(plan->forward.prim) : "";
}

const struct im_backend_ops im_backend_onednn = {
    .version = IM_BACKEND_VERSION,
    .name = "onednn",
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
    .value_in = value_in,
    .value_out = value_out,
    .private_bytes = private_bytes,
    .plan_kernel = plan_kernel,
};
