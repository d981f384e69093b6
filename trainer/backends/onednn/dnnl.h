/* A narrow interface to oneDNN, without its header: layouts, and primitives that run on raw pointers. dnnl.c
 * is the only file that depends on which of the two C APIs is installed. Errors: negative errno. */
#ifndef TRAINER_BACKENDS_ONEDNN_DNNL_H
#define TRAINER_BACKENDS_ONEDNN_DNNL_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/dtype.h"
#include "trainer/backends/backend.h"

struct tr_dn; /* engine, stream, layouts, scratch memory */
struct tr_prim;

/* oneDNN's choice; NCHW or OIHW; channels last; blocks of 8 and of 16 channels. */
enum tr_tag { TR_TAG_ANY, TR_TAG_PLAIN, TR_TAG_LAST, TR_TAG_BLOCK8, TR_TAG_BLOCK16 };
enum tr_direction { TR_FORWARD, TR_BACKWARD_DATA, TR_BACKWARD_WEIGHTS };

int tr_dn_open(struct tr_dn **ret_dn);
void tr_dn_close(struct tr_dn *dn); /* NULL is fine */
size_t tr_dn_scratch_bytes(const struct tr_dn *dn);

/* Whether oneDNN has bf16 convolutions on this CPU. */
bool tr_dn_has_bf16(struct tr_dn *dn);

/* Layouts are unique: equal ones have equal pointers. They live until close. NULL: out of memory. */
const struct tr_layout *tr_dn_layout(struct tr_dn *dn, const int dims[4], enum tr_tag tag,
                                     enum imk_dtype type);
size_t tr_layout_bytes(const struct tr_layout *layout);
enum imk_dtype tr_layout_type(const struct tr_layout *layout);

/* The same layout with another element type. -ENOTSUP: not a layout of images. */
int tr_dn_retype(struct tr_dn *dn, const struct tr_layout *layout, enum imk_dtype type,
                 const struct tr_layout **ret_layout);

/* Primitives of an op. A layout may be TR_TAG_ANY's; tr_prim_layout returns the chosen one. x, y: layouts of
 * the values, which are also those of their gradients. The forward primitive is the hint that the backward
 * ones need. The arguments of tr_prim_run, in order:
 *
 *     conv      forward x w y    backward data dy w dx    backward weights x dy dw
 *     pool      forward x y      backward data dy dx
 *     reorder   from to
 *
 * The pool is the global average. */
int tr_dn_conv(struct tr_dn *dn, const struct tr_op *op, enum tr_direction direction,
               const struct tr_layout *const xwy[3], const struct tr_prim *forward,
               struct tr_prim **ret_prim);
int tr_dn_pool(struct tr_dn *dn, const struct tr_op *op, const struct tr_layout *x, const struct tr_layout *y,
               const struct tr_prim *forward, struct tr_prim **ret_prim);
int tr_dn_reorder(struct tr_dn *dn, const struct tr_layout *from, const struct tr_layout *to,
                  struct tr_prim **ret_prim);

enum tr_role { TR_X, TR_W, TR_Y };
const struct tr_layout *tr_prim_layout(const struct tr_prim *p, enum tr_role role); /* conv and pool */
const char *tr_prim_kernel(const struct tr_prim *p); /* oneDNN's name of the implementation */
int tr_prim_run(struct tr_dn *dn, struct tr_prim *p, void *const *data);
void tr_prim_free(struct tr_prim *p); /* NULL is fine */

/* Row-major C[m][n] = op(A) op(B) + beta C; a and b: 'N' or 'T'; leading dimensions are those of the arrays
 * as they lie. */
struct tr_gemm {
    char a, b;
    int m, n, k;
    const float *A, *B;
    int lda, ldb;
    float beta;
    float *C;
};
int tr_dn_gemm(const struct tr_gemm *g);

#endif
