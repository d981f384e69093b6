/* Batch norm's statistics, and its forward pass.
 *
 * Statistics in two kernels. In the first a thread sums (x - k) and (x - k)^2 over its rows, k its first
 * value, which gives a mean and a sum of squares about it without cancellation; the threads of a channel are
 * joined in shared memory. The second joins the slices. Joining n_i values of mean m_i and squares q_i, with
 * the first mean as origin o: mean = o + sum n_i (m_i - o) / n, squares = sum (q_i + n_i (m_i - o)^2) - n
 * (mean - o)^2 (Chan, Golub and LeVeque 1983 for many parts at once), in double. */
#include "kernels/cuda/norm.h"

#include <math.h>

#include "kernels/cuda/columns.cuh"

struct stats_args {
    struct imk_cuda_bn_stats a;
    struct cut cut;
};

/* Parts being joined. */
struct joint {
    double origin, count, sum, squares;
};

IMK_DEVICE void join(struct joint *t, double count, float mean, float squares)
{
    const double d = (double)mean - t->origin;

    t->count += count;
    t->sum += count * d;
    t->squares += (double)squares + count * d * d;
}

IMK_DEVICE double mean_of(const struct joint *t)
{
    return t->origin + t->sum / t->count;
}

IMK_DEVICE double squares_of(const struct joint *t)
{
    const double squares = t->squares - t->sum * t->sum / t->count;

    return squares < 0.0 ? 0.0 : squares; /* NaN stays */
}

/* scratch: means [slices][pitch], then squares [slices][pitch]. */
template <class T, bool WIDE> static __global__ void imk_stats_of_slices(struct stats_args k)
{
    IMK_SHARED(float, means, THREADS *GROUP);
    IMK_SHARED(float, squares, THREADS *GROUP);
    const struct walk w = walk_of(k.cut);
    const int64_t rows = rows_in_slice(k.cut, (int)blockIdx.x), mine = rows_of_thread(rows, w.y, w.down);
    float origin[GROUP] = {0}, sum[GROUP] = {0}, square[GROUP] = {0};

    if (w.left > 0 && mine > 0) {
        const T *x = (const T *)k.a.x + w.channel;

        load8<WIDE>(origin, x + w.first * k.cut.pitch, w.left);
        IMK_UNROLL4
        for (int64_t row = w.first; row < w.end; row += w.down) {
            float v[GROUP];

            load8<WIDE>(v, x + row * k.cut.pitch, w.left);
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++) {
                const float d = v[j] - origin[j];

                sum[j] += d;
                square[j] = fmaf(d, d, square[j]);
            }
        }
    }
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        const float mean = mine > 0 ? sum[j] / (float)mine : 0.0f;
        const float apart = square[j] - sum[j] * mean;

        means[(int)threadIdx.x * GROUP + j] = origin[j] + mean;
        squares[(int)threadIdx.x * GROUP + j] = apart < 0.0f ? 0.0f : apart; /* NaN stays */
    }
    __syncthreads();

    /* A thread for each channel of the tile. */
    const int lane = (int)threadIdx.x, width = w.across * GROUP;
    const int channel = (int)blockIdx.y * width + lane;

    if (lane < width && channel < k.cut.pitch) {
        struct joint t = {(double)means[lane], 0.0, 0.0, 0.0};
        float *out = (float *)k.a.scratch + (size_t)blockIdx.x * (size_t)k.cut.pitch + channel;

        for (int y = 0; y < w.down; y++) /* those without rows count 0 */
            join(&t, (double)rows_of_thread(rows, y, w.down), means[y * width + lane],
                 squares[y * width + lane]);
        out[0] = (float)mean_of(&t);
        out[(size_t)k.cut.slices * (size_t)k.cut.pitch] = (float)squares_of(&t);
    }
}

IMK_DEVICE void finish(int channel, double count, double mean, double var, float *inv, float *run_mean,
                       float *run_var, float eps, float momentum)
{
    if (inv)
        inv[channel] = (float)(1.0 / sqrt(var + (double)eps));
    if (!run_mean)
        return;
    run_mean[channel] =
        (float)((1.0 - (double)momentum) * (double)run_mean[channel] + (double)momentum * mean);
    run_var[channel] = (float)((1.0 - (double)momentum) * (double)run_var[channel] +
                               (double)momentum * (count > 1.0 ? var * count / (count - 1.0) : var));
}

enum { JOIN_DOWN = 32 }; /* rows of a block of 32 channels */

static __global__ void __launch_bounds__(THREADS_MAX) imk_stats_of_all(struct stats_args k)
{
    IMK_SHARED(double, counts, JOIN_DOWN *WARP);
    IMK_SHARED(double, sums, JOIN_DOWN *WARP);
    IMK_SHARED(double, squares, JOIN_DOWN *WARP);
    const int x = (int)threadIdx.x % WARP, y = (int)threadIdx.x / WARP, channel = (int)blockIdx.x * WARP + x;
    const size_t pitch = (size_t)k.cut.pitch;
    const float *part = (const float *)k.a.scratch + channel, *square = part + (size_t)k.cut.slices * pitch;
    struct joint t = {0.0, 0.0, 0.0, 0.0};

    if (channel < k.cut.c) {
        t.origin = (double)part[0];
        IMK_UNROLL4
        for (int s = y; s < k.cut.slices; s += JOIN_DOWN)
            join(&t, (double)rows_in_slice(k.cut, s), part[(size_t)s * pitch], square[(size_t)s * pitch]);
    }
    counts[threadIdx.x] = t.count;
    sums[threadIdx.x] = t.sum;
    squares[threadIdx.x] = t.squares;
    __syncthreads();
    if (y > 0 || channel >= k.cut.c)
        return;
    for (int i = 1; i < JOIN_DOWN; i++) {
        t.count += counts[i * WARP + x];
        t.sum += sums[i * WARP + x];
        t.squares += squares[i * WARP + x];
    }
    if (k.a.mean)
        k.a.mean[channel] = (float)mean_of(&t);
    if (k.a.sums) {
        k.a.sums[channel] = t.count * mean_of(&t);
        k.a.sums[k.cut.c + channel] = squares_of(&t) + t.count * mean_of(&t) * mean_of(&t);
        if (channel == 0)
            k.a.sums[2 * (size_t)k.cut.c] = t.count;
    }
    if (k.a.var)
        k.a.var[channel] = (float)(squares_of(&t) / t.count);
    finish(channel, t.count, mean_of(&t), squares_of(&t) / t.count, k.a.inv, k.a.run_mean, k.a.run_var,
           k.a.eps, k.a.momentum);
}

extern "C" size_t imk_cuda_bn_scratch(const struct imk_cuda_rows *shape)
{
    const struct cut cut = cut_of(shape->rows > 0 ? shape->rows : 1, shape->c, shape->pitch, SUM_SLICES_MAX);

    return 2 * (size_t)cut.slices * (size_t)shape->pitch * sizeof(float);
}

extern "C" int imk_cuda_bn_stats(const struct imk_cuda_bn_stats *a, struct CUstream_st *stream)
{
    const bool wide = a->shape.pitch % GROUP == 0 && aligned(a->x);
    struct stats_args k = {*a, {}};
    int err;

    if (!is_rows(&a->shape) || !a->run_mean != !a->run_var)
        return -EINVAL;
    if (a->shape.rows == 0)
        return 0;
    k.cut = cut_of(a->shape.rows, a->shape.c, a->shape.pitch, SUM_SLICES_MAX);
    err = by_type(a->shape.type, [&](auto t) {
        return by_flag(wide, [&](auto w) {
            return launch_cut(imk_stats_of_slices<decltype(t), w.value>, &k.cut, stream, k);
        });
    });
    if (err < 0)
        return err;
    return launch(imk_stats_of_all, dim3((unsigned)ceil_div(a->shape.c, WARP)), WARP * JOIN_DOWN, stream, k);
}

static __global__ void imk_finish_all(struct imk_cuda_bn_finish a)
{
    const int channel = (int)thread_number();

    if (channel >= a.c)
        return;

    const double count = a.sums[2 * (size_t)a.c], mean = a.sums[channel] / count;
    const double var = a.sums[a.c + channel] / count - mean * mean;

    a.mean[channel] = (float)mean;
    if (channel == 0)
        *a.count = count;
    finish(channel, count, mean, var < 0.0 ? 0.0 : var, a.inv, a.run_mean, a.run_var, a.eps, a.momentum);
}

extern "C" int imk_cuda_bn_finish(const struct imk_cuda_bn_finish *a, struct CUstream_st *stream)
{
    if (a->c < 1 || !a->run_mean != !a->run_var)
        return -EINVAL;
    return launch_over(imk_finish_all, (uint64_t)a->c, THREADS, stream, *a);
}

/* ---- forward ---- */

struct apply_args {
    struct imk_cuda_bn_apply a;
    struct cut cut;
};

template <class T, bool WIDE> static __global__ void imk_apply(struct apply_args k)
{
    const struct imk_cuda_bn_apply &a = k.a;
    const struct walk w = walk_of(k.cut);
    const size_t mask_row = (size_t)(k.cut.pitch + GROUP - 1) / GROUP;
    struct affine8 p;

    if (w.left <= 0)
        return;
    load_affine(&p, a.affine, w.channel, k.cut.c);
    for (int64_t row = w.first; row < w.end; row += BATCH * w.down) {
        float v[BATCH][GROUP], z[BATCH][GROUP] = {{0}};

        IMK_UNROLL
        for (int b = 0; b < BATCH; b++) {
            const int64_t at = (row + b * w.down) * k.cut.pitch + w.channel;

            if (row + b * w.down >= w.end)
                continue;
            load8<WIDE>(v[b], (const T *)a.x + at, w.left);
            if (a.z)
                load8<WIDE>(z[b], (const T *)a.z + at, w.left);
        }
        IMK_UNROLL
        for (int b = 0; b < BATCH; b++) {
            const int64_t here = row + b * w.down;

            if (here >= w.end)
                continue;
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++)
                v[b][j] = fmaf(v[b][j] - p.mean[j], p.factor[j], p.beta[j]) + z[b][j];
            if (a.relu) {
                const uint8_t bits = relu8(v[b]);

                if (a.mask)
                    a.mask[(size_t)here * mask_row + (size_t)w.channel / GROUP] = bits;
            }
            store8<WIDE>(v[b], (T *)a.y + here * k.cut.pitch + w.channel, w.left);
        }
    }
}

extern "C" int imk_cuda_bn_apply(const struct imk_cuda_bn_apply *a, struct CUstream_st *stream)
{
    const bool wide = a->shape.pitch % GROUP == 0 && aligned(a->x, a->z, a->y);
    struct apply_args k = {*a, {}};

    if (!is_rows(&a->shape) || !a->affine.inv == !a->affine.var)
        return -EINVAL;
    if (a->shape.rows == 0)
        return 0;
    k.cut = cut_of(a->shape.rows, a->shape.c, a->shape.pitch, 0);
    return by_type(a->shape.type, [&](auto t) {
        return by_flag(
            wide, [&](auto w) { return launch_cut(imk_apply<decltype(t), w.value>, &k.cut, stream, k); });
    });
}
