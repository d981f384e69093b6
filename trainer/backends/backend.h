/* The contract between the trainer and a device: how one op runs.
 *
 * model.h describes a network, graph.h decides order and memory, a backend runs single ops. An op is planned
 * once for its shapes and then executed many times: plan() may be slow and may allocate, forward() and
 * backward() may not allocate.
 *
 * Layouts are private to plans. A plan is given the layout of its input (an opaque pointer that another plan
 * of the same backend reported) and reports the layout and the bytes of its output. The gradient of a value
 * has the layout of the value. Parameters, their gradients, the optimiser's state and batch-norm statistics
 * are plain fp32 arrays in torchvision's layout (convolutions OIHW, fully connected layers OI); a backend may
 * keep repacked copies and refreshes them when tr_exec.param_version changes.
 *
 * Buffers of activations come from buffer_new() and are passed at execution, so that graphs of different
 * shapes can share one arena. All functions are called by one thread at a time. Errors: negative errno;
 * plan() and open() also fill the text.
 *
 * This folder has the contract (backend.h, step.h), what host backends share (host_step.h), and one folder
 * per backend. ref/ defines every op; tests/backend compares the others with it. To add an op: a line here,
 * the reference, a case in the conformance test, then the fast versions. Backends may use kernels/, ipc/base
 * and the table of optimisers, never the network or the trainer above them. */
#ifndef TRAINER_BACKENDS_BACKEND_H
#define TRAINER_BACKENDS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/config/optimizers.h"
#include "kernels/dtype.h"

struct im_text;
struct imk_hyper;  /* kernels/hyper.h */
struct tr_backend; /* an opened device */
struct tr_layout;  /* of a value; owned by the backend until close() */
struct tr_op_plan;
struct tr_step_ops;

#define TR_BACKEND_VERSION 11
#define TR_BN_EPS 1e-5f
#define TR_BN_MOMENTUM 0.1f /* running <- (1 - m) * running + m * batch */

/* Shapes: x is the (first) input, y the output. */
enum tr_op_kind {
    TR_OP_INPUT,    /* uint8 NHWC pixels -> y = (pixel / 255 - mean[c]) / std[c], mixed; no backward */
    TR_OP_CONV,     /* no bias; w: [y.c][x.c][kernel][kernel]; dilation 1, groups 1 */
    TR_OP_BN,       /* over n, h, w of each channel; w: gamma [c], b: beta [c]; then + x2 if op.adds, then
                       ReLU if op.relu; these are not rounded in between. Then, rounded as if stored,
                       max-pooling if op.pools */
    TR_OP_ADD,      /* y = x + x2, then ReLU if op.relu; x2 has x's shape and layout */
    TR_OP_MAXPOOL,  /* padding never is the maximum; NaN always is */
    TR_OP_GAP,      /* mean over h and w; y is [n][c] */
    TR_OP_FC,       /* y[n][k] = sum_c x[n][c] w[k][c] + b[k]; x and y are plain row-major */
    TR_OP_BLUR,     /* each channel with the filter [1 2 1] x [1 2 1] / 16; kernel 3, pad 1 */
    TR_OP_DROPPATH, /* y[n] = scale[n] x[n] in training, y = x in evaluation (stochastic depth) */
    TR_OP_GELU,     /* y = g(x + b[c]), g(v) = v (1 + erf(v / sqrt(2))) / 2; b: if op.biased */
    TR_OP_LOSS,     /* op.loss of plain logits x [n][c] and targets q; writes its own dx */
};

struct tr_shape {
    int n, c, h, w;
};

/* What a step computes in. With bf16, values and their gradients are stored in bf16 (rounded to nearest even
 * by the op that makes them), but the logits and their gradient, and CONV and FC take their weights rounded
 * to bf16. Sums are fp32 at least, and so are parameters, their gradients, statistics, loss and optimiser.
 * fp16 is the same with IEEE binary16: what is too large becomes infinite, and small gradients need loss
 * scaling (scaler.h). value_in and value_out always exchange fp32.
 *
 * NaN stays: no op makes a number of it. A ReLU passes it, and its gradient where its value is NaN. */

/* Fusions that a backend supports: tr_backend_ops.fuses. */
enum tr_fusion {
    TR_FUSES_ADD = 1,  /* BN, then ADD with another value: op.adds */
    TR_FUSES_POOL = 2, /* BN with ReLU, then MAXPOOL: op.pools */
    TR_FUSES_SUM = 4,  /* CONV accumulates into dx: op.sums_dx */
};

/* The loss of a sample's logits against its target q. */
enum tr_loss_kind {
    TR_LOSS_CE,  /* -sum_k q_k log p_k, p = softmax(x); gradient p - q */
    TR_LOSS_BCE, /* sum_k -q_k log s_k - (1 - q_k) log(1 - s_k), s = sigmoid(x); gradient s - q; with
                    q_k > threshold in place of q_k when threshold > 0, and all divided by c unless
                    sums_classes (timm's BinaryCrossEntropy) */
};

struct tr_loss {
    enum tr_loss_kind kind;
    double threshold;
    bool sums_classes;
    const float
        *weights; /* CE: w of each class, in the backend's memory; then the loss is -sum_k w_k q_k log p_k and
                             its gradient p sum_k w_k q_k - w q; BCE with sets, as pos_weight of torch: the loss
                             is -w q log s - (1 - q) log(1 - s), its gradient (1 + (w - 1) q) s - w q; NULL: all 1 */
    const uint32_t
        *sets; /* BCE: a label is the place of a set of classes, a bit for each in set_words words, in the
                             backend's memory; q_k is 1 for all that it holds. Evaluation has BCE too then, and
                             the tally no top1 and top5. NULL: a label is a class */
    int set_words, set_count;
};

/* One op, without any notion of layout. */
struct tr_op {
    enum tr_op_kind kind;
    enum imk_dtype precision;
    struct tr_shape x, y;
    const struct tr_layout *x_layout; /* NULL: the plan chooses and reports (INPUT, FC, LOSS ignore it) */
    int kernel, stride, pad;          /* CONV, MAXPOOL, BLUR, and BN that pools: square */
    bool reflect;  /* BLUR: the padding mirrors the image at its border pixels, which needs h and w
                      of at least 2; otherwise it is zero */
    bool relu;     /* BN, ADD */
    bool biased;   /* GELU: b is added to x */
    bool adds;     /* BN: x2, of the shape and layout of x, is added in front of the ReLU; not with pools */
    bool pools;    /* BN: y is the result, max-pooled as in MAXPOOL; has ReLU */
    bool sums_dx;  /* CONV: dx += the gradient, in place of dx = */
    bool synced;   /* BN in training: the statistics are those of several ranks: see struct tr_bn_sync; a
                      device adds up by set_ranks() of trainer/backends/step.h instead */
    bool training; /* false: forward only, BN uses the running statistics */
    bool needs_dx; /* CONV, FC: false where nothing below is trained; then dx is not written */
    bool
        dw_apart; /* CONV in training: dw may be made beside later ops. x and dy[0] stay as they are, and dw is
                      not read, until await_dw() of trainer/backends/step.h has waited for it */
    bool frozen;  /* CONV, FC, BN, GELU in training: parameters are constants, without dw and db. BN
                     uses the running statistics, which are constants too: dx = w / sqrt(var + eps) dy */
    int weight_id; /* CONV: plans with the same number >= 0 have the same weights and may share repacked
                      copies */
    float mean[3], std[3]; /* INPUT */
    struct tr_loss loss;   /* LOSS in training; in evaluation it is cross-entropy */
};

/* Properties of a plan for the graph. */
struct tr_plan_info {
    const struct tr_layout *x_layout, *y_layout;
    size_t x_bytes, y_bytes; /* of the values, and of their gradients */
    size_t save_bytes;       /* private memory that forward leaves for backward */
    size_t own_bytes;        /* other device memory of the plan, at most; 0: next to nothing */
    bool keeps_x, keeps_y;   /* backward reads the forward value: it must stay untouched until then */
    bool y_may_be_x;         /* forward may run in place */
    bool dx_may_be_dy;       /* backward may run in place over dy[0] */
};

/* Sums over the batch, without masked samples. */
struct tr_tally {
    double loss_sum;
    uint32_t valid, top1,
        top5; /* top5: the label is among the 5 best (ties count in the label's favour only by index) */
};

/* How a batch is mixed with itself in reverse order: sample i has the partner n-1-i. */
enum tr_mix_kind { TR_MIX_NONE, TR_MIX_UP, TR_MIX_CUT };

struct tr_mix {
    enum tr_mix_kind kind;
    double lambda;      /* the share of the sample itself: of its target and, in MixUp, of its pixels */
    int y0, y1, x0, x1; /* CutMix: rows y0 .. y1-1 and columns x0 .. x1-1 are the partner's */
};

/* Batch norm over several ranks: y and dx are those of one batch with the values of all ranks; dw and db stay
 * sums over this rank's values, as all gradients. Host memory, [channels] each; negative errno. Ranks call
 * these in the same order. */
struct tr_bn_sync {
    void *context;
    /* In: mean and population variance of *count values per channel. Out: those of all ranks' values. */
    int (*moments)(void *context, int channels, double *count, float *mean, float *var);
    /* Sums over the ranks. */
    int (*sums)(void *context, int channels, float *a, float *b);
};

/* Arguments of one execution. An op reads the fields of its row and no others.
 *            forward                                       backward
 *   INPUT    pixels, mix -> y                              -
 *   CONV     x, w -> y                                     x, w, dy -> dx (if needs_dx), dw
 *   BN       x, x2, w, b -> y, save; run_mean, run_var     x, y, w, b, save, dy -> dx, dx2, dw, db
 *     frozen x, x2, w, b, run_mean, run_var -> y, save     y, w, run_var, save, dy -> dx, dx2
 *   ADD      x, x2 -> y                                    y, dy -> dx (the gradient of x and of x2 alike)
 *   MAXPOOL  x -> y, save                                  save, dy -> dx
 *   GAP      x -> y                                        dy -> dx
 *   BLUR     x -> y                                        dy -> dx
 *   DROPPATH x, scale -> y                                 scale, dy -> dx
 *   GELU     x, b -> y                                     x, b, dy -> dx, db
 *   FC       x, w, b -> y                                  x, w, dy -> dx, dw, db
 *   LOSS     x, labels, valid, mix -> dx (if training), tally
 * GELU reads b and writes db if op.biased. BN reads x2 and writes dx2, the gradient of x2, if op.adds; it reads y in backward only if it keeps_y.
 * dy[1], when not NULL, is a second contribution to the gradient of y (a fork of the network): the sum
 * counts, and dy[0] may be overwritten. dw and db are overwritten, not added to. */
struct tr_exec {
    const void *x, *x2;
    void *y;
    void *save;
    void *dy[2];
    void *dx, *dx2;
    const float *w, *b;
    float *dw, *db;
    const struct tr_bn_sync *sync; /* BN: if op.synced, and the backend does not add up by itself */
    float *run_mean, *run_var;     /* BN: updated in training (variance with n - 1), read in evaluation */
    uint64_t param_version;        /* changes whenever a parameter has changed */
    const float *scale;            /* DROPPATH, host memory: [n]; NULL in evaluation */
    const uint8_t *pixels;         /* INPUT, host memory: [n][h][w][3] */
    const int32_t *labels;         /* LOSS, host memory: [n], 0 .. c-1 for valid samples */
    const uint8_t *valid; /* LOSS, host memory: [n], 0 = masked: no loss, zero gradient; NULL = all valid */
    const struct tr_mix *mix; /* INPUT, LOSS; NULL or kind NONE: no mixing. Values are mixed after they are
                                 normalised and nothing is rounded to pixels, so mixing before would be the
                                 same. LOSS: q = lambda q(label) + (1 - lambda) q(the partner's label); a
                                 sample whose partner is masked is masked too; top1 and top5 go by the label
                                 of the larger share, the sample's own at equal shares */
    bool staged; /* pixels, labels, valid, mix, smoothing, divisor and what scale points to are those of the
                    last stage() of trainer/backends/step.h; tally is NULL */
    float smoothing;        /* LOSS: q = (1 - s) [k = label] + s / c */
    double divisor;         /* LOSS: what the gradient is divided by; 0: the number of valid samples, or with
                               weights the sum of those of their labels */
    struct tr_tally *tally; /* LOSS, host memory: overwritten */
};

/* A run of the flat arena: one tensor that decays, or any number of tensors that do not. What no span covers is
 * left as it is. */
struct tr_span {
    size_t first, count;
    bool decays;
    double rate;    /* lr below is that of the step times this */
    uint64_t since; /* updates that were taken before the first of this run: t below counts those behind it */
    int rows, columns; /* one tensor, a hidden layer's filters as [out][in kh kw]; 0: others */
};

/* One step of an optimiser over the flat arena. With g = grad_scale * gradient, d = weight_decay where the
 * span decays and 0 elsewhere, |.| the 2-norm of a span, t = updates - since + 1, m and v beginning as zeros:
 *
 *   SGD    g += d w; m = momentum m + g; w -= lr (nesterov ? g + momentum m : m)
 *          (torch.optim.SGD, dampening 0)
 *   AdamW  w -= lr d w; m += (1 - momentum) (g - m); v = beta2 v + (1 - beta2) g^2;
 *          w -= lr / (1 - momentum^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
 *          (torch.optim.AdamW; Loshchilov and Hutter 2019, algorithm 2)
 *   LARS   r = d > 0 and |w| > 0 and |g| > 0 ? trust |w| / (|g| + d |w| + eps) : 1;
 *          then as SGD with r (g + d w) for g + d w
 *          (timm 1.0 Lars without trust_clip and always_adapt; You et al. 2017, with apex' placing of
 *          momentum)
 *   LAMB   m and v as AdamW; u = m / (1 - momentum^t) / (sqrt(v) / sqrt(1 - beta2^t) + eps) + d w;
 *          r = d > 0 and |w| > 0 and |u| > 0 ? |w| / |u| : 1; w -= lr r u
 *          (timm 1.0 Lamb, its defaults; You et al. 2020. Its clipping of the whole gradient is
 *          grad_scale's.)
 *
 * With muon, spans that have rows take another step, mu being muon_momentum and NS kernels/muon.h's iteration on the
 * matrix of these rows and columns (transposed where there are more rows), divided by max(|.|, 1e-7):
 *
 *   Muon   m += (1 - mu) (g - m); w -= lr d w; w -= lr max(1, rows / columns)^1/2 NS(g + mu (m - g))
 *          (torch.optim.Muon of PyTorch 2.15 with Nesterov momentum and adjust_lr_fn "original", which is Keller
 *          Jordan's. PyTorch iterates in bf16, the CPU backends in fp32 or more, CUDA in bf16 if activations are)
 *
 * With muon_fixed_norm, w *= rows^1/2 / |w| in place of w -= lr d w (as K. Jordan's airbench94 with Muon).
 *
 * The same bits for any number of threads. */
struct tr_update {
    enum im_optimizer kind; /* never Muon, which has another one beside it */
    bool muon;              /* SGD, AdamW: spans with rows take Muon's step instead */
    bool muon_fixed_norm;
    float *w, *m, *v;            /* device: parameters, moments; v: AdamW and LAMB only */
    const float *g;              /* device: gradients */
    const struct tr_span *spans; /* ascending, not overlapping */
    size_t span_count;
    const struct imk_hyper *hyper;
    double grad_scale; /* what clips and unscales g */
};

/* Which GPU, and how it may compute. */
struct tr_device_config {
    int index;                /* of the GPUs visible to the process */
    bool deterministic;       /* the same bits on every run */
    bool tf32;                /* fp32 convolutions and matrix products may round their inputs to tf32 */
    enum imk_dtype precision; /* of the ops: a device that cannot compute in it is refused */
    const char *cache;        /* path of the plan cache; NULL: no cache */
    bool recovers;            /* a start that others wait for: no time is spent on what the cache has */
    bool dw_apart;            /* ops with tr_op.dw_apart will come: memory is kept for them */
    /* (optional) Progress of plan() and tune(), number `at` of `of`: of is 0 while the total is unknown, and
     * -1 while another process makes what this one needs; at 0: done. A nonzero return cancels: they return
     * -ECANCELED. */
    int (*progress)(void *context, int at, int of);
    void *progress_context;
};

/* Every entry is required unless it says (optional). */
struct tr_backend_ops {
    uint32_t version; /* TR_BACKEND_VERSION */
    const char *name;
    uint32_t precisions; /* bits 1 << enum imk_dtype */
    uint32_t fuses;      /* bits of enum tr_fusion: what graphs for this backend are made of. The reference
                            defines all fused ops and requests none */
    /* threads: of the backend's own pool, 0 = all processors. */
    int (*open)(int threads, struct tr_backend **ret_backend, struct im_text *text);
    /* (optional) Opens a chosen device; open() opens the first. */
    int (*open_device)(const struct tr_device_config *config, struct tr_backend **ret_backend,
                       struct im_text *text);
    void (*close)(struct tr_backend *b); /* after all plans are freed; NULL is fine */

    int (*buffer_new)(struct tr_backend *b, size_t bytes, void **ret_buffer); /* zeroed, aligned to 64 */
    void (*buffer_free)(struct tr_backend *b, void *buffer, size_t bytes);
    int (*copy_in)(struct tr_backend *b, void *buffer, const void *host, size_t bytes);
    int (*copy_out)(struct tr_backend *b, void *host, const void *buffer, size_t bytes);

    int (*plan)(struct tr_backend *b, const struct tr_op *op, struct tr_op_plan **ret_plan,
                struct tr_plan_info *ret_info, struct im_text *text);
    void (*plan_free)(struct tr_backend *b, struct tr_op_plan *plan); /* NULL is fine */
    int (*forward)(struct tr_backend *b, struct tr_op_plan *plan, const struct tr_exec *e);
    int (*backward)(struct tr_backend *b, struct tr_op_plan *plan, const struct tr_exec *e);
    int (*update)(struct tr_backend *b, const struct tr_update *u);
    /* Over whole arenas, on the device; the same bits for any number of threads. lerp: y += k (x - y); k = 1
     * copies, whatever was in y. sum_squares: in double, so that it is finite exactly when all of x is. */
    int (*lerp)(struct tr_backend *b, float *y, const float *x, double k, size_t count);
    int (*add)(struct tr_backend *b, float *y, const float *x, size_t count);
    int (*sum_squares)(struct tr_backend *b, const float *x, size_t count, double *ret_sum);
    /* (optional) Waits for all enqueued work; NULL where calls are synchronous. */
    int (*sync)(struct tr_backend *b);
    /* (optional) Autotunes: finds the fastest way to run each new plan. Call after plans are made and before
     * they run; untuned plans are tuned at their first run. scratch: a buffer of buffer_new() whose contents may
     * be lost, so that tuning needs no free memory beside it; NULL: there is none. */
    int (*tune)(struct tr_backend *b, void *scratch, size_t bytes, struct im_text *text);
    int (*last_error)(struct tr_backend *b, struct im_text *text); /* (optional) the first error, with its
                                                                      sentence */
    const struct tr_step_ops *step;                                /* trainer/backends/step.h */
    const struct tr_shadow_ops *shadow;                            /* (optional) trainer/backends/shadow.h */

    /* Converts a value between its private layout and plain NCHW fp32. For tests and tools. */
    int (*value_in)(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                    const float *nchw, void *value);
    int (*value_out)(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                     const void *value, float *nchw);

    size_t (*private_bytes)(struct tr_backend *b); /* repacked parameters and scratch memory held now */
    /* (optional) Bytes that buffer_new can still allocate; 0: unknown. */
    size_t (*memory_left)(struct tr_backend *b);
    /* (optional) Reports what plan() would, without planning. */
    int (*measure)(struct tr_backend *b, const struct tr_op *op, struct tr_plan_info *ret_info);
    const char *(*plan_kernel)(struct tr_op_plan *plan); /* (optional) the kernel in use, for logs */
    /* (optional) A warning about this precision on this machine, a sentence; NULL: none. */
    const char *(*precision_warning)(struct tr_backend *b, enum imk_dtype precision);
    /* (optional) Pins memory that pixels of batches are read from, which may be mapped read-only, until
     * host_unpin(), so that a device can copy them directly. Failure only costs speed. */
    int (*host_pin)(struct tr_backend *b, void *memory, size_t bytes, struct im_text *text);
    void (*host_unpin)(struct tr_backend *b, void *memory);
};

/* "ref", "onednn" or "cuda"; -ENOENT with the available names. Loads the module of "cuda"; errors of
 * tr_cuda_load(). */
int tr_backend_find(const char *name, const struct tr_backend_ops **ret_ops, struct im_text *text);

extern const struct tr_backend_ops tr_backend_ref;
extern const struct tr_backend_ops tr_backend_onednn; /* only where the build has oneDNN */
extern const struct tr_backend_ops tr_backend_cuda;   /* only in imsuper-cuda.so: module.h */

#endif
