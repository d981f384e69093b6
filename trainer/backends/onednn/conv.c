/* Convolution: selects oneDNN's implementations, forward and backward, between the layouts of the neighbours,
 * or our Winograd code (winograd.h) where it is faster. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>
#include <string.h>

/* A convolution between values of the layouts x and y. If oneDNN has only its reference code for them, it may
 * choose others. */
static int conv_between(struct tr_backend *b, const struct tr_op *op, enum tr_direction direction,
                        const struct tr_layout *x, const struct tr_layout *y, const struct tr_prim *forward,
                        struct tr_prim **ret_prim)
{
    const enum imk_dtype type = op->precision;
    /* Gradients of weights are fp32 always. */
    const struct tr_layout *any_w =
        tr_weight_layout(b, op, TR_TAG_ANY, direction == TR_BACKWARD_WEIGHTS ? IMK_F32 : type);
    const struct tr_layout *any_x = tr_value_layout(b, op->x, TR_TAG_ANY, type),
                           *any_y = tr_value_layout(b, op->y, TR_TAG_ANY, type);
    struct tr_prim *freely = NULL;
    int err;

    if (!any_w || !any_x || !any_y)
        return -ENOMEM;
    err = tr_dn_conv(b->dn, op, direction, (const struct tr_layout *[]){x, any_w, y}, forward, ret_prim);
    if (err < 0 || strncmp(tr_prim_kernel(*ret_prim), "ref", 3) != 0)
        return err;
    err =
        tr_dn_conv(b->dn, op, direction, (const struct tr_layout *[]){any_x, any_w, any_y}, forward, &freely);
    if (err < 0)
        return 0; /* falls back to the reference code */
    tr_prim_free(*ret_prim);
    *ret_prim = freely;
    return 0;
}

/* Whether Winograd runs this convolution: fp32 values in blocks of 8 channels. */
static bool fits_wino(struct tr_backend *b, struct tr_op_plan *p, const struct tr_plan_info *info)
{
    const struct tr_op *op = &p->op;

    p->wino = (struct tr_wino){op->x.n, op->x.c, op->y.c, op->x.h, op->x.w, b->threads};
    return op->kernel == 3 && op->stride == 1 && op->pad == 1 &&
           info->x_layout == tr_value_layout(b, op->x, TR_TAG_BLOCK8, IMK_F32) &&
           info->y_layout == tr_value_layout(b, op->y, TR_TAG_BLOCK8, IMK_F32) && tr_wino_fits(&p->wino);
}

static int plan_wino(struct tr_backend *b, struct tr_op_plan *p)
{
    const struct tr_layout *plain = tr_weight_layout(b, &p->op, TR_TAG_PLAIN, IMK_F32);
    int err = plain ? tr_stage_reserve(b, tr_wino_scratch_floats(&p->wino) * sizeof(float)) : -ENOMEM;

    p->wino_values = true;
    p->wino_weights = p->op.training && !p->op.frozen && tr_wino_gradient_fits(&p->wino);
    if (err == 0)
        err = tr_pack_get(b, p, plain, TR_FORM_WINO, &p->pack_forward);
    if (err == 0 && p->op.training && p->op.needs_dx)
        err = tr_pack_get(b, p, plain, TR_FORM_WINO_BACKWARD, &p->pack_backward);
    return err;
}

static int plan_conv_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_plan_info *info)
{
    const struct tr_layout *plain = tr_weight_layout(b, &p->op, TR_TAG_PLAIN, IMK_F32), *x = info->x_layout,
                           *y = info->y_layout;
    struct tr_staged *data = &p->backward_data, *weights = &p->backward_weights;
    size_t used = 0;
    int err = 0;

    if (p->op.needs_dx && !p->wino_values) {
        err = conv_between(b, &p->op, TR_BACKWARD_DATA, x, y, p->forward.prim, &data->prim);
        if (err == 0)
            err = tr_pack_get(b, p, tr_prim_layout(data->prim, TR_W), TR_FORM_LAYOUT, &p->pack_backward);
        if (err == 0)
            err = tr_stage_operand(b, data, 0, y, tr_prim_layout(data->prim, TR_Y), &used);
        if (err == 0)
            err = tr_stage_operand(b, data, TR_WRITTEN, x, tr_prim_layout(data->prim, TR_X), &used);
        if (err < 0)
            return err;
    }
    if (p->wino_weights || p->op.frozen)
        return 0;
    used = 0;
    err = conv_between(b, &p->op, TR_BACKWARD_WEIGHTS, x, y, p->forward.prim, &weights->prim);
    if (err == 0)
        err = tr_stage_operand(b, weights, 0, x, tr_prim_layout(weights->prim, TR_X), &used);
    if (err == 0)
        err = tr_stage_operand(b, weights, 1, y, tr_prim_layout(weights->prim, TR_Y), &used);
    if (err == 0)
        err = tr_stage_operand(b, weights, TR_WRITTEN, plain, tr_prim_layout(weights->prim, TR_W), &used);
    return err;
}

int tr_conv_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    const enum imk_dtype type = p->op.precision;
    const struct tr_layout *any_y = tr_value_layout(b, p->op.y, TR_TAG_ANY, type);
    const struct tr_layout *x =
        p->op.x_layout ? p->op.x_layout : tr_value_layout(b, p->op.x, TR_TAG_ANY, type);
    struct tr_staged *s = &p->forward;
    size_t used = 0;
    int err = any_y && x ? conv_between(b, &p->op, TR_FORWARD, x, any_y, NULL, &s->prim) : -ENOMEM;

    if (err < 0)
        return err;
    info->x_layout = p->op.x_layout ? p->op.x_layout : tr_prim_layout(s->prim, TR_X);
    info->y_layout = tr_prim_layout(s->prim, TR_Y);
    info->keeps_x = p->op.training && !p->op.frozen;
    if (fits_wino(b, p, info)) {
        err = plan_wino(b, p);
        return err == 0 && p->op.training ? plan_conv_backward(b, p, info) : err;
    }
    err = tr_stage_operand(b, s, 0, info->x_layout, tr_prim_layout(s->prim, TR_X), &used);
    if (err == 0)
        err = tr_pack_get(b, p, tr_prim_layout(s->prim, TR_W), TR_FORM_LAYOUT, &p->pack_forward);
    return err == 0 && p->op.training ? plan_conv_backward(b, p, info) : err;
}

int tr_conv_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    void *weights;
    int err = tr_pack_fresh(b, p->pack_forward, e, &weights);

    if (err < 0 || !p->wino_values)
        return err < 0 ? err : tr_staged_run(b, &p->forward, (void *[]){tr_in(e->x), weights, e->y});
    tr_wino_run(&p->wino, e->x, weights, false, e->y, (float *)(void *)b->stage);
    return 0;
}

int tr_conv_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    void *weights;
    int err = 0;

    if (p->op.needs_dx) {
        err = tr_pack_fresh(b, p->pack_backward, e, &weights);
        if (err == 0 && p->wino_values)
            tr_wino_run(&p->wino, e->dy[0], weights, true, e->dx, (float *)(void *)b->stage);
        else if (err == 0)
            err = tr_staged_run(b, &p->backward_data, (void *[]){e->dy[0], weights, e->dx});
    }
    if (err < 0 || p->op.frozen)
        return err;
    if (!p->wino_weights)
        return tr_staged_run(b, &p->backward_weights, (void *[]){tr_in(e->x), e->dy[0], e->dw});
    tr_wino_gradient(&p->wino, e->x, e->dy[0], e->dw, (float *)(void *)b->stage);
    return 0;
}
