/* Rows of channels, cut up so that a thread stays with 8 channels and walks over rows: what batch norm and
 * the stem share. Everything about the cut depends on the shape only. */
#ifndef KERNELS_CUDA_COLUMNS_CUH
#define KERNELS_CUDA_COLUMNS_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/norm.h"
#include "kernels/cuda/window.cuh"

/* A block has 2^across threads side by side, 8 channels each, and THREADS >> across rows; blocks lie along x
 * by slices of rows and along y by tiles of channels. */
struct cut {
    int64_t rows, rows_per_slice;
    int across, slices, c, pitch;
};

enum {
    SUM_SLICES_MAX = 1024, /* whose partial sums a second kernel adds up */
    ROWS_PER_THREAD = 8,   /* at least, where there are enough */
    BATCH = 2,             /* rows loaded before one is stored: stores may not be overtaken by loads */
};

static inline int tiles_of(const struct cut *k)
{
    return (int)ceil_div(ceil_div(k->pitch, GROUP), (int64_t)1 << k->across);
}

/* slices_max 0: as many as rows allow. */
static inline struct cut cut_of(int64_t rows, int c, int pitch, int slices_max)
{
    struct cut k = {rows, 0, 0, 0, c, pitch};
    int64_t slices;

    while (k.across < 5 && (1 << k.across) * GROUP < pitch)
        k.across++;
    slices = ceil_div(rows, (int64_t)(THREADS >> k.across) * ROWS_PER_THREAD);
    if (slices_max > 0) {
        const int64_t most = slices_max / tiles_of(&k);

        slices = slices < most ? slices : most > 0 ? most : 1;
    }
    if (slices > GRID_X_MAX)
        slices = GRID_X_MAX;
    k.rows_per_slice = ceil_div(rows, slices);
    k.slices = (int)ceil_div(rows, k.rows_per_slice); /* none is empty */
    return k;
}

static inline bool is_rows(const struct imk_cuda_rows *r)
{
    return r->rows >= 0 && r->c >= 1 && r->pitch >= r->c && r->pitch <= GRID_Y_MAX * GROUP &&
           is_type(r->type);
}

template <class A> static int launch_cut(void (*kernel)(A), const struct cut *k, CUstream_st *stream, A a)
{
    return launch(kernel, dim3((unsigned)k->slices, (unsigned)tiles_of(k)), THREADS, stream, a);
}

/* This thread's channels and rows. */
struct walk {
    int channel, left; /* left may be 0 or less: no channels, but the block's barriers are to be met */
    int x, y, across, down;
    int64_t first, end; /* rows first, first + down ... below end */
};

IMK_DEVICE struct walk walk_of(const struct cut &k)
{
    struct walk w;

    w.across = 1 << k.across;
    w.down = THREADS >> k.across;
    w.x = (int)threadIdx.x & (w.across - 1);
    w.y = (int)threadIdx.x >> k.across;
    w.channel = ((int)blockIdx.y * w.across + w.x) * GROUP;
    w.left = k.pitch - w.channel;
    w.first = (int64_t)blockIdx.x * k.rows_per_slice + w.y;
    w.end = ((int64_t)blockIdx.x + 1) * k.rows_per_slice;
    w.end = w.end < k.rows ? w.end : k.rows;
    return w;
}

IMK_DEVICE int64_t rows_in_slice(const struct cut &k, int slice)
{
    const int64_t from = slice * k.rows_per_slice, left = k.rows - from;

    return left < k.rows_per_slice ? left : k.rows_per_slice;
}

/* How many of a slice's rows thread y of `down` walks over. */
IMK_DEVICE int64_t rows_of_thread(int64_t rows, int y, int down)
{
    return y < rows ? (rows - y + down - 1) / down : 0;
}

/* 8 numbers of an array of c; zeros behind its end. */
IMK_DEVICE void load_channels(float *v, const float *array, int channel, int c)
{
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++)
        v[j] = channel + j < c ? array[channel + j] : 0.0f;
}

/* What to normalise 8 channels with: y = (x - mean) * factor + beta. Zeros behind the last channel. */
struct affine8 {
    float mean[GROUP], factor[GROUP], beta[GROUP];
};

IMK_DEVICE void load_affine(struct affine8 *p, const struct imk_cuda_affine &a, int channel, int c)
{
    load_channels(p->mean, a.mean, channel, c);
    load_channels(p->factor, a.inv ? a.inv : a.var, channel, c);
    load_channels(p->beta, a.beta, channel, c);
    IMK_UNROLL
    for (int j = 0; j < GROUP; j++) {
        const float inv = a.inv ? p->factor[j] : 1.0f / sqrtf(p->factor[j] + a.eps);

        p->factor[j] = channel + j < c ? inv * a.gamma[channel + j] : 0.0f;
    }
}

#endif
