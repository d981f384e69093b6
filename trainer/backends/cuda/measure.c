/* The memory of each op on a GPU, which follows from the op alone: layouts, saved state, copies of weights. Without a GPU too:
 * also part of the programs, where a GPU is only described. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "kernels/cuda/norm.h"
#include "trainer/backends/cuda/describe.h"
#include "trainer/backends/cuda/impl.h"

const struct tr_layout *tr_cuda_layout(struct tr_backend *b, enum imk_dtype type, int pitch)
{
    struct tr_layout *l;

    for (l = b->layouts; l; l = l->next)
        if (l->type == type && l->pitch == pitch)
            return l;
    l = malloc(sizeof *l);
    if (!l)
        return NULL;
    *l = (struct tr_layout){.type = type, .pitch = pitch, .next = b->layouts};
    b->layouts = l;
    return l;
}

void tr_cuda_layouts_free(struct tr_backend *b)
{
    struct tr_layout *l;

    while ((l = b->layouts)) {
        b->layouts = l->next;
        free(l);
    }
}

static int padded(enum imk_dtype type, int channels)
{
    int unit = 16 / (int)imk_dtype_bytes(type);

    return (channels + unit - 1) / unit * unit;
}

/* Of 16-bit pixels: half a vector, so that the first convolution reads half as much, where cuDNN has engines for that. */
static int input_pitch(struct tr_backend *b, enum imk_dtype type)
{
    const int wide = padded(type, 3);

    if (b->input_pitch == 0)
        b->input_pitch = wide > 4 && (!b->has_narrow_input || b->has_narrow_input(b, type)) ? 4 : wide;
    return b->input_pitch;
}

static size_t aligned(size_t bytes)
{
    return (bytes + TR_CUDA_SAVE_ALIGN - 1) / TR_CUDA_SAVE_ALIGN * TR_CUDA_SAVE_ALIGN;
}

size_t tr_cuda_mask_at(const struct tr_op *op)
{
    return aligned(2 * (size_t)op->x.c * sizeof(float) + (op->synced ? sizeof(double) : 0));
}

static size_t pixels_of(struct tr_shape s)
{
    return (size_t)s.n * (size_t)s.h * (size_t)s.w;
}

static size_t save_bytes(const struct tr_op *op, int pitch)
{
    if (!op->training)
        return 0;
    switch (op->kind) {
    case TR_OP_BN:
        if (op->pools)
            return tr_cuda_mask_at(op) + tr_cuda_elements(op->y, pitch);
        return tr_cuda_mask_at(op) + (op->relu ? imk_cuda_mask_bytes(pixels_of(op->x), (size_t)pitch) : 0);
    case TR_OP_MAXPOOL:
        return tr_cuda_elements(op->y, pitch);
    case TR_OP_ADD:
        return op->relu ? imk_cuda_mask_bytes(1, tr_cuda_elements(op->x, pitch)) : 0;
    default:
        return 0;
    }
}

/* Pixels have three buffers; packed weights and gradients in repacking take the type and fp32. */
static size_t own_bytes(const struct tr_op *op, int x_pitch, int y_pitch)
{
    const size_t taps = op->kind == TR_OP_CONV ? (size_t)op->kernel * (size_t)op->kernel : 1;
    const size_t weights = (size_t)x_pitch * (size_t)y_pitch * taps;

    if (op->kind == TR_OP_INPUT)
        return 3 * 3 * pixels_of(op->x);
    if (op->kind == TR_OP_CONV || op->kind == TR_OP_FC)
        return weights * 2 * sizeof(float) + (1 << 16);
    return 0;
}

int tr_cuda_measure(struct tr_backend *b, const struct tr_op *op, struct tr_plan_info *ret_info)
{
    const bool logits = op->kind == TR_OP_FC || op->kind == TR_OP_LOSS;
    const enum imk_dtype type = op->precision;
    const struct tr_layout *x, *y, *given = logits ? NULL : op->x_layout;

    if (op->kind == TR_OP_LOSS)
        x = tr_cuda_layout(b, IMK_F32, op->x.c);
    else
        x = given ? given : tr_cuda_layout(b, type, padded(type, op->x.c));
    if (op->kind == TR_OP_INPUT)
        y = tr_cuda_layout(b, type, input_pitch(b, type));
    else
        y = logits ? tr_cuda_layout(b, IMK_F32, op->y.c) : tr_cuda_layout(b, type, padded(type, op->y.c));
    if (!x || !y)
        return -ENOMEM;
    *ret_info = (struct tr_plan_info){
        .x_layout = x,
        .y_layout = y,
        .x_bytes = op->kind == TR_OP_INPUT ? 0 : tr_cuda_elements(op->x, x->pitch) * imk_dtype_bytes(x->type),
        .y_bytes = op->kind == TR_OP_LOSS ? 0 : tr_cuda_elements(op->y, y->pitch) * imk_dtype_bytes(y->type),
        .save_bytes = save_bytes(op, y->pitch),
        .own_bytes = own_bytes(op, x->pitch, y->pitch),
        .keeps_x =
            op->training &&
            ((!op->frozen && (op->kind == TR_OP_CONV || op->kind == TR_OP_BN || op->kind == TR_OP_FC)) ||
             op->kind == TR_OP_GELU),
        .y_may_be_x = op->kind == TR_OP_ADD || op->kind == TR_OP_DROPPATH ||
                      (op->kind == TR_OP_BN && (!op->training || op->frozen) && !op->pools),
        .dx_may_be_dy = op->kind == TR_OP_ADD || op->kind == TR_OP_DROPPATH || op->kind == TR_OP_GELU,
    };
    return 0;
}

/* ---- a GPU that is only described ---- */

static int open_described(int threads, struct tr_backend **ret_backend, struct im_text *text)
{
    (void)threads;
    *ret_backend = calloc(1, sizeof **ret_backend);
    return *ret_backend ? 0 : im_fail(text, -ENOMEM, "no memory for a backend");
}

static void close_described(struct tr_backend *b)
{
    if (b)
        tr_cuda_layouts_free(b);
    free(b);
}

const struct tr_backend_ops tr_cuda_described = {
    .version = TR_BACKEND_VERSION,
    .name = "cuda",
    .precisions = 1 << IMK_F32 | 1 << IMK_BF16 | 1 << IMK_F16,
    .fuses = TR_CUDA_FUSES,
    .open = open_described,
    .close = close_described,
    .measure = tr_cuda_measure,
};
