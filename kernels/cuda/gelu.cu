/* A thread stays with 8 channels and walks over rows, as in batch norm; a second kernel adds up the slices' sums for the
 * gradient of the bias. */
#include "kernels/cuda/gelu.h"

#include <math.h>

#include "kernels/cuda/columns.cuh"

struct forward_args {
    struct cut cut;
    const void *x;
    const float *bias;
    void *y;
};

struct backward_args {
    struct cut cut;
    const void *x, *dy, *dy2;
    const float *bias;
    void *dx;
    float *dbias, *scratch; /* scratch: [slices][pitch] */
};

/* The share of a normal distribution below v. */
IMK_DEVICE float below(float v)
{
    return 0.5f * erfcf(v * -0.70710678118654752f);
}

IMK_DEVICE float slope(float v)
{
    return fmaf(v, 0.39894228040143268f * expf(-0.5f * v * v), below(v));
}

/* Zeros without a bias and behind the last channel. */
IMK_DEVICE void load_bias(float *v, const float *bias, int channel, int c)
{
    load_channels(v, bias, channel, bias ? c : 0);
}

template <class T, bool WIDE> static __global__ void imk_gelu(struct forward_args k)
{
    const struct walk w = walk_of(k.cut);
    float bias[GROUP];

    if (w.left <= 0)
        return;
    load_bias(bias, k.bias, w.channel, k.cut.c);
    for (int64_t row = w.first; row < w.end; row += w.down) {
        const size_t at = (size_t)row * (size_t)k.cut.pitch + (size_t)w.channel;
        float v[GROUP];

        load8<WIDE>(v, (const T *)k.x + at, w.left);
        IMK_UNROLL
        for (int j = 0; j < GROUP; j++) {
            v[j] += bias[j];
            v[j] *= below(v[j]);
        }
        store8<WIDE>(v, (T *)k.y + at, w.left);
    }
}

template <class T, bool WIDE> static __global__ void imk_gelu_dx(struct backward_args k)
{
    IMK_SHARED(float, sums, THREADS *GROUP);
    const struct walk w = walk_of(k.cut);
    float sum[GROUP] = {0};

    if (w.left > 0) {
        float bias[GROUP];

        load_bias(bias, k.bias, w.channel, k.cut.c);
        for (int64_t row = w.first; row < w.end; row += w.down) {
            const size_t at = (size_t)row * (size_t)k.cut.pitch + (size_t)w.channel;
            float v[GROUP], dy[GROUP];

            load8<WIDE>(v, (const T *)k.x + at, w.left);
            load_sum8<WIDE>(dy, (const T *)k.dy + at, past((const T *)k.dy2, at), w.left);
            IMK_UNROLL
            for (int j = 0; j < GROUP; j++) {
                dy[j] *= slope(v[j] + bias[j]);
                sum[j] += dy[j];
            }
            store8<WIDE>(dy, (T *)k.dx + at, w.left);
        }
    }
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        sums[(int)threadIdx.x * GROUP + j] = sum[j];
    __syncthreads();

    const int lane = (int)threadIdx.x, width = w.across * GROUP;
    const int channel = (int)blockIdx.y * width + lane;

    if (k.dbias && lane < width && channel < k.cut.pitch) {
        double all = 0.0;

        for (int y = 0; y < w.down; y++)
            all += (double)sums[y * width + lane];
        k.scratch[(size_t)blockIdx.x * (size_t)k.cut.pitch + (size_t)channel] = (float)all;
    }
}

/* 32 channels a block, 8 slices at a time. */
static __global__ void imk_gelu_dbias(struct backward_args k)
{
    IMK_SHARED(double, parts, THREADS);
    const int x = (int)threadIdx.x % WARP, y = (int)threadIdx.x / WARP, channel = (int)blockIdx.x * WARP + x;
    double sum = 0.0;

    if (channel < k.cut.c)
        for (int s = y; s < k.cut.slices; s += THREADS / WARP)
            sum += (double)k.scratch[(size_t)s * (size_t)k.cut.pitch + (size_t)channel];
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (y > 0 || channel >= k.cut.c)
        return;
    for (int i = 1; i < THREADS / WARP; i++)
        sum += parts[i * WARP + x];
    k.dbias[channel] = (float)sum;
}

static struct cut cut_rows(const struct imk_cuda_rows *r)
{
    return cut_of(r->rows, r->c, r->pitch, SUM_SLICES_MAX);
}

extern "C" size_t imk_cuda_gelu_scratch(const struct imk_cuda_rows *shape)
{
    const struct cut k = cut_rows(shape);

    return (size_t)k.slices * (size_t)k.pitch * sizeof(float);
}

extern "C" int imk_cuda_gelu(const struct imk_cuda_gelu *a, struct CUstream_st *stream)
{
    const bool wide = a->shape.pitch % GROUP == 0 && aligned(a->x, a->y);
    const struct forward_args k = {cut_of(a->shape.rows, a->shape.c, a->shape.pitch, 0), a->x, a->bias, a->y};

    if (!is_rows(&a->shape))
        return -EINVAL;
    if (a->shape.rows == 0)
        return 0;
    return by_type(a->shape.type, [&](auto t) {
        return by_flag(wide,
                       [&](auto w) { return launch_cut(imk_gelu<decltype(t), w.value>, &k.cut, stream, k); });
    });
}

extern "C" int imk_cuda_gelu_backward(const struct imk_cuda_gelu_backward *a, struct CUstream_st *stream)
{
    const bool wide = a->shape.pitch % GROUP == 0 && aligned(a->x, a->dy, a->dy2, a->dx);
    const struct backward_args k = {cut_rows(&a->shape), a->x, a->dy, a->dy2, a->bias, a->dx, a->dbias,
                                    (float *)a->scratch};
    int err;

    if (!is_rows(&a->shape))
        return -EINVAL;
    err = a->shape.rows == 0 ? 0 : by_type(a->shape.type, [&](auto t) {
        return by_flag(
            wide, [&](auto w) { return launch_cut(imk_gelu_dx<decltype(t), w.value>, &k.cut, stream, k); });
    });
    if (err < 0 || !a->dbias)
        return err;
    return launch(imk_gelu_dbias, dim3((unsigned)ceil_div(a->shape.c, WARP)), THREADS, stream, k);
}
