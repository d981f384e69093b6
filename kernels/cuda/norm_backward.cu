/* Batch norm going backward, behind its ReLU, and the stem: batch norm, ReLU and max-pool as one, where the
 * gradient of the normalised value is gathered from the pooled one's each time it is needed. Sums are taken
 * in two kernels as in norm.cu: fp32 within a thread, double beyond. */
#include "kernels/cuda/columns.cuh"

/* Where a kernel finds the gradient of the normalised value. */
struct gradient {
    struct imk_cuda_window window; /* of the stem's pool */
    const void *dy, *dy2;
    const uint8_t *mask;  /* ReLU's; NULL: none */
    const uint8_t *place; /* the pool's */
};

struct sums_args {
    struct gradient g;
    struct cut cut;
    const void *x;
    const float *mean, *inv;
    float *dgamma, *dbeta, *sums, *scratch;
};

struct dx_args {
    struct gradient g;
    struct cut cut;
    const void *x;
    const float *mean, *inv, *gamma, *dgamma, *dbeta;
    const double *count;
    const float *var;
    float eps;
    void *dx, *dz;
};

/* The gradient at 8 channels of a row, behind the ReLU (and the pool). */
template <class T, bool WIDE, bool POOLED>
IMK_DEVICE void gradient8(float *v, const struct gradient &g, const struct cut &cut, const struct walk &w,
                          int64_t row)
{
    if constexpr (POOLED) {
        const unsigned area = (unsigned)g.window.h * (unsigned)g.window.w, pixel = (unsigned)row % area;
        const struct window_place at = {(int)(pixel / (unsigned)g.window.w),
                                        (int)(pixel % (unsigned)g.window.w), w.channel, w.left, 0};

        gather<T, WIDE>(g.window, (const T *)g.dy, (const T *)g.dy2, g.place, (int)((unsigned)row / area), at,
                        v);
    } else {
        const size_t at = (size_t)row * (size_t)cut.pitch + (size_t)w.channel;

        load_sum8<WIDE>(v, (const T *)g.dy + at, past((const T *)g.dy2, at), w.left);
        if (g.mask)
            mask8(
                v,
                g.mask[(size_t)row * (size_t)((cut.pitch + GROUP - 1) / GROUP) + (size_t)w.channel / GROUP]);
    }
}

/* scratch: sums of dy xhat [slices][pitch], then of dy [slices][pitch]. */
template <class T, bool WIDE, bool POOLED> static __global__ void imk_sums_of_slices(struct sums_args k)
{
    IMK_SHARED(float, gammas, THREADS *GROUP);
    IMK_SHARED(float, betas, THREADS *GROUP);
    const struct walk w = walk_of(k.cut);
    float dgamma[GROUP] = {0}, dbeta[GROUP] = {0};

    if (w.left > 0) {
        float mean[GROUP], inv[GROUP];

        load_channels(mean, k.mean, w.channel, k.cut.c);
        load_channels(inv, k.inv, w.channel, k.cut.c);
        IMK_UNROLL4
        for (int64_t row = w.first; row < w.end; row += w.down) {
            float v[GROUP], dy[GROUP];

            load8<WIDE>(v, (const T *)k.x + row * k.cut.pitch + w.channel, w.left);
            gradient8<T, WIDE, POOLED>(dy, k.g, k.cut, w, row);
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++) {
                dgamma[j] = fmaf(dy[j], (v[j] - mean[j]) * inv[j], dgamma[j]);
                dbeta[j] += dy[j];
            }
        }
    }
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        gammas[(int)threadIdx.x * GROUP + j] = dgamma[j];
        betas[(int)threadIdx.x * GROUP + j] = dbeta[j];
    }
    __syncthreads();

    const int lane = (int)threadIdx.x, width = w.across * GROUP;
    const int channel = (int)blockIdx.y * width + lane;

    if (lane < width && channel < k.cut.pitch) {
        float *out = k.scratch + (size_t)blockIdx.x * (size_t)k.cut.pitch + channel;
        double sum_gamma = 0.0, sum_beta = 0.0;

        for (int y = 0; y < w.down; y++) {
            sum_gamma += (double)gammas[y * width + lane];
            sum_beta += (double)betas[y * width + lane];
        }
        out[0] = (float)sum_gamma;
        out[(size_t)k.cut.slices * (size_t)k.cut.pitch] = (float)sum_beta;
    }
}

enum { JOIN_DOWN = 32 }; /* rows of a block of 32 channels */

static __global__ void __launch_bounds__(THREADS_MAX) imk_sums_of_all(struct sums_args k)
{
    IMK_SHARED(double, gammas, JOIN_DOWN *WARP);
    IMK_SHARED(double, betas, JOIN_DOWN *WARP);
    const int x = (int)threadIdx.x % WARP, y = (int)threadIdx.x / WARP, channel = (int)blockIdx.x * WARP + x;
    const size_t pitch = (size_t)k.cut.pitch;
    double dgamma = 0.0, dbeta = 0.0;

    if (channel < k.cut.c) {
        const float *part = k.scratch + channel, *other = part + (size_t)k.cut.slices * pitch;

        IMK_UNROLL4
        for (int s = y; s < k.cut.slices; s += JOIN_DOWN) {
            dgamma += (double)part[(size_t)s * pitch];
            dbeta += (double)other[(size_t)s * pitch];
        }
    }
    gammas[threadIdx.x] = dgamma;
    betas[threadIdx.x] = dbeta;
    __syncthreads();
    if (y > 0 || channel >= k.cut.c)
        return;
    for (int i = 1; i < JOIN_DOWN; i++) {
        dgamma += gammas[i * WARP + x];
        dbeta += betas[i * WARP + x];
    }
    k.dgamma[channel] = (float)dgamma;
    k.dbeta[channel] = (float)dbeta;
    if (k.sums) {
        k.sums[channel] = (float)dgamma;
        k.sums[k.cut.c + channel] = (float)dbeta;
    }
}

/* dx = f (dy - dbeta / m) - (x - mean) f inv dgamma / m, f = gamma inv. */
struct coefficients {
    float mean[GROUP], factor[GROUP], shift[GROUP], slope[GROUP];
};

IMK_DEVICE void load_coefficients(struct coefficients *o, const struct dx_args &k, const struct walk &w)
{
    const float over_m = (float)(1.0 / (k.count ? *k.count : (double)k.cut.rows));

    load_channels(o->mean, k.mean, w.channel, k.cut.c);
    load_channels(o->factor, k.gamma, w.channel, k.cut.c);
    load_channels(o->shift, k.dbeta, w.channel, k.cut.c);
    load_channels(o->slope, k.dgamma, w.channel, k.cut.c);
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        const float inv = w.channel + j < k.cut.c ? k.inv[w.channel + j] : 0.0f;

        o->factor[j] *= inv;
        o->shift[j] *= over_m;
        o->slope[j] *= o->factor[j] * inv * over_m;
    }
}

/* dx = f dy. */
IMK_DEVICE void load_frozen(struct coefficients *o, const struct dx_args &k, const struct walk &w)
{
    load_channels(o->factor, k.gamma, w.channel, k.cut.c);
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        const int channel = w.channel + j;

        o->factor[j] *=
            channel < k.cut.c ? (float)(1.0 / sqrt((double)k.var[channel] + (double)k.eps)) : 0.0f;
        o->mean[j] = o->shift[j] = o->slope[j] = 0.0f;
    }
}

template <class T, bool WIDE, bool POOLED> static __global__ void imk_dx_of_rows(struct dx_args k)
{
    const struct walk w = walk_of(k.cut);
    struct coefficients o;

    if (w.left <= 0)
        return;
    if (k.var)
        load_frozen(&o, k, w);
    else
        load_coefficients(&o, k, w);
    for (int64_t row = w.first; row < w.end; row += BATCH * w.down) {
        float v[BATCH][GROUP], dy[BATCH][GROUP];

        IMK_UNROLL
        for (int b = 0; b < BATCH; b++) {
            const int64_t here = row + b * w.down;

            if (here >= w.end)
                continue;
            if (k.var) {
                IMK_UNROLL
                for (int j = 0; j < GROUP; j++)
                    v[b][j] = 0.0f;
            } else {
                load8<WIDE>(v[b], (const T *)k.x + here * k.cut.pitch + w.channel, w.left);
            }
            gradient8<T, WIDE, POOLED>(dy[b], k.g, k.cut, w, here);
        }
        IMK_UNROLL
        for (int b = 0; b < BATCH; b++) {
            const int64_t at = (row + b * w.down) * k.cut.pitch + w.channel;

            if (row + b * w.down >= w.end)
                continue;
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++)
                v[b][j] = o.factor[j] * (dy[b][j] - o.shift[j]) - (v[b][j] - o.mean[j]) * o.slope[j];
            if (k.dz)
                store8<WIDE>(dy[b], (T *)k.dz + at, w.left);
            store8<WIDE>(v[b], (T *)k.dx + at, w.left);
        }
    }
}

template <bool POOLED>
static int take_sums(struct sums_args *k, enum imk_dtype type, bool wide, CUstream_st *stream)
{
    int err = by_type(type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_cut(imk_sums_of_slices<decltype(t), w.value, POOLED>, &k->cut, stream, *k);
        });
    });

    if (err < 0)
        return err;
    return launch(imk_sums_of_all, dim3((unsigned)ceil_div(k->cut.c, WARP)), WARP * JOIN_DOWN, stream, *k);
}

template <bool POOLED>
static int make_dx(struct dx_args *k, enum imk_dtype type, bool wide, CUstream_st *stream)
{
    return by_type(type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_cut(imk_dx_of_rows<decltype(t), w.value, POOLED>, &k->cut, stream, *k);
        });
    });
}

extern "C" int imk_cuda_bn_sums(const struct imk_cuda_bn_sums *a, struct CUstream_st *stream)
{
    const struct imk_cuda_rows *r = &a->shape;
    struct sums_args k = {{{}, a->dy, a->dy2, a->mask, nullptr},
                          {},
                          a->x,
                          a->mean,
                          a->inv,
                          a->dgamma,
                          a->dbeta,
                          a->sums,
                          (float *)a->scratch};

    if (!is_rows(r))
        return -EINVAL;
    if (r->rows == 0)
        return 0;
    k.cut = cut_of(r->rows, r->c, r->pitch, SUM_SLICES_MAX);
    return take_sums<false>(&k, r->type, r->pitch % GROUP == 0 && aligned(a->x, a->dy, a->dy2), stream);
}

extern "C" int imk_cuda_bn_dx(const struct imk_cuda_bn_dx *a, struct CUstream_st *stream)
{
    const struct imk_cuda_rows *r = &a->shape;
    struct dx_args k = {{{}, a->dy, a->dy2, a->mask, nullptr},
                        {},
                        a->x,
                        a->mean,
                        a->inv,
                        a->gamma,
                        a->dgamma,
                        a->dbeta,
                        a->count,
                        a->var,
                        a->eps,
                        a->dx,
                        a->dz};

    if (!is_rows(r))
        return -EINVAL;
    if (r->rows == 0)
        return 0;
    k.cut = cut_of(r->rows, r->c, r->pitch, 0);
    return make_dx<false>(&k, r->type, r->pitch % GROUP == 0 && aligned(a->x, a->dy, a->dy2, a->dx, a->dz),
                          stream);
}

static bool is_stem(const struct imk_cuda_window *o, int c)
{
    return is_window(o) && c >= 1 && o->pitch >= c && o->pitch <= GRID_Y_MAX * GROUP &&
           (int64_t)o->n * o->h * o->w <= GRID_X_MAX && /* gradient8 counts rows in 32 bits */
           o->kernel < IMK_CUDA_POOL_MAX;               /* so that IMK_CUDA_NO_PLACE is no place */
}

extern "C" int imk_cuda_stem_sums(const struct imk_cuda_stem_sums *a, struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    struct sums_args k = {{*o, a->dy, a->dy2, nullptr, a->place},
                          {},
                          a->x,
                          a->mean,
                          a->inv,
                          a->dgamma,
                          a->dbeta,
                          a->sums,
                          (float *)a->scratch};

    if (!is_stem(o, a->c))
        return -EINVAL;
    if (o->n == 0)
        return 0;
    k.cut = cut_of((int64_t)o->n * o->h * o->w, a->c, o->pitch, SUM_SLICES_MAX);
    return take_sums<true>(&k, o->type, o->pitch % GROUP == 0 && aligned(a->x, a->dy, a->dy2, a->place),
                           stream);
}

extern "C" int imk_cuda_stem_dx(const struct imk_cuda_stem_dx *a, struct CUstream_st *stream)
{
    const struct imk_cuda_window *o = &a->window;
    struct dx_args k = {{*o, a->dy, a->dy2, nullptr, a->place},
                        {},
                        a->x,
                        a->mean,
                        a->inv,
                        a->gamma,
                        a->dgamma,
                        a->dbeta,
                        a->count,
                        a->var,
                        a->eps,
                        a->dx,
                        nullptr};

    if (!is_stem(o, a->c))
        return -EINVAL;
    if (o->n == 0)
        return 0;
    k.cut = cut_of((int64_t)o->n * o->h * o->w, a->c, o->pitch, 0);
    return make_dx<true>(&k, o->type, o->pitch % GROUP == 0 && aligned(a->x, a->dy, a->dy2, a->place, a->dx),
                         stream);
}
