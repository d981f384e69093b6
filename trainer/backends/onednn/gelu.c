/* GELU with a bias of each channel, by the loops of vector_loops.h, in any layout. A lane's gradient of the bias is
 * summed over an image in double, images in their order, so that any number of threads gives the same bits. */
#include "trainer/backends/onednn/plan.h"

#include <string.h>

/* How the values lie. */
struct form {
    size_t n, channels, area, inner;
    size_t groups, each; /* of channels; channels of one */
};

static struct form form_of(const struct tr_op_plan *p)
{
    struct form f = {.n = (size_t)p->op.x.n,
                     .channels = (size_t)p->op.x.c,
                     .area = (size_t)p->op.x.h * (size_t)p->op.x.w,
                     .inner = p->inner};

    f.each = f.inner == 1 ? 1 : TR_LANES;
    f.groups = (f.channels + f.each - 1) / f.each;
    return f;
}

/* With the padding of the layout, whose values stay 0. */
static size_t groups_stored(const struct form *f)
{
    const size_t blocks = (f->channels + f->inner - 1) / f->inner;

    return f->inner == f->channels ? f->groups : blocks * f->inner / f->each;
}

int tr_gelu_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    enum tr_tag tag;
    int err = tr_value_form(b, p->op.x, info->x_layout, IMK_F32, &tag, &p->inner);
    struct form f;

    if (err < 0)
        return err;
    f = form_of(p);
    info->keeps_x = p->op.training;
    info->y_may_be_x = !p->op.training;
    info->dx_may_be_dy = true;
    return tr_stage_reserve(b, f.n * groups_stored(&f) * sizeof(struct tr_norm_sums));
}

static void set_bias(const struct form *f, const struct tr_op *op, const struct tr_exec *e, size_t group,
                     struct tr_gelu *g)
{
    memset(g->bias, 0, sizeof g->bias);
    for (size_t lane = 0; lane < TR_LANES && op->biased; lane++) {
        const size_t channel = f->each == 1 ? group : group * f->each + lane;

        g->bias[lane] = channel < f->channels ? e->b[channel] : 0;
    }
}

void tr_gelu_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct form f = form_of(p);
    const size_t groups = groups_stored(&f);

    (void)b;
#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < f.n * groups; i++) {
        const struct tr_strip s = tr_strip_at(f.channels, f.area, f.inner, i / groups, i % groups);
        struct tr_gelu g = {.x = e->x, .y = e->y};

        set_bias(&f, &p->op, e, i % groups, &g);
        tr_vector_loops()->gelu(&s, &g);
    }
}

/* Adds up what each image has left of a channel. */
static void sum_bias(const struct form *f, size_t groups, const struct tr_norm_sums *sums, float *db)
{
    for (size_t channel = 0; channel < f->channels; channel++) {
        const size_t group = channel / f->each, lane = f->each == 1 ? 0 : channel % f->each;
        double sum = 0;

        for (size_t n = 0; n < f->n; n++)
            for (size_t i = lane; i < (f->each == 1 ? (size_t)TR_LANES : lane + 1); i++)
                sum += sums[n * groups + group].first[i];
        db[channel] = (float)sum;
    }
}

void tr_gelu_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const struct form f = form_of(p);
    const size_t groups = groups_stored(&f);
    struct tr_norm_sums *sums = (struct tr_norm_sums *)(void *)b->stage;

#pragma omp parallel for schedule(static)
    for (size_t i = 0; i < f.n * groups; i++) {
        const struct tr_strip s = tr_strip_at(f.channels, f.area, f.inner, i / groups, i % groups);
        struct tr_gelu g = {.x = e->x, .dy = {e->dy[0], e->dy[1]}, .dx = e->dx};

        set_bias(&f, &p->op, e, i % groups, &g);
        sums[i] = (struct tr_norm_sums){{0}, {0}};
        tr_vector_loops()->gelu_backward(&s, &g, &sums[i]);
    }
    if (p->op.biased && !p->op.frozen)
        sum_bias(&f, groups, sums, e->db);
}
