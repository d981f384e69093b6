/* Batch norm with its ReLU on oneDNN, and the running statistics, which oneDNN does not keep.
 *
 * Over several ranks: a first forward pass computes this rank's statistics, a second one uses those of all
 * ranks. oneDNN's backward pass treats given statistics as constants: its dx is gamma / sqrt(var + eps) dy,
 * and what is missing, -gamma / sqrt(var + eps) (dbeta / m + xhat dgamma / m), is k xhat + l in each channel,
 * which is again a batch norm with given statistics. So our code does not depend on a layout. */
#include "trainer/backends/onednn/plan.h"

#include <math.h>
#include <string.h>

#include "trainer/backends/onednn/loops.h"

/* Offset of the correction in the staging buffer: the values, then k and l. */
static size_t coefficients_at(const struct tr_op_plan *p, int which)
{
    return tr_lines(p->synced_bytes) + (size_t)which * p->var_at;
}

static int plan_synced(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    struct tr_op affine = p->op;
    int err = tr_dn_bn(b->dn, &p->op, info->x_layout, true, NULL, &p->given);

    affine.training = affine.relu = false;
    if (err == 0)
        err = tr_dn_bn(b->dn, &affine, info->x_layout, true, NULL, &p->affine);
    if (err == 0)
        err = tr_dn_bn(b->dn, &p->op, info->x_layout, true, p->given, &p->backward_data.prim);
    p->synced_bytes = tr_layout_bytes(info->x_layout);
    p->count_at = p->mask_at + tr_lines(tr_prim_workspace(p->forward.prim));
    info->save_bytes = p->count_at + sizeof(double);
    return err < 0 ? err : tr_stage_reserve(b, coefficients_at(p, 2));
}

int tr_bn_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    int err = tr_dn_bn(b->dn, &p->op, info->x_layout, false, NULL, &p->forward.prim);

    info->y_may_be_x = !p->op.training;
    info->dx_may_be_dy = true;
    if (err < 0 || !p->op.training)
        return err;
    p->var_at = tr_lines((size_t)p->op.x.c * sizeof(float));
    p->mask_at = 2 * p->var_at;
    info->keeps_x = true;
    info->save_bytes = p->mask_at + tr_prim_workspace(p->forward.prim);
    if (p->op.synced)
        return plan_synced(b, p, info);
    return tr_dn_bn(b->dn, &p->op, info->x_layout, false, p->forward.prim, &p->backward_data.prim);
}

/* Forward with the statistics of all ranks instead of this rank's. */
static int forward_synced(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e, double *m)
{
    char *save = e->save;
    float *mean = e->save, *var = mean + p->var_at / sizeof(float);
    int err = e->sync->moments(e->sync->context, p->op.x.c, m, mean, var);

    memcpy(save + p->count_at, m, sizeof *m);
    return err < 0 ? err
                   : tr_prim_run(b->dn, p->given,
                                 (void *[]){tr_in(e->x), e->y, tr_in(e->w), tr_in(e->b), mean, var,
                                            save + p->mask_at});
}

int tr_bn_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    double m = (double)p->op.x.n * p->op.x.h * p->op.x.w;
    char *save = e->save;
    float *mean = p->op.training ? (float *)e->save : e->run_mean;
    float *var = p->op.training ? (float *)e->save + p->var_at / sizeof(float) : e->run_var;
    void *mask = save ? save + p->mask_at : NULL;
    int err = tr_prim_run(b->dn, p->forward.prim,
                          (void *[]){tr_in(e->x), e->y, tr_in(e->w), tr_in(e->b), mean, var, mask});

    if (err == 0 && p->op.synced)
        err = forward_synced(b, p, e, &m);
    if (err == 0 && p->op.training) {
        tr_cpu_running(e->run_mean, mean, p->op.x.c, 1);
        tr_cpu_running(e->run_var, var, p->op.x.c, m > 1 ? m / (m - 1) : 1);
    }
    return err;
}

/* Adds the part of dx that comes from the statistics being functions of the values. */
static int correct(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const size_t bytes = (size_t)p->op.x.c * sizeof(float);
    char *save = e->save;
    float *mean = e->save, *var = mean + p->var_at / sizeof(float);
    float *k = (float *)(void *)(b->stage + coefficients_at(p, 0));
    float *l = (float *)(void *)(b->stage + coefficients_at(p, 1));
    double m;
    int err;

    memcpy(&m, save + p->count_at, sizeof m);
    memcpy(k, e->dw, bytes);
    memcpy(l, e->db, bytes);
    err = e->sync->sums(e->sync->context, p->op.x.c, k, l);
    if (err < 0)
        return err;
    for (int c = 0; c < p->op.x.c; c++) {
        double slope = -(double)e->w[c] / sqrt((double)var[c] + (double)TR_BN_EPS) / m;

        k[c] = (float)(slope * (double)k[c]);
        l[c] = (float)(slope * (double)l[c]);
    }
    err = tr_prim_run(b->dn, p->affine, (void *[]){tr_in(e->x), b->stage, k, l, mean, var, NULL});
    if (err == 0)
        tr_cpu_add(e->dx, (const float *)(void *)b->stage, p->synced_bytes / sizeof(float));
    return err;
}

int tr_bn_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    char *save = e->save;
    int err = tr_prim_run(b->dn, p->backward_data.prim,
                          (void *[]){tr_in(e->x), e->dy[0], e->dx, tr_in(e->w), save, save + p->var_at, e->dw,
                                     e->db, save + p->mask_at, tr_in(e->b)});

    return err == 0 && p->op.synced ? correct(b, p, e) : err;
}
