/* Private to the oneDNN backend: what a plan holds, and the families of ops that fill and run it. backend.c
 * dispatches; a family is one file: conv.c, norm.c, pool.c, blur.c, fc.c. The plan functions get
 * info->x_layout, and y_layout if the op keeps its input's layout, and fill in the rest of info. Errors:
 * negative errno.
 *
 * In this folder: a fast backend for CPUs, tested against ref. dnnl.c alone includes oneDNN's header; ops use
 * dnnl.h and loops.h. Nothing allocates in forward or backward, and a fixed number of threads gives the same
 * bits in every run. */
#ifndef TRAINER_BACKENDS_ONEDNN_PLAN_H
#define TRAINER_BACKENDS_ONEDNN_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "trainer/backends/backend.h"
#include "trainer/backends/host_step.h"
#include "trainer/backends/onednn/dnnl.h"
#include "trainer/backends/onednn/vector_loops.h"
#include "trainer/backends/onednn/winograd.h"

/* One layer's weights in one layout. */
struct tr_pack {
    struct tr_pack *next;
    int weight_id;
    int users;                                                                 /* plans */
    enum tr_form { TR_FORM_LAYOUT, TR_FORM_WINO, TR_FORM_WINO_BACKWARD } form; /* winograd.h has the others */
    struct tr_wino wino;
    float *round; /* the weights rounded to bf16, plain; NULL: as they are */
    size_t count; /* weights */
    size_t bytes; /* of data */
    const struct tr_layout *layout;
    void *data; /* NULL: the layout is the plain one */
    const float *from;
    uint64_t version; /* of `from` that `data` holds */
    struct tr_prim *reorder;
};

/* Buffers for the fp32 copies of one op's bf16 values. */
enum tr_wide {
    TR_WIDE_X,
    TR_WIDE_Y,
    TR_WIDE_X2,
    TR_WIDE_DY1,
    TR_WIDE_DX,
    TR_WIDES,
    TR_WIDE_DY0 = TR_WIDE_X2
};

struct tr_backend {
    struct tr_host_step step; /* first: host_step.h */
    struct tr_dn *dn;
    bool has_bf16; /* native */
    float *wide[TR_WIDES];
    size_t wide_bytes[TR_WIDES];
    int threads;
    struct tr_pack *packs;
    char *stage; /* staging buffer: values in reordering */
    size_t stage_bytes;
};

/* A primitive's read operands come first, the written one is last. */
enum { TR_OPERANDS = 3, TR_WRITTEN = 2 };

/* A primitive whose operands may need reordering: operand i goes through the staging buffer if reorder[i] is
 * set. */
struct tr_staged {
    struct tr_prim *prim;
    struct tr_prim *reorder[TR_OPERANDS];
    size_t at[TR_OPERANDS]; /* in the stage */
};

struct tr_op_plan {
    struct tr_op op;
    size_t count; /* elements of y, with the layout's padding */
    struct tr_wino wino;
    bool wino_values, wino_weights; /* CONV: by winograd.h; the gradient of the weights too */
    struct tr_staged forward, backward_data, backward_weights;
    struct tr_pack *pack_forward, *pack_backward;
    size_t inner;         /* BN, MAXPOOL, BLUR, GELU: of tr_value_form() */
    struct tr_taps *taps; /* BLUR: rows of y, of x, columns of y, of x */
    struct tr_narrow {
        bool on;
        bool x, y; /* value is stored in bf16 */
        bool dx_may_be_dy, keeps_x, keeps_y;
        size_t x_count, y_count;
    } narrow; /* of a bf16 op that runs as an fp32 one; op.precision is then fp32 */
};

/* The C API takes pointers to data it only reads as void *. */
static inline void *tr_in(const void *data)
{
    return (void *)(uintptr_t)data;
}

/* Whole cache lines. */
static inline size_t tr_lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* NULL: out of memory. */
const struct tr_layout *tr_value_layout(struct tr_backend *b, struct tr_shape s, enum tr_tag tag,
                                        enum imk_dtype type);
/* Every layout of values is [planes][h][w][inner]: plain NCHW has planes n c and inner 1, blocked channels have planes
 * n c / 8 and inner 8 (or 16), channels last have planes n and inner c. -ENOTSUP: another one. */
int tr_value_form(struct tr_backend *b, struct tr_shape s, const struct tr_layout *layout,
                  enum imk_dtype type, enum tr_tag *ret_tag, size_t *ret_inner);
const struct tr_layout *tr_weight_layout(struct tr_backend *b, const struct tr_op *op, enum tr_tag tag,
                                         enum imk_dtype type);

/* The pack of the plan's weights in this layout, shared by plans of the same weight_id; rounded to bf16 for a
 * bf16 op. */
int tr_pack_get(struct tr_backend *b, const struct tr_op_plan *plan, const struct tr_layout *layout,
                enum tr_form form, struct tr_pack **ret_pack);
void tr_pack_put(struct tr_backend *b, struct tr_pack *p); /* NULL is fine */

/* The weights in the pack's layout, repacked if they have changed. */
int tr_pack_fresh(struct tr_backend *b, struct tr_pack *p, const struct tr_exec *e, void **ret_weights);

int tr_stage_reserve(struct tr_backend *b, size_t bytes);

/* The operand has the layout `outside`, the primitive needs `inside`. *used: bytes of the staging buffer used
 * by this primitive so far. */
int tr_stage_operand(struct tr_backend *b, struct tr_staged *s, int operand, const struct tr_layout *outside,
                     const struct tr_layout *inside, size_t *used);
int tr_staged_run(struct tr_backend *b, struct tr_staged *s, void *const operands[TR_OPERANDS]);
void tr_staged_fini(struct tr_staged *s);

int tr_conv_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
int tr_conv_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
int tr_conv_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

int tr_bn_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
int tr_bn_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
int tr_bn_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

int tr_maxpool_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
void tr_maxpool_forward(struct tr_op_plan *p, const struct tr_exec *e);
void tr_maxpool_backward(struct tr_op_plan *p, const struct tr_exec *e);

int tr_gap_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
int tr_gap_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
int tr_gap_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

int tr_frozen_norm_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
void tr_frozen_norm_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
void tr_frozen_norm_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

int tr_gelu_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
void tr_gelu_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
void tr_gelu_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

/* norm.c: the values of one image's group of channels: 8 that lie beside each other, or where inner is 1 a single one. */
struct tr_strip tr_strip_at(size_t channels, size_t area, size_t inner, size_t image, size_t group);

int tr_blur_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
void tr_blur_forward(struct tr_op_plan *p, const struct tr_exec *e);
void tr_blur_backward(struct tr_op_plan *p, const struct tr_exec *e);

int tr_fc_plan(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
int tr_fc_forward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);
int tr_fc_backward(struct tr_backend *b, struct tr_op_plan *p, const struct tr_exec *e);

/* bf16 ops that run as fp32 ones on copies: call tr_narrow_plan before and tr_narrow_planned after the fp32
 * op is planned; tr_widen_forward makes the arguments of the fp32 op and tr_narrow_forward converts its
 * result, likewise for backward. */
int tr_narrow_plan(struct tr_backend *b, struct tr_op_plan *p);
int tr_narrow_planned(struct tr_backend *b, struct tr_op_plan *p, struct tr_plan_info *info);
struct tr_exec tr_widen_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);
void tr_narrow_forward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);
struct tr_exec tr_widen_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);
void tr_narrow_backward(struct tr_backend *b, const struct tr_op_plan *p, const struct tr_exec *e);

#endif
