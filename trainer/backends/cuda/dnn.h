/* Convolutions and batch norm with cuDNN's graph API on one GPU. cudnn.c is the only file that includes
 * cudnn.h.
 *
 * Values are packed NHWC, weights KRSC (out channel, row, column, in channel), both in the type of the plan;
 * accumulation is fp32 or better. Gradients of weights and norm's statistics, scale, bias and their gradients
 * are fp32. Pointers are to device memory, aligned to 16 bytes at least. Runs are enqueued on TR_GPU_COMPUTE,
 * may be captured, and share one workspace; those that are apart on TR_GPU_WEIGHTS, with a workspace of their own.
 *
 * Life of a plan: _new() asks cuDNN for engines and keeps those that can run the shape (-ENOTSUP: none, the
 * text says why; the caller falls back to its own kernel or fails); tr_dnn_tune() times the engines of all
 * plans that are new and sizes the workspace; then they run. A plan's first run may load its code, so a step
 * runs once before it is captured. Choices are kept in a cache on disk (plan_cache.h). With `deterministic`
 * nothing is timed: the first engine in cuDNN's own order that gives the same bits every time is taken, and
 * the cache only keeps its code, so that neither timing nor cache can change a result. With a cache, one
 * process at a time makes plans that are not in it, from the first miss to the end of tr_dnn_tune(); other
 * processes on the same model of GPU wait, and then find the plans in the cache.
 *
 * Errors: 0 or a negative errno; runs leave their sentence for tr_gpu_last_error(). One thread at a time. */
#ifndef TRAINER_BACKENDS_CUDA_DNN_H
#define TRAINER_BACKENDS_CUDA_DNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/cuda/device.h"

struct im_text;
struct tr_dnn;
struct tr_dnn_conv;
struct tr_dnn_norm;

struct tr_dnn_config {
    struct tr_gpu *gpu;     /* outlives it */
    bool deterministic;     /* only deterministic engines */
    bool tf32;              /* fp32 plans may round their inputs to tf32 (10 bits of mantissa) */
    size_t workspace_limit; /* workspace limit of an engine in bytes; 0: TR_DNN_WORKSPACE */
    const char *cache;      /* cache file; NULL: none; see tr_plan_cache_path() */
    bool recovers;          /* a start that others wait for: choices of earlier starts stay as they are */
    uint64_t first_ns;      /* time for choices among all engines; 0: a minute */
    uint64_t more_ns;       /* time to go on with those of earlier starts; 0: a third of it */
    /* (optional) Called before each engine that is compiled or timed, with the operation and its number `at`
     * of `of`. of is 0 while the total is unknown, and -1 while another process makes plans that this one
     * needs; at 0: done. A nonzero return cancels: the calling function returns -ECANCELED. */
    int (*progress)(void *context, const char *what, int at, int of);
    void *context;
};
#define TR_DNN_WORKSPACE ((size_t)512 << 20)

int tr_dnn_open(const struct tr_dnn_config *config, struct tr_dnn **ret_dnn, struct im_text *text);
void tr_dnn_close(struct tr_dnn *dnn); /* after all plans are freed; NULL is fine */

/* Device memory, aligned to 256 bytes, whose contents may be lost. */
struct tr_dnn_scratch {
    void *memory;
    size_t bytes;
};

/* Times the engines of new plans and sizes the workspace. Call before the first run of any plan; not during
 * capture or while a captured graph may still be replayed (the workspace may move: earlier captured graphs
 * are stale if *ret_moved, which may be NULL). Engines run on the tensors of the largest plan, a workspace and
 * twice the L2 cache: in the scratch memory if that is large enough, otherwise in memory that has to be free;
 * without it, untimed plans keep their first engine. */
int tr_dnn_tune(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, bool *ret_moved,
                struct im_text *text);

/* Since open. */
struct tr_dnn_stats {
    int version; /* of cuDNN: 91900 is 9.19.0 */
    size_t workspace_bytes;
    size_t apart_bytes;       /* of the workspace of runs that are apart */
    int plans, timed, cached; /* distinct plans; chosen by timing; taken from the cache */
    uint64_t timing_ns;       /* time spent in tr_dnn_tune() */
};
void tr_dnn_stats(const struct tr_dnn *dnn, struct tr_dnn_stats *ret_stats);

/* x is [n][h][w][c], w is [k][kernel][kernel][c], y is [n][p][q][k] with p = (h + 2 pad - kernel) / stride +
 * 1 and q likewise. Dilation and groups are 1; cross-correlation, as in PyTorch. */
struct tr_dnn_conv_shape {
    int n, h, w, c;
    int k, kernel, stride, pad;
};

/*  FORWARD          x, w  -> y   of `type`
 *  BACKWARD_DATA    w, dy -> dx  of `type`
 *  BACKWARD_ADD     w, dy -> dx  added to what dx holds; the sum is rounded once
 *  BACKWARD_WEIGHTS x, dy -> dw  fp32; with 16-bit types the sum, fp32 too, is rounded to the type on its way
 *                                (cuDNN 9.19 has no engine on Hopper that reads 16 bits and writes fp32 of a
 *                                convolution alone; of one with a pointwise operation it has, untried) */
enum tr_dnn_conv_kind {
    TR_DNN_CONV_FORWARD,
    TR_DNN_CONV_BACKWARD_DATA,
    TR_DNN_CONV_BACKWARD_ADD,
    TR_DNN_CONV_BACKWARD_WEIGHTS,
    TR_DNN_CONV_KINDS
};

int tr_dnn_conv_new(struct tr_dnn *dnn, const struct tr_dnn_conv_shape *shape, enum tr_dnn_conv_kind kind,
                    enum imk_dtype type, struct tr_dnn_conv **ret_conv, struct im_text *text);
void tr_dnn_conv_free(struct tr_dnn *dnn, struct tr_dnn_conv *conv); /* NULL is fine */
/* From now on its runs are enqueued on TR_GPU_WEIGHTS; the caller orders the streams. Before tr_dnn_tune(). */
void tr_dnn_conv_set_apart(struct tr_dnn_conv *conv);
/* x: x or dx; w: w or dw; y: y or dy. The output of the kind is written, the others are read. No two may
 * overlap. */
int tr_dnn_conv_run(struct tr_dnn *dnn, struct tr_dnn_conv *conv, void *x, void *w, void *y);
/* The engine in use, for logs; valid as long as the plan. */
const char *tr_dnn_conv_kernel(const struct tr_dnn_conv *conv);

/* Batch norm over n, h and w of each channel, in training:
 *     forward   v = scale (x - mean) inv_dev + bias (+ z if add); y = relu ? max(v, 0) : v
 *               inv_dev = 1 / sqrt(population variance + TR_BN_EPS)
 *               running <- (1 - TR_BN_MOMENTUM) running + TR_BN_MOMENTUM batch, variance with n h w - 1
 *               mask: bit i (from the lowest of byte i / 8) is v > 0, i the place in [n][h][w][c]
 *     backward  g = relu ? (mask ? dy : 0) : dy; dz = g if add; dbias = sum g;
 *               dscale = sum g xhat with xhat = (x - mean) inv_dev;
 *               dx = scale inv_dev (g - dbias / m - xhat dscale / m), m = n h w
 * Types: x, z, y, dy, dx, dz of `type`. c has to be a multiple of 8 (16-bit types) or 4 (fp32), and relu to
 * be set where add is. */
struct tr_dnn_norm_shape {
    int n, h, w, c;
};
enum tr_dnn_norm_kind { TR_DNN_NORM_FORWARD, TR_DNN_NORM_BACKWARD, TR_DNN_NORM_KINDS };

/* Members that a kind does not list may be NULL. No two may overlap. */
struct tr_dnn_norm_args {
    const void *x;
    const void *z;             /* forward, if add: type and shape of x */
    void *y;                   /* forward */
    void *mask;                /* if relu: written by forward, read by backward; (n h w c + 7) / 8 bytes */
    const float *scale, *bias; /* [c]; bias: forward */
    float *run_mean, *run_var; /* [c]; forward; updated in place */
    float *mean, *inv_dev;     /* [c]; written by forward, read by backward */
    const void *dy;            /* backward */
    void *dx, *dz;             /* backward; dz if add */
    float *dscale, *dbias;     /* [c]; backward */
};

int tr_dnn_norm_new(struct tr_dnn *dnn, const struct tr_dnn_norm_shape *shape, enum tr_dnn_norm_kind kind,
                    enum imk_dtype type, bool add, bool relu, struct tr_dnn_norm **ret_norm,
                    struct im_text *text);
void tr_dnn_norm_free(struct tr_dnn *dnn, struct tr_dnn_norm *norm); /* NULL is fine */
int tr_dnn_norm_run(struct tr_dnn *dnn, struct tr_dnn_norm *norm, const struct tr_dnn_norm_args *args);
const char *tr_dnn_norm_kernel(const struct tr_dnn_norm *norm);

#endif
