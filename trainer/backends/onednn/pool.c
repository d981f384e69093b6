/* Pooling with oneDNN: maximum, and the global average, whose [n][c] output is plain. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>

int tr_pool_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    const struct tr_layout *any = tr_value_layout(b, p->op.y, TR_TAG_ANY, p->op.precision), *pooled;
    size_t used = 0;
    int err = any ? tr_dn_pool(b->dn, &p->op, info->x_layout, any, NULL, &p->forward.prim) : -ENOMEM;

    if (err < 0)
        return err;
    pooled = tr_prim_layout(p->forward.prim, TR_Y);
    info->y_layout =
        p->op.kind == TR_OP_GAP ? tr_value_layout(b, p->op.y, TR_TAG_PLAIN, p->op.precision) : pooled;
    if (!info->y_layout)
        return -ENOMEM;
    if (p->op.training)
        info->save_bytes = tr_prim_workspace(p->forward.prim);
    if (info->y_layout != pooled) {
        err = tr_stage_reserve(b, tr_layout_bytes(pooled));
        if (err == 0)
            err = tr_dn_reorder(b->dn, pooled, info->y_layout, &p->forward.reorder[1]);
    }
    if (err < 0 || !p->op.training)
        return err;
    err = tr_dn_pool(b->dn, &p->op, info->x_layout, pooled, p->forward.prim, &p->backward_data.prim);
    return err < 0 ? err : tr_stage_operand(b, &p->backward_data, 0, info->y_layout, pooled, &used);
}

int tr_pool_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_prim *to_plain = p->forward.reorder[1];
    void *pooled = to_plain ? b->stage : e->y;
    int err = tr_prim_run(b->dn, p->forward.prim, (void *[]){tr_in(e->x), pooled, e->save});

    return err < 0 || !to_plain ? err : tr_prim_run(b->dn, to_plain, (void *[]){pooled, e->y});
}

int tr_pool_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_prim *from_plain = p->backward_data.reorder[0];
    void *dy = from_plain ? b->stage : e->dy[0];
    int err = from_plain ? tr_prim_run(b->dn, from_plain, (void *[]){e->dy[0], dy}) : 0;

    return err < 0 ? err : tr_prim_run(b->dn, p->backward_data.prim, (void *[]){dy, e->dx, e->save});
}
