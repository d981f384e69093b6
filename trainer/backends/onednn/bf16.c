/* bf16 ops that run as fp32 ops between bf16 values: all of them on a CPU for which oneDNN has no bf16 code,
 * and on every CPU those that are small (input, fully connected, loss) or that it lacks. Rounding follows
 * backend.h, so results are bf16's (products of bf16 numbers are exact in fp32, accumulation is fp32 as on
 * CPUs with bf16), and so is the memory, but not the speed.
 *
 * The fp32 copies of one op at a time are in the backend's buffers `wide`; a step allocates nothing. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>

#include "trainer/backends/onednn/loops.h"

static int retype(struct tr_backend *b, const struct tr_layout **layout, enum imk_dtype type)
{
    return *layout ? tr_dn_retype(b->dn, *layout, type, layout) : 0;
}

int tr_narrow_plan(struct tr_backend *b, struct tr_op_plan *p)
{
    enum tr_op_kind kind = p->op.kind;
    const struct tr_layout *x = p->op.x_layout;

    p->narrow.on = true;
    p->narrow.x = kind != TR_OP_INPUT && (x ? tr_layout_type(x) == IMK_BF16 : kind != TR_OP_LOSS);
    p->narrow.y = kind != TR_OP_FC && kind != TR_OP_LOSS;
    p->op.precision = IMK_F32;
    return retype(b, &p->op.x_layout, IMK_F32);
}

static int reserve_wide(struct tr_backend *b, enum tr_wide at, size_t bytes)
{
    if (bytes <= b->wide_bytes[at])
        return 0;
    tr_cpu_free(b->wide[at]);
    b->wide_bytes[at] = 0;
    b->wide[at] = tr_cpu_alloc(bytes);
    if (!b->wide[at])
        return -ENOMEM;
    b->wide_bytes[at] = bytes;
    return 0;
}

int tr_narrow_planned(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    bool backward = p->op.training;
    int err = 0;

    p->narrow.x_count = info->x_bytes / sizeof(float);
    p->narrow.y_count = info->y_bytes / sizeof(float);
    p->narrow.dx_may_be_dy = info->dx_may_be_dy;
    p->narrow.keeps_x = info->keeps_x;
    p->narrow.keeps_y = info->keeps_y;
    if (p->narrow.x) {
        err = reserve_wide(b, TR_WIDE_X, info->x_bytes);
        if (err == 0 && backward)
            err = reserve_wide(b, TR_WIDE_DX, info->x_bytes);
        if (err == 0)
            err = retype(b, &info->x_layout, IMK_BF16);
        info->x_bytes /= 2;
    }
    if (err == 0 && p->narrow.y) {
        err = reserve_wide(b, TR_WIDE_Y, info->y_bytes);
        if (err == 0)
            err = reserve_wide(b, TR_WIDE_X2, info->y_bytes);
        if (err == 0 && backward)
            err = reserve_wide(b, TR_WIDE_DY1, info->y_bytes);
        if (err == 0)
            err = retype(b, &info->y_layout, IMK_BF16);
        info->y_bytes /= 2;
    }
    return err;
}

/* The fp32 copy of a value that an op reads. */
static void *widened(struct tr_backend *b, enum tr_wide at, const void *value, size_t count)
{
    if (!value)
        return NULL;
    tr_cpu_widen(b->wide[at], value, count);
    return b->wide[at];
}

struct tr_exec tr_widen_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    struct tr_exec wide = *e;

    if (p->narrow.x) {
        wide.x = widened(b, TR_WIDE_X, e->x, p->narrow.x_count);
        wide.x2 =
            p->op.kind == TR_OP_ADD || p->op.adds ? widened(b, TR_WIDE_X2, e->x2, p->narrow.x_count) : NULL;
        wide.dx = b->wide[TR_WIDE_DX];
    }
    if (p->narrow.y)
        wide.y = b->wide[TR_WIDE_Y];
    return wide;
}

void tr_narrow_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    if (p->narrow.y)
        tr_cpu_narrow(e->y, b->wide[TR_WIDE_Y], p->narrow.y_count);
    if (p->narrow.x && p->op.kind == TR_OP_LOSS && p->op.training)
        tr_cpu_narrow(e->dx, b->wide[TR_WIDE_DX], p->narrow.x_count);
}

/* Only of frozen batch norm, whose dx takes dy's place, so that TR_WIDE_DX is free. */
static bool gives_dx2(const struct tr_op_plan *p, const struct tr_exec *e)
{
    return p->op.adds && e->dx2;
}

struct tr_exec tr_widen_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_narrow *n = &p->narrow;
    struct tr_exec wide = *e;

    if (n->y) {
        wide.y = n->keeps_y ? widened(b, TR_WIDE_Y, e->y, n->y_count) : NULL;
        wide.dy[0] = widened(b, TR_WIDE_DY0, e->dy[0], n->y_count);
        wide.dy[1] = widened(b, TR_WIDE_DY1, e->dy[1], n->y_count);
    }
    if (n->x) {
        wide.x = n->keeps_x ? widened(b, TR_WIDE_X, e->x, n->x_count) : NULL;
        wide.dx = n->dx_may_be_dy && n->y ? wide.dy[0] : b->wide[TR_WIDE_DX];
        wide.dx2 = gives_dx2(p, e) ? b->wide[TR_WIDE_DX] : NULL;
    }
    return wide;
}

void tr_narrow_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_narrow *n = &p->narrow;

    if (n->x && p->op.needs_dx)
        tr_cpu_narrow(e->dx, n->dx_may_be_dy && n->y ? b->wide[TR_WIDE_DY0] : b->wide[TR_WIDE_DX],
                      n->x_count);
    if (n->x && gives_dx2(p, e))
        tr_cpu_narrow(e->dx2, b->wide[TR_WIDE_DX], n->x_count);
}
