/* A narrow interface to cuDNN's graph API: tensors and operations describe a graph, cuDNN lists the engines
 * that can run it, and one of them becomes a plan. cudnn.c is the only file that includes cudnn.h; how a
 * convolution or a batch norm becomes a graph is in trainer/backends/cuda/dnn_graphs.c.
 *
 * Engines can also be listed, and plans built, for a GPU that is only described: that needs no GPU and no
 * driver, and tests use it to check that every graph has engines. Such plans cannot run.
 *
 * Errors: 0 or a negative errno: -ENOTSUP where cuDNN does not support the request, -EIO where it failed. One
 * thread at a time. */
#ifndef TRAINER_BACKENDS_CUDA_CUDNN_H
#define TRAINER_BACKENDS_CUDA_CUDNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/cuda/device.h"

struct im_text;
struct tr_cudnn;       /* a cuDNN handle on one GPU */
struct tr_cudnn_graph; /* an operation graph and its engines */
struct tr_cudnn_plan;  /* an engine of a graph, ready to run */

/* Runs are enqueued on the stream. The calling thread's GPU is the stream's. */
int tr_cudnn_open(struct CUstream_st *stream, struct tr_cudnn **ret_cudnn, struct im_text *text);
/* For tests: cuDNN compiles for a GPU that is not present; device is cuDNN's own JSON description (cuDNN 9.11 or later). */
int tr_cudnn_open_described(const char *device, struct tr_cudnn **ret_cudnn, struct im_text *text);
/* Later runs are enqueued on this one, which is of the same GPU. */
int tr_cudnn_set_stream(struct tr_cudnn *cudnn, struct CUstream_st *stream, struct im_text *text);
void tr_cudnn_close(struct tr_cudnn *cudnn); /* after all graphs and plans are freed; NULL is fine */
int tr_cudnn_version(void);                  /* 91900 is 9.19.0 */

/* 4 dimensions, channels last, packed. Alignment is 16 bytes. */
struct tr_cudnn_tensor {
    int n, c, h, w;
    enum imk_dtype type;
    bool bits;       /* one bit per element (a mask), instead of the type */
    bool is_virtual; /* an intermediate of the graph, never in memory */
    bool by_value;   /* one fp32 number in host memory, read when a run is enqueued */
};

/* The tensors of an operation, in order; negative where (optional) and unused:
 *   CONV_FORWARD   x w y            CONV_DATA dx w dy            CONV_WEIGHTS x dw dy
 *   NORM_FORWARD   x scale bias epsilon y mean inv_dev (running_mean running_var factor new_mean new_var)
 *   NORM_BACKWARD  x mean inv_dev scale dy dx dscale dbias
 *   ADD, MUL       a b y            RELU a y            ABOVE a b y (y = a > b, of bits) */
enum tr_cudnn_kind {
    TR_CUDNN_CONV_FORWARD,
    TR_CUDNN_CONV_DATA,
    TR_CUDNN_CONV_WEIGHTS,
    TR_CUDNN_NORM_FORWARD,
    TR_CUDNN_NORM_BACKWARD,
    TR_CUDNN_ADD,
    TR_CUDNN_MUL,
    TR_CUDNN_RELU,
    TR_CUDNN_ABOVE,
    TR_CUDNN_KINDS
};

#define TR_CUDNN_ROLES 12
#define TR_CUDNN_TENSORS 20
#define TR_CUDNN_OPS 4

struct tr_cudnn_op {
    enum tr_cudnn_kind kind;
    int tensor[TR_CUDNN_ROLES]; /* index into the graph's tensors */
    int stride, pad;            /* CONV: square */
    float beta;                 /* CONV: what is written is added to beta times what was there: 0 or 1 */
};

/* Constraints on engines. */
struct tr_cudnn_rules {
    bool deterministic;     /* the same bits every time */
    bool exact;             /* fp32 stays fp32: no tensor cores, no transforms */
    size_t workspace_limit; /* bytes */
};

/* Builds a graph and lists the engines that satisfy the constraints, in the order of cuDNN's heuristics.
 * -ENOTSUP: there are none; the text has cuDNN's message. Engines are not tried yet: a plan of one may still
 * fail. */
int tr_cudnn_graph_new(struct tr_cudnn *cudnn, const struct tr_cudnn_tensor *tensors, int tensor_count,
                       const struct tr_cudnn_op *ops, int op_count, const struct tr_cudnn_rules *rules,
                       struct tr_cudnn_graph **ret_graph, struct im_text *text);
void tr_cudnn_graph_free(struct tr_cudnn_graph *graph); /* after its plans; NULL is fine */
/* Frees the configurations of all engines but this one; no plan can be made of the others afterwards. */
void tr_cudnn_graph_trim(struct tr_cudnn_graph *graph, int engine);
int tr_cudnn_graph_engines(const struct tr_cudnn_graph *graph);
/* "62:2=5,24=17": index and knobs. The same name is the same code in the same version of cuDNN. */
const char *tr_cudnn_graph_engine(const struct tr_cudnn_graph *graph, int engine);

/* May compile, which takes up to seconds. -ENOTSUP: this engine does not support the graph, or needs more
 * workspace than the limit. */
int tr_cudnn_plan_new(struct tr_cudnn_graph *graph, int engine, struct tr_cudnn_plan **ret_plan,
                      struct im_text *text);
/* A plan as text, compiled code included, for tr_cudnn_plan_load(). The caller frees it. */
int tr_cudnn_plan_save(const struct tr_cudnn_plan *plan, char **ret_bytes, size_t *ret_n,
                       struct im_text *text);
struct tr_cudnn_saved {
    const char *name; /* as tr_cudnn_plan_name() gave it */
    const char *bytes;
    size_t n, workspace_limit;
};
/* Restores a plan without listing or compiling engines; the graph is described as before. Accepts only what
 * tr_cudnn_plan_save() returned for the same graph, cuDNN version and GPU: the caller keeps checksums. */
int tr_cudnn_plan_load(struct tr_cudnn *cudnn, const struct tr_cudnn_tensor *tensors, int tensor_count,
                       const struct tr_cudnn_op *ops, int op_count, const struct tr_cudnn_saved *saved,
                       struct tr_cudnn_plan **ret_plan, struct im_text *text);
void tr_cudnn_plan_free(struct tr_cudnn_plan *plan); /* NULL is fine */
size_t tr_cudnn_plan_workspace(const struct tr_cudnn_plan *plan);
const char *tr_cudnn_plan_name(const struct tr_cudnn_plan *plan);

/* memory: one address for each of the graph's tensors; those of virtual and unused tensors are not read. On
 * an error the text has cuDNN's message. */
int tr_cudnn_plan_run(struct tr_cudnn_plan *plan, void *const *memory, void *workspace, struct im_text *text);

#endif
