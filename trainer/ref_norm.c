/* Reference batch normalisation (with the ReLU that follows it) and residual addition.
 *
 * Training, over the m = n*h*w values of a channel: mu and var are the batch's mean and population variance,
 * y = gamma (x - mu) / sqrt(var + eps) + beta; the running variance takes var * m / (m - 1). Backward, with
 * xhat = (x - mu) / sqrt(var + eps) and dy already masked by the ReLU: dbeta = sum dy, dgamma = sum dy xhat,
 * dx = gamma / sqrt(var + eps) (dy - dbeta / m - xhat dgamma / m) (Ioffe and Szegedy 2015). save holds mu[c],
 * then 1 / sqrt(var + eps)[c].
 *
 * Over several ranks mu, var, m and the sums in dx are those of all their values; dbeta and dgamma stay this
 * rank's. save goes on with m, a double, and room for the two sums of all ranks [c]. */
#include "trainer/ref_ops.h"

#include <math.h>
#include <string.h>

size_t tr_ref_bn_save_bytes(const struct im_op *op)
{
    size_t channels = (size_t)op->x.c;

    return op->synced ? 4 * channels * sizeof(float) + sizeof(double) : 2 * channels * sizeof(float);
}

/* Mean and population variance of channel c, in two passes. */
static void moments(const struct im_op *op, const float *x, int c, double *ret_mean, double *ret_var)
{
    double m = (double)op->x.n * op->x.h * op->x.w, sum = 0, squares = 0;

    for (int n = 0; n < op->x.n; n++)
        for (int i = 0; i < op->x.h * op->x.w; i++)
            sum += (double)x[tr_at(op->x, n, c, 0, i)];
    for (int n = 0; n < op->x.n; n++) {
        for (int i = 0; i < op->x.h * op->x.w; i++) {
            double d = (double)x[tr_at(op->x, n, c, 0, i)] - sum / m;

            squares += d * d;
        }
    }
    *ret_mean = sum / m;
    *ret_var = squares / m;
}

static float run(float old, double fresh)
{
    return (float)((1.0 - (double)IM_BN_MOMENTUM) * (double)old + (double)IM_BN_MOMENTUM * fresh);
}

/* All ranks' means and variances into save, in place of 1 / sqrt(var + eps) for now; m behind them. */
static int gather_moments(const struct im_op *op, const struct im_exec *e, double *m)
{
    float *save = e->save;
    int err;

    for (int c = 0; c < op->x.c; c++) {
        double mean, var;

        moments(op, e->x, c, &mean, &var);
        save[c] = (float)mean;
        save[op->x.c + c] = (float)var;
    }
    err = e->sync->moments(e->sync->context, op->x.c, m, save, save + op->x.c);
    memcpy(save + 2 * op->x.c, m, sizeof *m);
    return err;
}

/* The mean and variance that channel c is normalised with. */
static void statistics(const struct im_op *op, const struct im_exec *e, int c, double *ret_mean,
                       double *ret_var)
{
    const float *save = e->save;

    if (op->training && !op->synced) {
        moments(op, e->x, c, ret_mean, ret_var);
    } else {
        *ret_mean = (double)(op->training ? save[c] : e->run_mean[c]);
        *ret_var = (double)(op->training ? save[op->x.c + c] : e->run_var[c]);
    }
}

int tr_ref_bn_forward(const struct im_op *op, const struct im_exec *e)
{
    double m = (double)op->x.n * op->x.h * op->x.w;
    const float *x = e->x;
    float *y = e->y, *save = e->save;
    int err = op->synced ? gather_moments(op, e, &m) : 0;

    for (int c = 0; c < op->x.c && err == 0; c++) {
        double mean, var, inv;

        statistics(op, e, c, &mean, &var);
        inv = 1.0 / sqrt(var + (double)IM_BN_EPS);
        if (op->training) {
            e->run_mean[c] = run(e->run_mean[c], mean);
            e->run_var[c] = run(e->run_var[c], m > 1 ? var * m / (m - 1) : var);
            save[c] = (float)mean;
            save[op->x.c + c] = (float)inv;
        }
        for (int n = 0; n < op->x.n; n++) {
            for (int i = 0; i < op->x.h * op->x.w; i++) {
                size_t at = tr_at(op->x, n, c, 0, i);
                double v = (double)e->w[c] * ((double)x[at] - mean) * inv + (double)e->b[c];

                y[at] = (float)(op->relu && v < 0 ? 0 : v);
            }
        }
    }
    return err;
}

/* What backward needs of one value. */
struct point {
    double xhat, dy;
};

/* dy behind the ReLU: the sign of y decides, and y is computed again in float as forward stored it. */
static struct point look(const struct im_op *op, const struct im_exec *e, int c, size_t at)
{
    const float *x = e->x, *save = e->save;
    double xhat = ((double)x[at] - (double)save[c]) * (double)save[op->x.c + c];
    float y = (float)((double)e->w[c] * xhat + (double)e->b[c]);

    return (struct point){.xhat = xhat, .dy = op->relu && !(y > 0) ? 0 : tr_dy(e, at)};
}

static void channel_sums(const struct im_op *op, const struct im_exec *e, int c, double *ret_dgamma,
                         double *ret_dbeta)
{
    double dgamma = 0, dbeta = 0;

    for (int n = 0; n < op->x.n; n++) {
        for (int i = 0; i < op->x.h * op->x.w; i++) {
            struct point p = look(op, e, c, tr_at(op->x, n, c, 0, i));

            dgamma += p.dy * p.xhat;
            dbeta += p.dy;
        }
    }
    e->dw[c] = (float)dgamma;
    e->db[c] = (float)dbeta;
    *ret_dgamma = dgamma;
    *ret_dbeta = dbeta;
}

static void channel_dx(const struct im_op *op, const struct im_exec *e, int c, double m, double dgamma,
                       double dbeta)
{
    const float *save = e->save;
    float *dx = e->dx;

    for (int n = 0; n < op->x.n; n++) {
        for (int i = 0; i < op->x.h * op->x.w; i++) {
            size_t at = tr_at(op->x, n, c, 0, i);
            struct point p = look(op, e, c, at);

            dx[at] = (float)((double)e->w[c] * (double)save[op->x.c + c] *
                             (p.dy - dbeta / m - p.xhat * dgamma / m));
        }
    }
}

static int synced_backward(const struct im_op *op, const struct im_exec *e)
{
    float *save = e->save, *sums[2] = {save + 2 * op->x.c + 2, save + 3 * op->x.c + 2};
    double m, dgamma, dbeta;
    int err;

    memcpy(&m, save + 2 * op->x.c, sizeof m);
    for (int c = 0; c < op->x.c; c++)
        channel_sums(op, e, c, &dgamma, &dbeta);
    memcpy(sums[0], e->dw, (size_t)op->x.c * sizeof(float));
    memcpy(sums[1], e->db, (size_t)op->x.c * sizeof(float));
    err = e->sync->sums(e->sync->context, op->x.c, sums[0], sums[1]);
    for (int c = 0; c < op->x.c && err == 0; c++)
        channel_dx(op, e, c, m, (double)sums[0][c], (double)sums[1][c]);
    return err;
}

int tr_ref_bn_backward(const struct im_op *op, const struct im_exec *e)
{
    double m = (double)op->x.n * op->x.h * op->x.w;

    if (op->synced)
        return synced_backward(op, e);
    for (int c = 0; c < op->x.c; c++) {
        double dgamma, dbeta;

        channel_sums(op, e, c, &dgamma, &dbeta);
        channel_dx(op, e, c, m, dgamma, dbeta);
    }
    return 0;
}

void tr_ref_add_forward(const struct im_op *op, const struct im_exec *e)
{
    const float *a = e->x, *b = e->x2;
    float *y = e->y;

    for (size_t i = 0; i < tr_count(op->y); i++) {
        float v = a[i] + b[i];

        y[i] = op->relu && v < 0 ? 0 : v;
    }
}

void tr_ref_add_backward(const struct im_op *op, const struct im_exec *e)
{
    const float *y = e->y;
    float *dx = e->dx;

    for (size_t i = 0; i < tr_count(op->y); i++)
        dx[i] = op->relu && !(y[i] > 0) ? 0 : (float)tr_dy(e, i);
}
