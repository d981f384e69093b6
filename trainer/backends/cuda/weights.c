/* Repacked weights: KRSC in the plans' type with padded channels, one copy for all plans of a tensor.
 *
 * A copy records its source (address and version of the parameters), so that the averaged weights, which have
 * another address, can replace it for a validation. Plans that run one by one refresh their copy themselves.
 * A whole step on the device refreshes all copies in one launch by a table, before it begins and after its
 * update; the table lists the weights whose offset in the parameters is known, which it is once their plans
 * have run. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/backends/cuda/impl.h"

static int taps_of(const struct tr_op *op)
{
    return op->kind == TR_OP_CONV ? op->kernel * op->kernel : 1;
}

/* Bytes of the copy, rounded up to the alignment of a row, and its row. */
static size_t room_of(const struct tr_cuda_weight *w)
{
    size_t bytes = (size_t)w->rows * (size_t)w->taps * (size_t)w->pitch * imk_dtype_bytes(w->type);

    return (bytes + 63) / 64 * 64 + sizeof(struct imk_cuda_packing);
}

bool tr_cuda_weight_is_plain(const struct tr_cuda_weight *w)
{
    return w->rows == w->k && w->pitch == w->c && w->taps == 1;
}

static bool is_same(const struct tr_cuda_weight *a, const struct tr_cuda_weight *b)
{
    return a->id == b->id && a->k == b->k && a->c == b->c && a->taps == b->taps && a->rows == b->rows &&
           a->pitch == b->pitch && a->type == b->type;
}

/* Allocates the copy, followed by the row that describes it. */
static int make_room(struct tr_backend *b, struct tr_cuda_weight *w, struct im_text *text)
{
    struct imk_cuda_packing row = {.k = w->k, .c = w->c, .taps = w->taps, .pitch = w->pitch};
    int err = tr_gpu_memory_new(b->gpu, room_of(w), "repacked weights", &w->packed, text);

    if (err < 0)
        return err;
    b->private_bytes += room_of(w);
    w->blocks = imk_cuda_packing_blocks(&row, 1);
    w->row = (void *)((char *)w->packed + room_of(w) - sizeof row);
    err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, w->row, &row, sizeof row);
    if (err == 0)
        err = tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
    return err < 0 ? tr_gpu_last_error(b->gpu, text) : 0;
}

int tr_cuda_weight_get(struct tr_backend *b, const struct tr_op *op, int rows, int pitch,
                       struct tr_cuda_weight **ret_weight, struct im_text *text)
{
    const struct tr_cuda_weight wanted = {.id = op->weight_id,
                                          .users = 1,
                                          .k = op->y.c,
                                          .c = op->x.c,
                                          .taps = taps_of(op),
                                          .rows = rows,
                                          .pitch = pitch,
                                          .type = op->precision};
    struct tr_cuda_weight *w;
    int err;

    for (w = b->weights; w && wanted.id >= 0; w = w->next) {
        if (is_same(w, &wanted)) {
            w->users++;
            *ret_weight = w;
            return 0;
        }
    }
    w = malloc(sizeof *w);
    if (!w)
        return im_fail(text, -ENOMEM, "no memory for a plan");
    *w = wanted;
    err = w->type != IMK_F32 || !tr_cuda_weight_is_plain(w) ? make_room(b, w, text) : 0;
    if (err < 0) {
        free(w);
        return err;
    }
    w->next = b->weights;
    b->weights = w;
    b->table_is_old = true;
    *ret_weight = w;
    return 0;
}

void tr_cuda_weight_put(struct tr_backend *b, struct tr_cuda_weight *w)
{
    struct tr_cuda_weight **at = &b->weights;

    if (!w || --w->users > 0)
        return;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    if (w->packed)
        b->private_bytes -= room_of(w);
    tr_gpu_memory_free(b->gpu, w->packed);
    free(w);
    b->table_is_old = true;
    b->generation++;
}

/* Records the weight's offset in the parameters of the last refresh(). */
static void record_offset(struct tr_backend *b, struct tr_cuda_weight *w, const float *plain)
{
    if (w->is_placed || plain < b->params || plain >= b->params + b->param_count)
        return;
    w->is_placed = true;
    w->offset = (size_t)(plain - b->params);
    b->table_is_old = true;
}

int tr_cuda_weight_current(struct tr_backend *b, struct tr_cuda_weight *w, const struct tr_exec *e,
                           const void **ret_packed)
{
    const struct imk_cuda_pack pack = {.rows = w->row,
                                       .row_count = 1,
                                       .block_count = w->blocks,
                                       .plain = e->w,
                                       .packed = w->packed,
                                       .type = w->type};

    *ret_packed = w->packed ? w->packed : (const void *)e->w;
    if (!w->packed)
        return 0;
    record_offset(b, w, e->w);
    if (w->w == e->w && w->version == e->param_version)
        return 0;
    im_assert(!tr_gpu_is_capturing(b->gpu));
    w->w = e->w;
    w->version = e->param_version;
    return imk_cuda_pack(&pack, tr_cuda_stream(b));
}

int tr_cuda_weight_unpack(struct tr_backend *b, const struct tr_cuda_weight *w, const float *packed,
                          float *dw, enum tr_gpu_stream_id stream)
{
    return imk_cuda_unpack(
        &(struct imk_cuda_unpack){
            .rows = w->row, .row_count = 1, .block_count = w->blocks, .packed = packed, .plain = dw},
        tr_gpu_stream(b->gpu, stream));
}

/* ---- all at once ---- */

static bool is_listed(const struct tr_cuda_weight *w)
{
    return w->packed && w->is_placed;
}

/* Offsets of copies are in elements from the lowest of them. */
static uint32_t list_weights(struct tr_backend *b, struct imk_cuda_packing *rows)
{
    uint32_t count = 0;

    b->table_base = NULL;
    for (struct tr_cuda_weight *w = b->weights; w; w = w->next)
        if (is_listed(w) && (!b->table_base || (char *)w->packed < (char *)b->table_base))
            b->table_base = w->packed;
    for (struct tr_cuda_weight *w = b->weights; w; w = w->next) {
        if (!is_listed(w))
            continue;
        im_assert(count == 0 || b->table_type == w->type);
        b->table_type = w->type;
        rows[count++] = (struct imk_cuda_packing){
            .plain = w->offset,
            .packed = (size_t)((char *)w->packed - (char *)b->table_base) / imk_dtype_bytes(w->type),
            .k = w->k,
            .c = w->c,
            .taps = w->taps,
            .pitch = w->pitch};
    }
    return count;
}

static int make_table(struct tr_backend *b)
{
    struct imk_cuda_packing *rows;
    size_t weights = 0;
    int err = 0;

    if (!b->table_is_old)
        return 0;
    im_assert(!tr_gpu_is_capturing(b->gpu));
    for (struct tr_cuda_weight *w = b->weights; w; w = w->next)
        weights++;
    rows = calloc(weights + 1, sizeof *rows);
    if (!rows)
        return -ENOMEM;
    b->table_rows = list_weights(b, rows);
    b->table_blocks = imk_cuda_packing_blocks(rows, b->table_rows);
    b->generation++;
    if (b->table_rows > 0)
        err = tr_cuda_buffer_grow(b, &b->table, b->table_rows * sizeof *rows, false, "the table of weights",
                                  NULL);
    if (err == 0 && b->table_rows > 0)
        err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, b->table.memory, rows, b->table_rows * sizeof *rows);
    if (err == 0)
        err = tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
    free(rows);
    b->table_is_old = err < 0;
    return err;
}

int tr_cuda_weights_pack(struct tr_backend *b)
{
    int err = make_table(b);

    if (err < 0 || b->table_rows == 0)
        return err;
    for (struct tr_cuda_weight *w = b->weights; w; w = w->next) {
        if (!is_listed(w))
            continue;
        w->w = b->params + w->offset;
        w->version = b->param_version;
    }
    return imk_cuda_pack(&(struct imk_cuda_pack){.rows = b->table.memory,
                                                 .row_count = b->table_rows,
                                                 .block_count = b->table_blocks,
                                                 .plain = b->params,
                                                 .packed = b->table_base,
                                                 .type = b->table_type},
                         tr_cuda_stream(b));
}

int tr_cuda_weights_refresh(struct tr_backend *b, const float *params, size_t count, uint64_t version)
{
    bool stale = b->table_is_old;

    b->params = params;
    b->param_count = count;
    b->param_version = version;
    for (const struct tr_cuda_weight *w = b->weights; w; w = w->next)
        stale |= is_listed(w) && (w->w != params + w->offset || w->version != version);
    return stale ? tr_cuda_weights_pack(b) : 0;
}

void tr_cuda_weights_free(struct tr_backend *b)
{
    im_assert(!b->weights); /* all plans are gone */
    tr_cuda_buffer_free(b, &b->table, false);
}
