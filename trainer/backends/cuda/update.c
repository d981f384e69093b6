/* Arena functions: the optimiser's step, averages, sums. Kernels read their numbers from device memory;
 * decisions of the host are staged like the inputs of a step. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "kernels/cuda/arena.h"
#include "kernels/hyper.h"
#include "trainer/backends/cuda/impl.h"

static enum imk_cuda_optimizer kind_of(enum im_optimizer kind)
{
    switch (kind) {
    case IM_OPTIMIZER_SGD:
        return IMK_CUDA_SGD;
    case IM_OPTIMIZER_ADAMW:
        return IMK_CUDA_ADAMW;
    case IM_OPTIMIZER_LARS:
        return IMK_CUDA_LARS;
    case IM_OPTIMIZER_LAMB:
        break;
    }
    return IMK_CUDA_LAMB;
}

static uint32_t fill_tables(const struct tr_span *spans, size_t count, struct imk_cuda_span *table,
                            struct imk_cuda_chunk *chunks)
{
    uint32_t used = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t n =
            imk_cuda_span_chunks(spans[i].first, spans[i].count, (uint32_t)i, chunks ? chunks + used : NULL);

        if (table)
            table[i] = (struct imk_cuda_span){.first_chunk = used,
                                              .chunk_count = n,
                                              .decays = spans[i].decays,
                                              .rate = spans[i].rate,
                                              .since = spans[i].since};
        used += n;
    }
    return used;
}

static int upload(struct tr_backend *b, const struct tr_span *spans, size_t count)
{
    const uint32_t chunks = fill_tables(spans, count, NULL, NULL);
    struct imk_cuda_span *span_table = calloc(count + 1, sizeof *span_table);
    struct imk_cuda_chunk *chunk_table = calloc((size_t)chunks + 1, sizeof *chunk_table);
    struct tr_span *kept = calloc(count + 1, sizeof *kept);
    int err = span_table && chunk_table && kept ? 0 : -ENOMEM;

    if (err == 0)
        err = tr_cuda_buffer_grow(b, &b->span_table, (count + 1) * sizeof *span_table, false,
                                  "the update's table", NULL);
    if (err == 0)
        err = tr_cuda_buffer_grow(b, &b->chunk_table, ((size_t)chunks + 1) * sizeof *chunk_table, false,
                                  "the update's table", NULL);
    if (err == 0) {
        fill_tables(spans, count, span_table, chunk_table);
        memcpy(kept, spans, count * sizeof *kept);
        err =
            tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, b->span_table.memory, span_table, count * sizeof *span_table);
    }
    if (err == 0)
        err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, b->chunk_table.memory, chunk_table,
                          chunks * sizeof *chunk_table);
    if (err == 0)
        err = tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
    free(span_table);
    free(chunk_table);
    free(b->spans);
    b->spans = err == 0 ? kept : NULL;
    b->span_count = err == 0 ? count : 0;
    b->chunk_count = chunks;
    b->generation++;
    if (err < 0)
        free(kept);
    return err;
}

static bool is_same(const struct tr_span *a, const struct tr_span *b)
{
    return a->first == b->first && a->count == b->count && a->decays == b->decays && a->since == b->since &&
           !(a->rate < b->rate || a->rate > b->rate);
}

static bool is_known(const struct tr_backend *b, const struct tr_update *u)
{
    if (!b->spans || b->span_count != u->span_count)
        return false;
    for (size_t i = 0; i < u->span_count; i++)
        if (!is_same(&b->spans[i], &u->spans[i]))
            return false;
    return true;
}

int tr_cuda_update_with(struct tr_backend *b, const struct tr_update *u, float *ema,
                        const struct imk_hyper *hyper, const struct imk_cuda_verdict *verdict)
{
    struct imk_cuda_update a = {.kind = kind_of(u->kind),
                                .w = u->w,
                                .m = u->m,
                                .v = u->v,
                                .ema = ema,
                                .g = u->g,
                                .hyper = hyper,
                                .verdict = verdict};
    int err = 0;

    if (!is_known(b, u)) {
        im_assert(!tr_gpu_is_capturing(b->gpu));
        err = upload(b, u->spans, u->span_count);
    }
    if (err == 0 && !tr_gpu_is_capturing(b->gpu))
        err = tr_cuda_buffer_grow(b, &b->update_scratch,
                                  imk_cuda_update_scratch(a.kind, b->chunk_count, (uint32_t)u->span_count),
                                  false, "the update's scratch memory", NULL);
    a.spans = b->span_table.memory;
    a.chunks = b->chunk_table.memory;
    a.span_count = (uint32_t)u->span_count;
    a.chunk_count = b->chunk_count;
    a.scratch = b->update_scratch.memory;
    return err < 0 ? err : imk_cuda_update(&a, tr_cuda_stream(b));
}

int tr_cuda_update(struct tr_backend *b, const struct tr_update *u)
{
    const double t = (double)(u->hyper->updates + 1);
    const struct imk_cuda_verdict verdict = {.grad_scale = u->grad_scale,
                                             .correction1 = 1 / (1 - pow(u->hyper->momentum, t)),
                                             .root2 = 1 / sqrt(1 - pow(u->hyper->beta2, t))};
    int err = tr_cuda_stage_update(b, u->hyper, &verdict);

    return err < 0 ? err
                   : tr_cuda_update_with(b, u, NULL, &tr_cuda_staged(b)->hyper, &tr_cuda_staged(b)->plain);
}

int tr_cuda_lerp(struct tr_backend *b, float *y, const float *x, double k, size_t count)
{
    return imk_cuda_lerp(&(struct imk_cuda_lerp){.y = y, .x = x, .count = count, .k = k}, tr_cuda_stream(b));
}

int tr_cuda_add(struct tr_backend *b, float *y, const float *x, size_t count)
{
    return imk_cuda_arena_add(&(struct imk_cuda_arena_add){.y = y, .x = x, .count = count},
                              tr_cuda_stream(b));
}

int tr_cuda_squares(struct tr_backend *b, const float *x, size_t count)
{
    return imk_cuda_sum_squares(
        &(struct imk_cuda_sum_squares){
            .x = x, .count = count, .scratch = b->sum_scratch, .squares = &b->results->squares},
        tr_cuda_stream(b));
}

int tr_cuda_sum_squares(struct tr_backend *b, const float *x, size_t count, double *ret_sum)
{
    int err = tr_cuda_squares(b, x, count);

    if (err == 0)
        err = tr_cuda_fetch(b);
    *ret_sum = b->outcome->squares;
    return err;
}

void tr_cuda_update_free(struct tr_backend *b)
{
    tr_cuda_buffer_free(b, &b->span_table, false);
    tr_cuda_buffer_free(b, &b->chunk_table, false);
    tr_cuda_buffer_free(b, &b->update_scratch, false);
    free(b->spans);
}
