/* Batch norm with its ReLU on oneDNN, and the running statistics, which oneDNN does not keep. */
#include "trainer/onednn_plan.h"

#include "trainer/cpu_ops.h"

int tr_bn_plan(struct im_backend *b, struct im_plan *p, struct im_plan_info *info)
{
    int err = tr_dn_bn(b->dn, &p->op, info->x_layout, NULL, &p->forward.prim);

    info->y_may_be_x = !p->op.training;
    info->dx_may_be_dy = true;
    if (err < 0 || !p->op.training)
        return err;
    p->var_at = tr_lines((size_t)p->op.x.c * sizeof(float));
    p->mask_at = 2 * p->var_at;
    info->keeps_x = true;
    info->save_bytes = p->mask_at + tr_prim_workspace(p->forward.prim);
    return tr_dn_bn(b->dn, &p->op, info->x_layout, p->forward.prim, &p->backward_data.prim);
}

int tr_bn_forward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    double m = (double)p->op.x.n * p->op.x.h * p->op.x.w;
    char *save = e->save;
    float *mean = p->op.training ? (float *)e->save : e->run_mean;
    float *var = p->op.training ? (float *)e->save + p->var_at / sizeof(float) : e->run_var;
    void *mask = save ? save + p->mask_at : NULL;
    int err = tr_prim_run(b->dn, p->forward.prim,
                          (void *[]){tr_in(e->x), e->y, tr_in(e->w), tr_in(e->b), mean, var, mask});

    if (err == 0 && p->op.training) {
        tr_cpu_running(e->run_mean, mean, p->op.x.c, 1);
        tr_cpu_running(e->run_var, var, p->op.x.c, m > 1 ? m / (m - 1) : 1);
    }
    return err;
}

int tr_bn_backward(struct im_backend *b, struct im_plan *p, const struct im_exec *e)
{
    char *save = e->save;

    return tr_prim_run(b->dn, p->backward_data.prim,
                       (void *[]){tr_in(e->x), e->dy[0], e->dx, tr_in(e->w), save, save + p->var_at, e->dw,
                                  e->db, save + p->mask_at, tr_in(e->b)});
}
