/* dnn.h on the host: sums in double over values of any type, rounded once. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"
#include "tests/cuda/lanes/number.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/dnn.h"

struct tr_dnn {
    struct tr_dnn_config config;
    struct tr_dnn_stats stats;
    bool no_norms, no_narrow;
    int untuned;
    size_t need; /* bytes of the largest one's tensors */
};

struct tr_dnn_conv {
    struct tr_dnn_conv_shape s;
    enum tr_dnn_conv_kind kind;
    enum imk_dtype type;
    bool apart;
};

struct tr_dnn_norm {
    struct tr_dnn_norm_shape s;
    enum tr_dnn_norm_kind kind;
    enum imk_dtype type;
    bool add, relu;
};

int tr_dnn_open(const struct tr_dnn_config *config, struct tr_dnn **ret_dnn, struct im_text *text)
{
    struct tr_dnn *dnn = calloc(1, sizeof *dnn);

    if (!dnn)
        return im_fail(text, -ENOMEM, "no memory");
    dnn->config = *config;
    dnn->no_norms = host_gpu_get()->no_norms;
    dnn->no_narrow = host_gpu_get()->no_narrow;
    dnn->stats.version = 91900;
    *ret_dnn = dnn;
    return 0;
}

void tr_dnn_close(struct tr_dnn *dnn)
{
    im_assert(!dnn || dnn->stats.plans == 0); /* all plans were freed */
    free(dnn);
}

/* ---- what a first start is like ---- */

/* HOST_PLAN_MS in the environment: how long one plan takes. */
static int tell(struct tr_dnn *dnn, int at, int of)
{
    const char *pause = getenv("HOST_PLAN_MS");

    if (pause && at > 0)
        poll(NULL, 0, (int)strtol(pause, NULL, 10));
    return dnn->config.progress && dnn->config.progress(dnn->config.context, "a plan", at, of) ? -ECANCELED
                                                                                               : 0;
}

/* What lies at its ends: an arena of a gigabyte is written for seconds under a sanitizer. */
static void run_spoil(const void *args)
{
    const struct tr_dnn_scratch *s = args;
    const size_t most = (size_t)16 << 20, n = s->bytes < most ? s->bytes : most;

    memset(s->memory, 0xa5, n);
    memset((char *)s->memory + s->bytes - n, 0xa5, n);
}

/* The rule of dnn.h: engines are timed on tensors of the operation's size, in the scratch memory, which loses what
 * it held, or in memory that must be free. */
static int time_all(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, struct im_text *text)
{
    struct tr_gpu *gpu = dnn->config.gpu;
    void *own = NULL;
    int err;

    if (dnn->untuned == 0)
        return 0;
    if (scratch->bytes >= dnn->need)
        return host_gpu_enqueue(tr_gpu_stream(gpu, TR_GPU_COMPUTE), run_spoil,
                                &(struct tr_dnn_scratch){.memory = scratch->memory, .bytes = dnn->need},
                                sizeof *scratch);
    err = tr_gpu_memory_new(gpu, dnn->need, "timing", &own, text);
    tr_gpu_memory_free(gpu, own);
    return err;
}

int tr_dnn_tune(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, bool *ret_moved,
                struct im_text *text)
{
    int err = time_all(dnn, scratch, text);

    im_assert(!tr_gpu_is_capturing(dnn->config.gpu));
    for (int i = 1; i <= dnn->untuned && err == 0; i++)
        err = tell(dnn, i, dnn->untuned);
    tell(dnn, 0, 0);
    dnn->need = err < 0 ? dnn->need : 0;
    if (ret_moved)
        *ret_moved = dnn->untuned > 0;
    dnn->untuned = err < 0 ? dnn->untuned : 0;
    return err;
}

void tr_dnn_stats(const struct tr_dnn *dnn, struct tr_dnn_stats *ret_stats)
{
    *ret_stats = dnn->stats;
    ret_stats->workspace_bytes = TR_DNN_WORKSPACE; /* so that all of the memory is an arena's */
}

/* ---- convolutions ---- */

static int side(const struct tr_dnn_conv_shape *s, int in)
{
    return (in + 2 * s->pad - s->kernel) / s->stride + 1;
}

static void note_new(struct tr_dnn *dnn, size_t bytes)
{
    dnn->untuned++;
    dnn->need = bytes > dnn->need ? bytes : dnn->need;
}

int tr_dnn_conv_new(struct tr_dnn *dnn, const struct tr_dnn_conv_shape *shape, enum tr_dnn_conv_kind kind,
                    enum imk_dtype type, struct tr_dnn_conv **ret_conv, struct im_text *text)
{
    if (dnn->no_norms && kind == TR_DNN_CONV_BACKWARD_ADD)
        return im_fail(text, -ENOTSUP, "no engine adds");
    if (dnn->no_narrow && shape->c % 8 != 0 && type != IMK_F32)
        return im_fail(text, -ENOTSUP, "no engine for so few channels");
    *ret_conv = calloc(1, sizeof **ret_conv);
    if (!*ret_conv)
        return im_fail(text, -ENOMEM, "no memory");
    **ret_conv = (struct tr_dnn_conv){.s = *shape, .kind = kind, .type = type};
    dnn->stats.plans++;
    note_new(dnn, imk_dtype_bytes(type) * (size_t)shape->n *
                      ((size_t)shape->h * (size_t)shape->w * (size_t)shape->c +
                       (size_t)side(shape, shape->h) * (size_t)side(shape, shape->w) * (size_t)shape->k));
    return 0;
}

void tr_dnn_conv_free(struct tr_dnn *dnn, struct tr_dnn_conv *conv)
{
    if (conv)
        dnn->stats.plans--;
    free(conv);
}

void tr_dnn_conv_set_apart(struct tr_dnn_conv *conv)
{
    conv->apart = true;
}

const char *tr_dnn_conv_kernel(const struct tr_dnn_conv *conv)
{
    (void)conv;
    return "host";
}

struct conv_run {
    struct tr_dnn_conv conv;
    void *x, *w, *y;
};

/* Calls visit for all pairs of an image's place and an output's that a tap joins. */
struct walk {
    const struct tr_dnn_conv_shape *s;
    float *x, *w; /* [n][h][w][c], [k][kernel][kernel][c] */
    double *sum;  /* of what is written */
    float *y;     /* [n][p][q][k] */
    enum tr_dnn_conv_kind kind;
};

static void at_place(struct walk *a, size_t xi, size_t yi, size_t tap)
{
    const size_t c = (size_t)a->s->c, k = (size_t)a->s->k, taps = (size_t)(a->s->kernel * a->s->kernel);

    for (size_t o = 0; o < k; o++) {
        const size_t wi = (o * taps + tap) * c;
        const double dy = (double)a->y[yi * k + o];

        if (a->kind == TR_DNN_CONV_FORWARD) {
            double sum = 0;

            for (size_t i = 0; i < c; i++)
                sum += (double)a->x[xi * c + i] * (double)a->w[wi + i];
            a->sum[yi * k + o] += sum;
        } else if (a->kind == TR_DNN_CONV_BACKWARD_WEIGHTS) {
            for (size_t i = 0; i < c; i++)
                a->sum[wi + i] += dy * (double)a->x[xi * c + i];
        } else {
            for (size_t i = 0; i < c; i++)
                a->sum[xi * c + i] += dy * (double)a->w[wi + i];
        }
    }
}

static void walk(struct walk *a)
{
    const struct tr_dnn_conv_shape *s = a->s;
    const int p = side(s, s->h), q = side(s, s->w);

    for (int n = 0; n < s->n; n++)
        for (int oh = 0; oh < p; oh++)
            for (int ow = 0; ow < q; ow++)
                for (int tap = 0; tap < s->kernel * s->kernel; tap++) {
                    int h = oh * s->stride - s->pad + tap / s->kernel;
                    int w = ow * s->stride - s->pad + tap % s->kernel;

                    if (h >= 0 && w >= 0 && h < s->h && w < s->w)
                        at_place(a, (size_t)((n * s->h + h) * s->w + w), (size_t)((n * p + oh) * q + ow),
                                 (size_t)tap);
                }
}

static void run_conv(const void *args)
{
    const struct conv_run *r = args;
    const struct tr_dnn_conv_shape *s = &r->conv.s;
    const enum tr_dnn_conv_kind kind = r->conv.kind;
    const enum imk_dtype type = r->conv.type;
    const size_t xs = (size_t)s->n * (size_t)s->h * (size_t)s->w * (size_t)s->c;
    const size_t ws = (size_t)s->k * (size_t)(s->kernel * s->kernel) * (size_t)s->c;
    const size_t ys = (size_t)s->n * (size_t)side(s, s->h) * (size_t)side(s, s->w) * (size_t)s->k;
    const size_t outs = kind == TR_DNN_CONV_FORWARD ? ys : kind == TR_DNN_CONV_BACKWARD_WEIGHTS ? ws : xs;
    void *out = kind == TR_DNN_CONV_FORWARD ? r->y : kind == TR_DNN_CONV_BACKWARD_WEIGHTS ? r->w : r->x;
    struct walk a = {.s = s,
                     .x = number_load(type, r->x, xs),
                     .w = number_load(kind == TR_DNN_CONV_BACKWARD_WEIGHTS ? IMK_F32 : type, r->w, ws),
                     .y = number_load(type, r->y, ys),
                     .sum = calloc(outs + 1, sizeof(double)),
                     .kind = kind};
    float *rounded = malloc((outs + 1) * sizeof(float));

    im_assert(a.sum && rounded);
    walk(&a);
    for (size_t i = 0; i < outs; i++)
        rounded[i] = (float)(a.sum[i] + (kind == TR_DNN_CONV_BACKWARD_ADD ? (double)a.x[i] : 0));
    number_store(kind == TR_DNN_CONV_BACKWARD_WEIGHTS ? IMK_F32 : type, out, rounded, outs);
    free(a.x);
    free(a.w);
    free(a.y);
    free(a.sum);
    free(rounded);
}

int tr_dnn_conv_run(struct tr_dnn *dnn, struct tr_dnn_conv *conv, void *x, void *w, void *y)
{
    const struct conv_run r = {.conv = *conv, .x = x, .w = w, .y = y};

    im_assert(dnn->untuned == 0);
    im_assert((((size_t)x | (size_t)w | (size_t)y) & 15) == 0);
    return host_gpu_enqueue(tr_gpu_stream(dnn->config.gpu, conv->apart ? TR_GPU_WEIGHTS : TR_GPU_COMPUTE),
                            run_conv, &r, sizeof r);
}

/* ---- batch norm ---- */

static size_t mask_bytes(const struct tr_dnn_norm_shape *s)
{
    return ((size_t)s->n * (size_t)s->h * (size_t)s->w * (size_t)s->c + 7) / 8;
}

int tr_dnn_norm_new(struct tr_dnn *dnn, const struct tr_dnn_norm_shape *shape, enum tr_dnn_norm_kind kind,
                    enum imk_dtype type, bool add, bool relu, struct tr_dnn_norm **ret_norm,
                    struct im_text *text)
{
    if (dnn->no_norms || shape->c % (type == IMK_F32 ? 4 : 8) != 0)
        return im_fail(text, -ENOTSUP, "no engine for %d channels", shape->c);
    if (add && !relu)
        return im_fail(text, -ENOTSUP, "no engine for an addition without a ReLU");
    *ret_norm = calloc(1, sizeof **ret_norm);
    if (!*ret_norm)
        return im_fail(text, -ENOMEM, "no memory");
    **ret_norm = (struct tr_dnn_norm){.s = *shape, .kind = kind, .type = type, .add = add, .relu = relu};
    dnn->stats.plans++;
    note_new(dnn, 2 * imk_dtype_bytes(type) * (size_t)shape->n * (size_t)shape->h * (size_t)shape->w *
                      (size_t)shape->c);
    return 0;
}

void tr_dnn_norm_free(struct tr_dnn *dnn, struct tr_dnn_norm *norm)
{
    if (norm)
        dnn->stats.plans--;
    free(norm);
}

const char *tr_dnn_norm_kernel(const struct tr_dnn_norm *norm)
{
    (void)norm;
    return "host";
}

struct norm_run {
    struct tr_dnn_norm norm;
    struct tr_dnn_norm_args a;
};

static bool bit(const uint8_t *mask, size_t i)
{
    return mask[i / 8] >> (i % 8) & 1;
}

static void channel_forward(const struct norm_run *r, size_t k, const float *x, const float *z, float *y)
{
    const struct tr_dnn_norm_args *a = &r->a;
    const size_t c = (size_t)r->norm.s.c;
    const size_t m = (size_t)r->norm.s.n * (size_t)r->norm.s.h * (size_t)r->norm.s.w;
    double mean = 0, var = 0, inv;

    for (size_t i = 0; i < m; i++)
        mean += (double)x[i * c + k];
    mean /= (double)m;
    for (size_t i = 0; i < m; i++)
        var += ((double)x[i * c + k] - mean) * ((double)x[i * c + k] - mean);
    var /= (double)m;
    inv = 1 / sqrt(var + (double)TR_BN_EPS);
    a->mean[k] = (float)mean;
    a->inv_dev[k] = (float)inv;
    a->run_mean[k] =
        (float)((1 - (double)TR_BN_MOMENTUM) * (double)a->run_mean[k] + (double)TR_BN_MOMENTUM * mean);
    a->run_var[k] = (float)((1 - (double)TR_BN_MOMENTUM) * (double)a->run_var[k] +
                            (double)TR_BN_MOMENTUM * var * (m > 1 ? (double)m / (double)(m - 1) : 1));
    for (size_t i = 0; i < m; i++) {
        double v = (double)a->scale[k] * ((double)x[i * c + k] - mean) * inv + (double)a->bias[k] +
                   (z ? (double)z[i * c + k] : 0);

        y[i * c + k] = (float)(r->norm.relu && v < 0 ? 0 : v);
        if (r->norm.relu && v > 0)
            ((uint8_t *)a->mask)[(i * c + k) / 8] |= (uint8_t)(1u << (i * c + k) % 8);
    }
}

static void channel_backward(const struct norm_run *r, size_t k, const float *x, const float *dy, float *dx,
                             float *dz)
{
    const struct tr_dnn_norm_args *a = &r->a;
    const size_t c = (size_t)r->norm.s.c;
    const size_t m = (size_t)r->norm.s.n * (size_t)r->norm.s.h * (size_t)r->norm.s.w;
    const double mean = (double)a->mean[k], inv = (double)a->inv_dev[k];
    double dscale = 0, dbias = 0;

    for (size_t i = 0; i < m; i++) {
        double g = r->norm.relu && !bit(a->mask, i * c + k) ? 0 : (double)dy[i * c + k];

        dscale += g * ((double)x[i * c + k] - mean) * inv;
        dbias += g;
        dz[i * c + k] = (float)g;
    }
    a->dscale[k] = (float)dscale;
    a->dbias[k] = (float)dbias;
    for (size_t i = 0; i < m; i++) {
        double xhat = ((double)x[i * c + k] - mean) * inv;

        dx[i * c + k] = (float)((double)a->scale[k] * inv *
                                ((double)dz[i * c + k] - dbias / (double)m - xhat * dscale / (double)m));
    }
}

static void run_norm(const void *args)
{
    const struct norm_run *r = args;
    const struct tr_dnn_norm_args *a = &r->a;
    const struct tr_dnn_norm_shape *s = &r->norm.s;
    const size_t count = (size_t)s->n * (size_t)s->h * (size_t)s->w * (size_t)s->c;
    const bool forward = r->norm.kind == TR_DNN_NORM_FORWARD;
    float *x = number_load(r->norm.type, a->x, count);
    float *other = number_load(r->norm.type, forward ? (r->norm.add ? a->z : a->x) : a->dy, count);
    float *out = calloc(count + 1, sizeof(float)), *dz = calloc(count + 1, sizeof(float));

    im_assert(out && dz);
    if (forward && r->norm.relu)
        memset(a->mask, 0, mask_bytes(s));
    for (size_t k = 0; k < (size_t)s->c; k++) {
        if (forward)
            channel_forward(r, k, x, r->norm.add ? other : NULL, out);
        else
            channel_backward(r, k, x, other, out, dz);
    }
    number_store(r->norm.type, forward ? a->y : a->dx, out, count);
    if (!forward && r->norm.add)
        number_store(r->norm.type, a->dz, dz, count);
    free(x);
    free(other);
    free(out);
    free(dz);
}

int tr_dnn_norm_run(struct tr_dnn *dnn, struct tr_dnn_norm *norm, const struct tr_dnn_norm_args *args)
{
    const struct norm_run r = {.norm = *norm, .a = *args};

    im_assert(dnn->untuned == 0);
    return host_gpu_enqueue(tr_gpu_stream(dnn->config.gpu, TR_GPU_COMPUTE), run_norm, &r, sizeof r);
}
