/* Reference batch normalisation (with the ReLU that follows it) and residual addition.
 *
 * Training, over the m = n*h*w values of a channel: mu and var are the batch's mean and population variance,
 * y = gamma (x - mu) / sqrt(var + eps) + beta; the running variance takes var * m / (m - 1). Backward, with
 * xhat = (x - mu) / sqrt(var + eps) and dy already masked by the ReLU: dbeta = sum dy, dgamma = sum dy xhat,
 * dx = gamma / sqrt(var + eps) (dy - dbeta / m - xhat dgamma / m) (Ioffe and Szegedy 2015). save holds mu[c],
 * then 1 / sqrt(var + eps)[c].
 *
 * Over several ranks mu, var, m and the sums in dx are those of all their values; dbeta and dgamma stay this
 * rank's. save continues with m, a double, and space for the two sums over all ranks [c].
 *
 * With a fused addition the ReLU mask, one bit per value, is at the end of save: y then does not follow from
 * x alone. */
#include "trainer/backends/ref/ops.h"

#include <math.h>
#include <string.h>

static size_t numbers_bytes(const struct tr_op *op)
{
    size_t channels = (size_t)op->x.c;

    return op->synced ? 4 * channels * sizeof(float) + sizeof(double) : 2 * channels * sizeof(float);
}

size_t tr_ref_bn_save_bytes(const struct tr_op *op)
{
    return numbers_bytes(op) + (op->adds && op->relu ? (tr_count(op->x) + 7) / 8 : 0);
}

static unsigned char *mask_of(const struct tr_op *op, const struct tr_exec *e)
{
    return op->adds && op->relu && op->training ? (unsigned char *)e->save + numbers_bytes(op) : NULL;
}

/* Mean and population variance of channel c, in two passes. */
static void moments(const struct tr_op *op, const float *x, int c, double *ret_mean, double *ret_var)
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

static float running_average(float old, double fresh)
{
    return (float)((1.0 - (double)TR_BN_MOMENTUM) * (double)old + (double)TR_BN_MOMENTUM * fresh);
}

/* All ranks' means and variances into save, in place of 1 / sqrt(var + eps) for now; m behind them. */
static int gather_moments(const struct tr_op *op, const struct tr_exec *e, double *m)
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
static void statistics(const struct tr_op *op, const struct tr_exec *e, int c, double *ret_mean,
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

int tr_ref_bn_forward(const struct tr_op *op, const struct tr_exec *e)
{
    double m = (double)op->x.n * op->x.h * op->x.w;
    const float *x = e->x, *x2 = op->adds ? e->x2 : NULL;
    float *y = e->y, *save = e->save;
    unsigned char *mask = mask_of(op, e);
    int err = op->synced ? gather_moments(op, e, &m) : 0;

    if (mask)
        memset(mask, 0, (tr_count(op->x) + 7) / 8);
    for (int c = 0; c < op->x.c && err == 0; c++) {
        double mean, var, inv;

        statistics(op, e, c, &mean, &var);
        inv = 1.0 / sqrt(var + (double)TR_BN_EPS);
        if (op->training) {
            e->run_mean[c] = running_average(e->run_mean[c], mean);
            e->run_var[c] = running_average(e->run_var[c], m > 1 ? var * m / (m - 1) : var);
            save[c] = (float)mean;
            save[op->x.c + c] = (float)inv;
        }
        for (int n = 0; n < op->x.n; n++) {
            for (int i = 0; i < op->x.h * op->x.w; i++) {
                size_t at = tr_at(op->x, n, c, 0, i);
                double v = (double)e->w[c] * ((double)x[at] - mean) * inv + (double)e->b[c];

                v += x2 ? (double)x2[at] : 0;
                y[at] = (float)(op->relu && v < 0 ? 0 : v);
                if (mask && !(y[at] <= 0))
                    mask[at / 8] |= (unsigned char)(1u << at % 8);
            }
        }
    }
    return err;
}

/* Inputs of backward at one value. */
struct point {
    double xhat, dy;
};

/* dy after the ReLU mask: the sign of y decides, and NaN passes; y is recomputed in float as forward stored it. */
static struct point point_at(const struct tr_op *op, const struct tr_exec *e, int c, size_t at)
{
    const float *x = e->x, *save = e->save;
    const unsigned char *mask = mask_of(op, e);
    double xhat = ((double)x[at] - (double)save[c]) * (double)save[op->x.c + c];
    float y = (float)((double)e->w[c] * xhat + (double)e->b[c]);
    bool passes = !op->relu || (mask ? mask[at / 8] >> at % 8 & 1 : !(y <= 0));

    return (struct point){.xhat = xhat, .dy = passes ? tr_dy(e, at) : 0};
}

static void channel_sums(const struct tr_op *op, const struct tr_exec *e, int c, double *ret_dgamma,
                         double *ret_dbeta)
{
    double dgamma = 0, dbeta = 0;

    for (int n = 0; n < op->x.n; n++) {
        for (int i = 0; i < op->x.h * op->x.w; i++) {
            struct point p = point_at(op, e, c, tr_at(op->x, n, c, 0, i));

            dgamma += p.dy * p.xhat;
            dbeta += p.dy;
        }
    }
    e->dw[c] = (float)dgamma;
    e->db[c] = (float)dbeta;
    *ret_dgamma = dgamma;
    *ret_dbeta = dbeta;
}

static void channel_dx(const struct tr_op *op, const struct tr_exec *e, int c, double m, double dgamma,
                       double dbeta)
{
    const float *save = e->save;
    float *dx = e->dx, *dx2 = op->adds ? e->dx2 : NULL;

    for (int n = 0; n < op->x.n; n++) {
        for (int i = 0; i < op->x.h * op->x.w; i++) {
            size_t at = tr_at(op->x, n, c, 0, i);
            struct point p = point_at(op, e, c, at);

            if (dx2)
                dx2[at] = (float)p.dy;
            dx[at] = (float)((double)e->w[c] * (double)save[op->x.c + c] *
                             (p.dy - dbeta / m - p.xhat * dgamma / m));
        }
    }
}

static int synced_backward(const struct tr_op *op, const struct tr_exec *e)
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

int tr_ref_bn_backward(const struct tr_op *op, const struct tr_exec *e)
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

void tr_ref_add_forward(const struct tr_op *op, const struct tr_exec *e)
{
    const float *a = e->x, *b = e->x2;
    float *y = e->y;

    for (size_t i = 0; i < tr_count(op->y); i++) {
        float v = a[i] + b[i];

        y[i] = op->relu && v < 0 ? 0 : v;
    }
}

void tr_ref_add_backward(const struct tr_op *op, const struct tr_exec *e)
{
    const float *y = e->y;
    float *dx = e->dx;

    for (size_t i = 0; i < tr_count(op->y); i++)
        dx[i] = op->relu && y[i] <= 0 ? 0 : (float)tr_dy(e, i);
}
