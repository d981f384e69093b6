/* The reference ops: plain NCHW fp32 in memory, double in sums. Each function is one row of the table at
 * struct tr_exec.
 *
 * This folder defines every op; the other backends are tested against it. Keep it plain: one thread, no
 * vector code, no fused shortcuts, the formula as in the comment of backend.h. Speed counts only where it
 * makes the tests slow. A change of results here changes the definition for all backends. */
#ifndef TRAINER_BACKENDS_REF_OPS_H
#define TRAINER_BACKENDS_REF_OPS_H

#include "trainer/backends/backend.h"

void tr_ref_input(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_conv_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_conv_backward(const struct tr_op *op, const struct tr_exec *e);
size_t tr_ref_bn_save_bytes(const struct tr_op *op);
int tr_ref_bn_forward(const struct tr_op *op, const struct tr_exec *e);
int tr_ref_bn_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_frozen_norm_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_frozen_norm_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_add_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_add_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_maxpool_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_maxpool_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_gap_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_gap_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_blur_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_blur_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_droppath_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_droppath_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_gelu_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_gelu_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_fc_forward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_fc_backward(const struct tr_op *op, const struct tr_exec *e);
void tr_ref_loss(const struct tr_op *op, const struct tr_exec *e);
int tr_ref_update(const struct tr_update *u);
int tr_ref_muon(const struct tr_update *u, const struct tr_span *span);
void tr_ref_lerp(float *y, const float *x, double k, size_t count);
void tr_ref_add(float *y, const float *x, size_t count);
double tr_ref_sum_squares(const float *x, size_t count);

/* Rounds to the nearest number of the precision, ties to even: the definition of its rounding. */
void tr_ref_round(enum imk_dtype precision, float *values, size_t count);
size_t tr_ref_weights(const struct tr_op *op); /* elements of w: CONV, FC */

/* Elements of a shape, and the index of one. */
static inline size_t tr_count(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.c * (size_t)s.h * (size_t)s.w;
}

static inline size_t tr_at(struct tr_shape s, int n, int c, int h, int w)
{
    return (((size_t)n * (size_t)s.c + (size_t)c) * (size_t)s.h + (size_t)h) * (size_t)s.w + (size_t)w;
}

/* The gradient of y at i, both contributions. */
static inline double tr_dy(const struct tr_exec *e, size_t i)
{
    const float *a = e->dy[0], *b = e->dy[1];

    return b ? (double)a[i] + (double)b[i] : (double)a[i];
}

#endif
