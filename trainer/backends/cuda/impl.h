/* Private to the CUDA backend: backend.c (device, arenas, values), measure.c (their memory), plan.c (ops as plans), ops.c and norm.c
 * (their execution), weights.c (repacked weights), update.c (arenas), muon.c (Muon), staging.c (inputs and results), step.c
 * (whole steps), shadow.c (copies for snapshots). Built on device.h, dnn.h, cublas.h and kernels/cuda; these files include no CUDA header.
 *
 * Values are NHWC with channels padded to a multiple of 16 bytes, for vector accesses and tensor cores, except the normalised
 * pixels, which have four; the padding holds zeros. All work runs on the stream COMPUTE in the order of the calls, except copies of pixels
 * on COPY, sums over ranks on COMM, and gradients of weights that are made apart (tr_op.dw_apart) on WEIGHTS.
 *
 * In this folder: everything that needs CUDA, cuDNN, cuBLASLt, NCCL or NVML; it builds imsuper-cuda.so. Each
 * library's header is included by one file (device.c, cudnn.c, cublas.c, nccl.c). A step neither allocates
 * nor waits on the host, and reads what changes from step to step from the staged block, since it is captured
 * once and replayed. Change results only together with the reference. */
#ifndef TRAINER_BACKENDS_CUDA_IMPL_H
#define TRAINER_BACKENDS_CUDA_IMPL_H

#include "kernels/cuda/optimizer.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pool.h"
#include "kernels/cuda/step.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/cublas.h"
#include "trainer/backends/cuda/describe.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/dnn.h"
#include "trainer/backends/step.h"

struct tr_layout {
    enum imk_dtype type;
    int pitch; /* elements from one pixel to the next */
    struct tr_layout *next;
};

/* Packed weights of a convolution or a classifier. */
struct tr_cuda_weight {
    int id, users;
    int k, c, taps;  /* torchvision's [k][c][taps] */
    int rows, pitch; /* packed: [rows][taps][pitch], rows >= k, pitch >= c; zeros elsewhere */
    enum imk_dtype type;
    void *packed;                 /* NULL: plain and packed are the same */
    struct imk_cuda_packing *row; /* on the device, for this weight alone */
    uint32_t blocks;              /* of the row */
    const float *w;               /* source of the copy, and its version */
    uint64_t version;
    bool is_placed; /* its offset in the parameters is known */
    size_t offset;
    struct tr_cuda_weight *next;
};

/* A device or pinned buffer that grows while plans are made. */
struct tr_cuda_buffer {
    void *memory;
    size_t bytes;
};

/* The fixed part of the staged block; labels, valid flags and scales follow it. */
struct tr_cuda_staged {
    struct imk_cuda_mix mix;
    struct imk_cuda_loss_terms terms;
    struct imk_hyper hyper;
    struct imk_cuda_verdict plain; /* for an update decided on the host */
    struct imk_hyper hyper_if_skipped;
    double divisor_if_skipped;
};

/* Results of a step, computed on the device. */
struct tr_cuda_results {
    struct imk_cuda_tally tally;
    double squares;
    struct imk_cuda_verdict verdict;
};

/* Where the results of a step come to. One may be enqueued while the one before runs. */
enum { TR_CUDA_STEPS = 2 };

/* Gradients of weights on WEIGHTS that nothing on COMPUTE has waited for. */
enum { TR_CUDA_DW_MOST = TR_DW_BEHIND + 1 };

struct tr_cuda_arrival {
    struct tr_cuda_results *results; /* pinned */
    struct tr_gpu_event *finished;
};

/* A slot for pixels in transfer; of two, one fills while the other is read. */
struct tr_cuda_pixel_slot {
    void *memory;
    struct tr_gpu_event *filled, *read;
};

struct tr_backend {
    struct tr_device_config config;
    struct tr_gpu *gpu;
    struct tr_dnn *dnn;
    struct tr_blas *blas;
    struct tr_layout *layouts;
    /* NULL: on a GPU that is only described */
    bool (*has_narrow_input)(struct tr_backend *b, enum imk_dtype type);
    int input_pitch; /* 0: not asked yet; a backend has one precision */
    bool untuned;
    uint64_t generation; /* incremented when memory used by captured graphs moves */

    struct tr_cuda_buffer scratch;    /* of the running op */
    struct tr_cuda_buffer dw_scratch; /* of the one that runs on WEIGHTS */
    size_t private_bytes;

    /* weights */
    struct tr_cuda_weight *weights;
    struct tr_cuda_buffer table; /* [table_rows] of all weights with a known offset, relative to table_base */
    void *table_base;
    enum imk_dtype table_type;
    uint32_t table_rows, table_blocks;
    bool table_is_old;
    const float *params; /* of the last refresh(), with their number and version */
    size_t param_count;
    uint64_t param_version;

    /* updates */
    struct tr_span *spans; /* source of the chunk table */
    size_t span_count;
    struct tr_cuda_buffer span_table, chunk_table, update_scratch;
    uint32_t chunk_count;
    bool spans_muon;           /* the tables leave the matrices to Muon */
    struct tr_cuda_muon *muon; /* muon.c */
    struct tr_cuda_buffer muon_scratch;
    size_t muon_count, muon_side;

    /* steps */
    struct tr_cuda_buffer staged;          /* struct tr_cuda_staged, ... on the device */
    struct tr_cuda_buffer staged_host;     /* the same, pinned */
    struct tr_gpu_event *staged_read;      /* when the pinned block may be rewritten */
    size_t labels_at, valid_at, scales_at; /* bytes into it */
    const float *scales;                   /* host addresses that scales_at stands for */
    struct tr_cuda_buffer pixels;
    struct tr_cuda_pixel_slot pixel_slots[2];
    int pixel_slot;            /* slot of the last pixels */
    const uint8_t *prefetched; /* NULL: nothing was prefetched */
    size_t prefetched_bytes;
    struct tr_cuda_results *results; /* device */
    struct tr_cuda_results *outcome; /* pinned, of what the host waits for at once */
    struct tr_cuda_arrival arrivals[TR_CUDA_STEPS];
    uint64_t sent, arrived; /* outcomes, and those that were waited for */
    double *sum_scratch;    /* device */
    bool decided;
    struct tr_gpu_event *to_comm, *from_comm, *to_weights;
    struct tr_gpu_event *dw_done[TR_CUDA_DW_MOST]; /* of number i at i % TR_CUDA_DW_MOST */
    int dw_begun, dw_awaited;                      /* in this backward pass */
    const struct tr_rank_sum *ranks;
};

struct tr_op_plan {
    struct tr_op op;
    struct tr_plan_info info;
    enum imk_dtype type;
    int x_pitch, y_pitch;
    struct tr_cuda_weight *weight;
    struct tr_dnn_conv *forward, *backward_data, *backward_weights;
    bool adds_separately; /* CONV, sums_dx: no engine accumulates; dx goes to scratch first, then is added */
    struct tr_dnn_norm *norm_forward, *norm_backward; /* NULL: our kernels */
    struct tr_blas_gemm *product, *product_dx, *product_dw;
    size_t mask_at; /* BN: bytes into save */
    size_t sums_at; /* BN, synced: offset in scratch of what is summed over the ranks */
    char kernel[96];
};

extern const struct tr_step_ops tr_cuda_step_ops;
extern const struct tr_shadow_ops tr_cuda_shadow_ops; /* shadow.c */

/* trainer/backends/cuda/measure.c */
#define TR_CUDA_FUSES (TR_FUSES_ADD | TR_FUSES_POOL | TR_FUSES_SUM)
#define TR_CUDA_SAVE_ALIGN ((size_t)256)
size_t tr_cuda_mask_at(const struct tr_op *op); /* of batch norm: offset of its mask or positions in save */
const struct tr_layout *tr_cuda_layout(struct tr_backend *b, enum imk_dtype type, int pitch);
void tr_cuda_layouts_free(struct tr_backend *b);
int tr_cuda_measure(struct tr_backend *b, const struct tr_op *op, struct tr_plan_info *ret_info);

/* trainer/backends/cuda/plan.c */
bool tr_cuda_has_narrow_input(struct tr_backend *b, enum imk_dtype type);
int tr_cuda_plan(struct tr_backend *b, const struct tr_op *op, struct tr_op_plan **ret_plan,
                 struct tr_plan_info *ret_info, struct im_text *text);
void tr_cuda_plan_free(struct tr_backend *b, struct tr_op_plan *p);
const char *tr_cuda_plan_kernel(struct tr_op_plan *p);

/* trainer/backends/cuda/ops.c */
int tr_cuda_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
int tr_cuda_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

struct imk_cuda_window tr_cuda_window(const struct tr_op_plan *p); /* of an op that has one */
/* Adds both contributions into the first, for library ops, which take one. */
int tr_cuda_join_dy(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);

/* trainer/backends/cuda/norm.c */
int tr_cuda_norm_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);
int tr_cuda_norm_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);

/* weights.c: weights are shared by plans of the same op.weight_id. */
int tr_cuda_weight_get(struct tr_backend *b, const struct tr_op *op, int rows, int pitch,
                       struct tr_cuda_weight **ret_weight, struct im_text *text);
void tr_cuda_weight_put(struct tr_backend *b, struct tr_cuda_weight *w); /* NULL is fine */
/* The packed weights for the parameters e->w, repacked first if those have changed. */
int tr_cuda_weight_current(struct tr_backend *b, struct tr_cuda_weight *w, const struct tr_exec *e,
                           const void **ret_packed);
bool tr_cuda_weight_is_plain(const struct tr_cuda_weight *w); /* [rows][taps][pitch] is [k][c][taps] */
/* dw = packed, an fp32 gradient of the weight's shape. */
int tr_cuda_weight_unpack(struct tr_backend *b, const struct tr_cuda_weight *w, const float *packed,
                          float *dw, enum tr_gpu_stream_id stream);
int tr_cuda_weights_refresh(struct tr_backend *b, const float *params, size_t count, uint64_t version);
int tr_cuda_weights_pack(struct tr_backend *b); /* all, of the parameters of the last refresh() */
void tr_cuda_weights_free(struct tr_backend *b);

/* step.c: x[i] <- the sum of all ranks' x[i]; COMPUTE waits for it. */
int tr_cuda_sum_and_wait(struct tr_backend *b, void *x, size_t count, bool is_double);
/* Around the work of one gradient of weights on WEIGHTS, which begins after what is on COMPUTE. */
int tr_cuda_dw_begin(struct tr_backend *b);
int tr_cuda_dw_end(struct tr_backend *b);

/* update.c: arena functions of backend.h. */
int tr_cuda_update(struct tr_backend *b, const struct tr_update *u);
int tr_cuda_update_with(struct tr_backend *b, const struct tr_update *u, float *ema,
                        const struct imk_hyper *hyper, const struct imk_cuda_verdict *verdict);
int tr_cuda_lerp(struct tr_backend *b, float *y, const float *x, double k, size_t count);
int tr_cuda_add(struct tr_backend *b, float *y, const float *x, size_t count);
int tr_cuda_squares(struct tr_backend *b, const float *x, size_t count); /* into results */
int tr_cuda_sum_squares(struct tr_backend *b, const float *x, size_t count, double *ret_sum);
void tr_cuda_update_free(struct tr_backend *b);

/* muon.c: the matrices among these spans; then, with nothing allocated, a step of one. */
struct tr_cuda_muon_args {
    const struct tr_update *u;
    float *ema; /* NULL: none */
    const struct imk_hyper *hyper;
    const struct imk_cuda_verdict *verdict;
};
int tr_cuda_muon_prepare(struct tr_backend *b, const struct tr_span *spans, size_t count);
int tr_cuda_muon_step(struct tr_backend *b, const struct tr_cuda_muon_args *a, const struct tr_span *span);
void tr_cuda_muon_free(struct tr_backend *b);

/* staging.c: inputs of a step and its results. */
int tr_cuda_stage_open(struct tr_backend *b, struct im_text *text);
void tr_cuda_stage_close(struct tr_backend *b);
int tr_cuda_reserve_pixels(struct tr_backend *b, size_t bytes, struct im_text *text);
int tr_cuda_stage(struct tr_backend *b, const struct tr_inputs *in);
int tr_cuda_stage_update(struct tr_backend *b, const struct imk_hyper *hyper,
                         const struct imk_cuda_verdict *verdict);
int tr_cuda_prefetch(struct tr_backend *b, const uint8_t *pixels, size_t bytes);
int tr_cuda_input_consumed(struct tr_backend *b);
const struct tr_cuda_staged *tr_cuda_staged(const struct tr_backend *b); /* device addresses */
int tr_cuda_fetch(struct tr_backend *b); /* copies results to b->outcome; the host waits */
struct tr_tally tr_cuda_tally(const struct imk_cuda_tally *t);

/* backend.c: a device buffer that captured graphs may use; growing loses its contents. */
int tr_cuda_buffer_grow(struct tr_backend *b, struct tr_cuda_buffer *buffer, size_t bytes, bool pinned,
                        const char *what, struct im_text *text);
void tr_cuda_buffer_free(struct tr_backend *b, struct tr_cuda_buffer *buffer, bool pinned);

static inline struct CUstream_st *tr_cuda_stream(const struct tr_backend *b)
{
    return tr_gpu_stream(b->gpu, TR_GPU_COMPUTE);
}

/* Elements of a value in memory. */
static inline size_t tr_cuda_elements(struct tr_shape s, int pitch)
{
    return (size_t)s.n * (size_t)s.h * (size_t)s.w * (size_t)pitch;
}

#endif
