/* The fully connected layer: three matrix products of oneDNN's. */
#include "trainer/onednn_plan.h"

#include <string.h>

/* y[n][k] = x[n][c] w[k][c]^T + b. */
int tr_fc_forward(const struct im_op *op, const struct im_exec *e)
{
    const int n = op->x.n, c = op->x.c, k = op->y.c;
    float *y = e->y;

    for (int i = 0; i < n; i++)
        memcpy(y + (size_t)i * (size_t)k, e->b, (size_t)k * sizeof(float));
    return tr_dn_gemm(&(struct tr_gemm){'N', 'T', n, k, c, e->x, e->w, c, c, 1, y});
}

/* dw[k][c] = dy[n][k]^T x[n][c], dx[n][c] = dy[n][k] w[k][c]. */
int tr_fc_backward(const struct im_op *op, const struct im_exec *e)
{
    const int n = op->x.n, c = op->x.c, k = op->y.c;
    const float *dy = e->dy[0];
    int err;

    memset(e->db, 0, (size_t)k * sizeof(float));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < k; j++)
            e->db[j] += dy[(size_t)i * (size_t)k + (size_t)j];
    err = tr_dn_gemm(&(struct tr_gemm){'T', 'N', k, c, n, dy, e->x, k, c, 0, e->dw});
    return err < 0 ? err : tr_dn_gemm(&(struct tr_gemm){'N', 'N', n, c, k, dy, e->w, k, c, 0, e->dx});
}
