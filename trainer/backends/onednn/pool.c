/* Pooling: the maximum by our loops (oneDNN's loses NaN), in any layout; the global average, whose [n][c] output is
 * plain, by oneDNN. A maximum keeps where it was found, a byte for each number of y. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>

#include "trainer/backends/onednn/vector_loops.h"

enum { KERNEL_MAX = 15 }; /* a place is a byte */

static struct tr_windows windows_of(const struct tr_op_plan *p)
{
    const struct tr_op *op = &p->op;

    return (struct tr_windows){.h = op->x.h,
                               .w = op->x.w,
                               .oh = op->y.h,
                               .ow = op->y.w,
                               .kernel = op->kernel,
                               .stride = op->stride,
                               .pad = op->pad,
                               .inner = p->inner,
                               .narrow = op->precision == IMK_BF16};
}

int tr_maxpool_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    enum tr_tag tag;
    int err = tr_value_form(b, p->op.x, info->x_layout, p->op.precision, &tag, &p->inner);

    if (err < 0)
        return err;
    if (p->op.kernel > KERNEL_MAX)
        return -ENOTSUP;
    info->y_layout = tr_value_layout(b, p->op.y, tag, p->op.precision);
    if (!info->y_layout)
        return -ENOMEM;
    if (p->op.training)
        info->save_bytes = tr_layout_bytes(info->y_layout) /
                           (p->op.precision == IMK_BF16 ? sizeof(uint16_t) : sizeof(float));
    return 0;
}

void tr_maxpool_forward(struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_windows w = windows_of(p);
    const size_t size = w.narrow ? sizeof(uint16_t) : sizeof(float);
    const size_t rows = (size_t)w.oh, numbers = rows * (size_t)w.ow * w.inner;
    const size_t from = (size_t)w.h * (size_t)w.w * w.inner;

#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < p->count / numbers * rows; i++) {
        const size_t plane = i / rows;

        tr_vector_loops()->maxpool(
            &w, (const char *)e->x + plane * from * size, (char *)e->y + plane * numbers * size,
            p->op.training ? (uint8_t *)e->save + plane * numbers : NULL, (int)(i % rows));
    }
}

void tr_maxpool_backward(struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_windows w = windows_of(p);
    const size_t size = w.narrow ? sizeof(uint16_t) : sizeof(float);
    const size_t rows = (size_t)w.h, numbers = rows * (size_t)w.w * w.inner;
    const size_t from = (size_t)w.oh * (size_t)w.ow * w.inner;

#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < p->count / from * rows; i++) {
        const size_t plane = i / rows;
        const void *const dy[] = {(const char *)e->dy[0] + plane * from * size,
                                  e->dy[1] ? (const char *)e->dy[1] + plane * from * size : NULL};

        tr_vector_loops()->maxpool_backward(&w, dy, (const uint8_t *)e->save + plane * from,
                                            (char *)e->dx + plane * numbers * size, (int)(i % rows));
    }
}

int tr_gap_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    const struct tr_layout *any = tr_value_layout(b, p->op.y, TR_TAG_ANY, p->op.precision), *pooled;
    size_t used = 0;
    int err = any ? tr_dn_pool(b->dn, &p->op, info->x_layout, any, NULL, &p->forward.prim) : -ENOMEM;

    if (err < 0)
        return err;
    pooled = tr_prim_layout(p->forward.prim, TR_Y);
    info->y_layout = tr_value_layout(b, p->op.y, TR_TAG_PLAIN, p->op.precision);
    if (!info->y_layout)
        return -ENOMEM;
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

int tr_gap_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_prim *to_plain = p->forward.reorder[1];
    void *pooled = to_plain ? b->stage : e->y;
    int err = tr_prim_run(b->dn, p->forward.prim, (void *[]){tr_in(e->x), pooled});

    return err < 0 || !to_plain ? err : tr_prim_run(b->dn, to_plain, (void *[]){pooled, e->y});
}

int tr_gap_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_prim *from_plain = p->backward_data.reorder[0];
    void *dy = from_plain ? b->stage : e->dy[0];
    int err = from_plain ? tr_prim_run(b->dn, from_plain, (void *[]){e->dy[0], dy}) : 0;

    return err < 0 ? err : tr_prim_run(b->dn, p->backward_data.prim, (void *[]){dy, e->dx});
}
