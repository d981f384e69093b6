/* Batch norm whose statistics and parameters are constants, with its ReLU and an addition: one pass each way,
 * and backward reads neither x nor the statistics of the batch. */
#include "trainer/backends/onednn/plan.h"

#include <math.h>

/* In the staging buffer, for each channel of the layout with its padding: y = slope (x - mean) + bias. */
struct numbers {
    float *mean, *slope, *bias;
};

static size_t channels_of(const struct tr_op_plan *p)
{
    const size_t c = (size_t)p->op.x.c;

    return (c + p->inner - 1) / p->inner * p->inner;
}

static struct numbers numbers_in(const struct tr_backend *b, const struct tr_op_plan *p)
{
    const size_t floats = tr_lines(channels_of(p) * sizeof(float)) / sizeof(float);
    float *first = (float *)(void *)b->stage;

    return (struct numbers){.mean = first, .slope = first + floats, .bias = first + 2 * floats};
}

static struct numbers fill(const struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct numbers n = numbers_in(b, p);

    for (size_t c = 0; c < channels_of(p); c++) {
        const bool is_there = c < (size_t)p->op.x.c;

        n.mean[c] = is_there ? e->run_mean[c] : 0;
        n.slope[c] =
            is_there ? (float)((double)e->w[c] / sqrt((double)e->run_var[c] + (double)TR_BN_EPS)) : 0;
        n.bias[c] = is_there ? e->b[c] : 0;
    }
    return n;
}

int tr_frozen_norm_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    enum tr_tag tag;
    int err = tr_value_form(b, p->op.x, info->x_layout, IMK_F32, &tag, &p->inner);

    info->keeps_y = p->op.relu;
    info->y_may_be_x = info->dx_may_be_dy = true;
    return err < 0 ? err : tr_stage_reserve(b, 3 * tr_lines(channels_of(p) * sizeof(float)));
}

/* Planes of one row of channels each, [planes][area][inner]. */
struct image_planes {
    size_t count, area, inner, rows; /* rows: of channels in an image */
};

static struct image_planes planes_of(const struct tr_op_plan *p)
{
    const size_t area = (size_t)p->op.x.h * (size_t)p->op.x.w, rows = channels_of(p) / p->inner;

    return (struct image_planes){
        .count = (size_t)p->op.x.n * rows, .area = area, .inner = p->inner, .rows = rows};
}

static void forward_plane(const struct image_planes *s, size_t plane, const struct numbers *n, bool relu,
                          const struct tr_exec *e)
{
    const size_t first = plane * s->area * s->inner, channel = plane % s->rows * s->inner;
    const float *x = (const float *)e->x + first, *x2 = e->x2 ? (const float *)e->x2 + first : NULL;
    const float *mean = n->mean + channel, *slope = n->slope + channel, *bias = n->bias + channel;
    float *y = (float *)e->y + first;

    for (size_t i = 0; i < s->area; i++, x += s->inner, y += s->inner) {
        for (size_t j = 0; j < s->inner; j++) {
            float v = slope[j] * (x[j] - mean[j]) + bias[j];

            v += x2 ? x2[i * s->inner + j] : 0;
            y[j] = relu && v < 0 ? 0 : v;
        }
    }
}

void tr_frozen_norm_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct numbers n = fill(b, p, e);
    const struct image_planes s = planes_of(p);
    struct tr_exec own = *e;

    own.x2 = p->op.adds ? e->x2 : NULL;
#pragma omp parallel for schedule(static)
    for (size_t plane = 0; plane < s.count; plane++)
        forward_plane(&s, plane, &n, p->op.relu, &own);
}

static void backward_plane(const struct image_planes *s, size_t plane, const struct numbers *n, bool relu,
                           const struct tr_exec *e)
{
    const size_t first = plane * s->area * s->inner;
    const float *slope = n->slope + plane % s->rows * s->inner;
    const float *dy = (const float *)e->dy[0] + first, *y = relu ? (const float *)e->y + first : NULL;
    float *dx = (float *)e->dx + first, *dx2 = e->dx2 ? (float *)e->dx2 + first : NULL;

    for (size_t i = 0; i < s->area * s->inner; i += s->inner) {
        for (size_t j = 0; j < s->inner; j++) {
            const float d = y && y[i + j] <= 0 ? 0 : dy[i + j];

            if (dx2)
                dx2[i + j] = d;
            dx[i + j] = slope[j] * d;
        }
    }
}

void tr_frozen_norm_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct numbers n = fill(b, p, e);
    const struct image_planes s = planes_of(p);
    struct tr_exec own = *e;

    own.dx2 = p->op.adds ? e->dx2 : NULL;
#pragma omp parallel for schedule(static)
    for (size_t plane = 0; plane < s.count; plane++)
        backward_plane(&s, plane, &n, p->op.relu, &own);
}
