/* The fully connected layer: three matrix products with oneDNN, in fp32; in bf16 its weights are rounded (it
 * is a thousandth of a network's work). */
#include "trainer/backends/onednn/plan.h"

#include <string.h>

int tr_fc_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info)
{
    info->keeps_x = p->op.training && !p->op.frozen;
    return tr_pack_get(b, p, tr_weight_layout(b, &p->op, TR_TAG_PLAIN, IMK_F32), TR_FORM_LAYOUT,
                       &p->pack_forward);
}

/* y[n][k] = x[n][c] w[k][c]^T + b. */
int tr_fc_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const int n = p->op.x.n, c = p->op.x.c, k = p->op.y.c;
    float *y = e->y;
    void *w;
    int err = tr_pack_fresh(b, p->pack_forward, e, &w);

    if (err < 0)
        return err;
    for (int i = 0; i < n; i++)
        memcpy(y + (size_t)i * (size_t)k, e->b, (size_t)k * sizeof(float));
    return tr_dn_gemm(&(struct tr_gemm){'N', 'T', n, k, c, e->x, w, c, c, 1, y});
}

enum { COLUMNS = 64 }; /* summed up at a time */

/* db[k] is the sum over n of dy[n][k], in double: the samples' gradients nearly cancel out. */
static void sum_columns(float *db, const float *dy, size_t n, size_t k)
{
    for (size_t first = 0; first < k; first += COLUMNS) {
        const size_t count = k - first < COLUMNS ? k - first : COLUMNS;
        double sums[COLUMNS] = {0};

        for (size_t i = 0; i < n; i++)
            for (size_t j = 0; j < count; j++)
                sums[j] += (double)dy[i * k + first + j];
        for (size_t j = 0; j < count; j++)
            db[first + j] = (float)sums[j];
    }
}

/* dw[k][c] = dy[n][k]^T x[n][c]. */
static int backward_params(const struct tr_op_plan *p, const struct tr_exec *e)
{
    const int n = p->op.x.n, c = p->op.x.c, k = p->op.y.c;
    const float *dy = e->dy[0];

    sum_columns(e->db, dy, (size_t)n, (size_t)k);
    return tr_dn_gemm(&(struct tr_gemm){'T', 'N', k, c, n, dy, e->x, k, c, 0, e->dw});
}

/* dx[n][c] = dy[n][k] w[k][c]. */
int tr_fc_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e)
{
    const int n = p->op.x.n, c = p->op.x.c, k = p->op.y.c;
    void *w;
    int err = p->op.frozen ? 0 : backward_params(p, e);

    if (err == 0 && p->op.needs_dx)
        err = tr_pack_fresh(b, p->pack_forward, e, &w);
    if (err < 0 || !p->op.needs_dx)
        return err;
    return tr_dn_gemm(&(struct tr_gemm){'N', 'N', n, c, k, e->dy[0], w, k, c, 0, e->dx});
}
