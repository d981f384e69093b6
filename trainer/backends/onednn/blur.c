/* The blur, with our own loop: it works in any layout that the convolutions around it chose, pads by
 * reflection, which oneDNN's convolutions do not, and is memory-bound anyway.
 *
 * The filter is the same for all channels, so the form of a layout (tr_value_form) is all that the loop needs. Backward is the same loop with transposed tables: the
 * weight from a pixel to an output is the weight of that output's gradient. */
#include "trainer/backends/onednn/plan.h"

#include <errno.h>
#include <stdlib.h>

#include "trainer/backends/onednn/loops.h"

/* The tables of one axis, of `y` places made of `x`. */
static void axis(int x, int y, int stride, bool reflect, struct tr_taps *forward, struct tr_taps *backward)
{
    for (int i = 0; i < y; i++) {
        for (int k = 0; k < 3; k++) {
            int at = i * stride - 1 + k;
            bool outside = at < 0 || at >= x;

            if (outside)
                at = !reflect ? i * stride : at < 0 ? -at : 2 * x - 2 - at;
            forward[i].index[k] = at;
            forward[i].weight[k] = outside && !reflect ? 0 : k == 1 ? 0.5F : 0.25F;
        }
    }
    for (int at = 0; at < x; at++) {
        struct tr_taps *taps = &backward[at];
        int used = 0;

        for (int i = 0; i < y; i++) {
            float weight = 0;

            for (int k = 0; k < 3; k++)
                weight += forward[i].index[k] == at ? forward[i].weight[k] : 0;
            if (weight > 0) {
                taps->index[used] = i;
                taps->weight[used++] = weight;
            }
        }
        for (; used < 3; used++) {
            taps->index[used] = taps->index[0];
            taps->weight[used] = 0;
        }
    }
}

int tr_blur_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    const struct tr_op *op = &p->op;
    size_t rows = (size_t)op->x.h + (size_t)op->y.h, columns = (size_t)op->x.w + (size_t)op->y.w;
    enum tr_tag tag;
    int err = tr_value_form(b, op->x, info->x_layout, IMK_F32, &tag, &p->inner);

    if (err < 0)
        return err;
    info->y_layout = tr_value_layout(b, op->y, tag, IMK_F32);
    if (!info->y_layout)
        return -ENOMEM;
    if (op->reflect && (op->x.h < 2 || op->x.w < 2))
        return -EINVAL;
    p->taps = calloc(rows + columns, sizeof *p->taps);
    if (!p->taps)
        return -ENOMEM;
    axis(op->x.h, op->y.h, op->stride, op->reflect, p->taps, p->taps + op->y.h);
    axis(op->x.w, op->y.w, op->stride, op->reflect, p->taps + rows, p->taps + rows + op->y.w);
    return 0;
}

void tr_blur_forward(struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_op *op = &p->op;
    const struct tr_taps *columns = p->taps + op->x.h + op->y.h;
    struct tr_filter f = {.planes = p->count / ((size_t)op->y.h * (size_t)op->y.w * p->inner),
                          .inner = p->inner,
                          .from_h = op->x.h,
                          .from_w = op->x.w,
                          .h = op->y.h,
                          .w = op->y.w,
                          .rows = p->taps,
                          .columns = columns};

    tr_cpu_filter(&f, e->x, e->y);
}

void tr_blur_backward(struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct tr_op *op = &p->op;
    const struct tr_taps *columns = p->taps + op->x.h + op->y.h;
    struct tr_filter f = {.planes = p->count / ((size_t)op->y.h * (size_t)op->y.w * p->inner),
                          .inner = p->inner,
                          .from_h = op->y.h,
                          .from_w = op->y.w,
                          .h = op->x.h,
                          .w = op->x.w,
                          .rows = p->taps + op->y.h,
                          .columns = columns + op->y.w};

    tr_cpu_filter(&f, e->dy[0], e->dx);
}
