/* Inputs of a step from the host, and its results. Small inputs go through one pinned block and one copy on
 * COMPUTE. Pixels are copied on COPY to one of two slots, and from there, on the device, to the address that
 * captured graphs read: that copy takes a thousandth of a step, and one captured graph serves both slots.
 *
 * Waits: the pinned block is rewritten after its last copy has run, which is when the step before begins. A slot is
 * refilled after it was read. */
#include <errno.h>
#include <string.h>

#include "ipc/base/err.h"
#include "kernels/cuda/arena.h"
#include "trainer/backends/cuda/impl.h"

#define PART_ALIGN ((size_t)256)

static size_t aligned(size_t bytes)
{
    return (bytes + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
}

static int open_landing(struct tr_backend *b, struct tr_cuda_pixel_slot *l)
{
    int err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &l->filled);

    return err < 0 ? err : tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &l->read);
}

static int open_arrival(struct tr_backend *b, struct tr_cuda_arrival *a, struct im_text *text)
{
    int err = tr_gpu_pinned_new(b->gpu, sizeof *a->results, "a step's results", (void **)&a->results, text);

    if (err < 0)
        return err;
    err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &a->finished);
    return err < 0 ? tr_gpu_last_error(b->gpu, text) : 0;
}

int tr_cuda_stage_open(struct tr_backend *b, struct im_text *text)
{
    int err = tr_gpu_memory_new(b->gpu, sizeof *b->results, "a step's results", (void **)&b->results, text);

    if (err == 0)
        err = tr_gpu_memory_new(b->gpu, IMK_CUDA_SUM_SCRATCH, "a sum", (void **)&b->sum_scratch, text);
    if (err == 0)
        err = tr_gpu_pinned_new(b->gpu, sizeof *b->outcome, "a step's results", (void **)&b->outcome, text);
    for (int i = 0; i < TR_CUDA_STEPS && err == 0; i++)
        err = open_arrival(b, &b->arrivals[i], text);
    if (err < 0)
        return err;
    err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &b->staged_read);
    for (int i = 0; i < 2 && err == 0; i++)
        err = open_landing(b, &b->pixel_slots[i]);
    return err < 0 ? tr_gpu_last_error(b->gpu, text) : 0;
}

void tr_cuda_stage_close(struct tr_backend *b)
{
    for (int i = 0; i < 2; i++) {
        tr_gpu_event_free(b->gpu, b->pixel_slots[i].filled);
        tr_gpu_event_free(b->gpu, b->pixel_slots[i].read);
        tr_gpu_memory_free(b->gpu, b->pixel_slots[i].memory);
    }
    for (int i = 0; i < TR_CUDA_STEPS; i++) {
        tr_gpu_event_free(b->gpu, b->arrivals[i].finished);
        tr_gpu_pinned_free(b->gpu, b->arrivals[i].results);
    }
    tr_gpu_event_free(b->gpu, b->staged_read);
    tr_gpu_memory_free(b->gpu, b->results);
    tr_gpu_memory_free(b->gpu, b->sum_scratch);
    tr_gpu_pinned_free(b->gpu, b->outcome);
    tr_cuda_buffer_free(b, &b->pixels, false);
    tr_cuda_buffer_free(b, &b->staged, false);
    tr_cuda_buffer_free(b, &b->staged_host, true);
}

const struct tr_cuda_staged *tr_cuda_staged(const struct tr_backend *b)
{
    return b->staged.memory;
}

/* ---- pixels ---- */

int tr_cuda_reserve_pixels(struct tr_backend *b, size_t bytes, struct im_text *text)
{
    int err = 0;

    if (bytes <= b->pixels.bytes)
        return 0;
    err = tr_gpu_sync(b->gpu, TR_GPU_COPY);
    b->prefetched = NULL;
    for (int i = 0; i < 2 && err == 0; i++) {
        tr_gpu_memory_free(b->gpu, b->pixel_slots[i].memory);
        b->pixel_slots[i].memory = NULL;
        err = tr_gpu_memory_new(b->gpu, bytes, "the pixels of a batch", &b->pixel_slots[i].memory, text);
    }
    if (err == 0)
        err = tr_cuda_buffer_grow(b, &b->pixels, bytes, false, "the pixels of a batch", text);
    return err;
}

/* Starts to fill the slot that is not in use. */
static int fill_slot(struct tr_backend *b, const uint8_t *pixels, size_t bytes)
{
    struct tr_cuda_pixel_slot *l = &b->pixel_slots[!b->pixel_slot];
    int err = bytes <= b->pixels.bytes ? 0 : -EINVAL;

    if (err == 0)
        err = tr_gpu_wait(b->gpu, TR_GPU_COPY, l->read);
    if (err == 0)
        err = tr_gpu_copy(b->gpu, TR_GPU_COPY, l->memory, pixels, bytes);
    return err < 0 ? err : tr_gpu_event_record(b->gpu, l->filled, TR_GPU_COPY);
}

int tr_cuda_prefetch(struct tr_backend *b, const uint8_t *pixels, size_t bytes)
{
    int err = b->prefetched ? tr_gpu_sync(b->gpu, TR_GPU_COPY) : 0;

    b->prefetched = NULL;
    if (err < 0 || bytes > b->pixels.bytes) /* a batch without a plan yet is copied when it is staged */
        return err;
    err = fill_slot(b, pixels, bytes);
    if (err < 0)
        return err;
    b->prefetched = pixels;
    b->prefetched_bytes = bytes;
    return 0;
}

static int take_pixels(struct tr_backend *b, const struct tr_inputs *in)
{
    struct tr_cuda_pixel_slot *l = &b->pixel_slots[!b->pixel_slot];
    int err = 0;

    if (b->prefetched != in->pixels || b->prefetched_bytes != in->pixel_bytes) {
        if (b->prefetched) /* prefetched for a step that never ran; its memory may be reused */
            err = tr_gpu_sync(b->gpu, TR_GPU_COPY);
        if (err == 0)
            err = fill_slot(b, in->pixels, in->pixel_bytes);
    }
    b->prefetched = NULL;
    b->pixel_slot = !b->pixel_slot;
    if (err == 0)
        err = tr_gpu_wait(b->gpu, TR_GPU_COMPUTE, l->filled);
    if (err == 0)
        err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, b->pixels.memory, l->memory, in->pixel_bytes);
    return err < 0 ? err : tr_gpu_event_record(b->gpu, l->read, TR_GPU_COMPUTE);
}

int tr_cuda_input_consumed(struct tr_backend *b)
{
    return tr_gpu_event_done(b->gpu, b->pixel_slots[b->pixel_slot].filled);
}

/* ---- the block ---- */

static struct imk_cuda_mix mix_of(const struct tr_mix *mix)
{
    struct imk_cuda_mix m = {.lambda = 1, .kind = IMK_CUDA_MIX_NONE};

    if (!mix || mix->kind == TR_MIX_NONE)
        return m;
    m.lambda = mix->lambda;
    m.kind = mix->kind == TR_MIX_UP ? IMK_CUDA_MIX_UP : IMK_CUDA_MIX_CUT;
    m.y0 = mix->y0;
    m.y1 = mix->y1;
    m.x0 = mix->x0;
    m.x1 = mix->x1;
    return m;
}

static void fill_block(struct tr_backend *b, const struct tr_inputs *in)
{
    char *at = b->staged_host.memory;
    struct tr_cuda_staged *s = b->staged_host.memory;

    memset(s, 0, sizeof *s);
    s->mix = mix_of(in->mix);
    s->terms = (struct imk_cuda_loss_terms){.smoothing = (double)in->smoothing, .divisor = in->divisor};
    if (in->hyper)
        s->hyper = *in->hyper;
    if (in->if_skipped) {
        s->hyper_if_skipped = in->if_skipped->hyper;
        s->divisor_if_skipped = in->if_skipped->divisor;
    }
    if (in->labels) {
        memcpy(at + b->labels_at, in->labels, (size_t)in->n * sizeof *in->labels);
        if (in->valid)
            memcpy(at + b->valid_at, in->valid, (size_t)in->n);
        else
            memset(at + b->valid_at, 1, (size_t)in->n);
    }
    if (in->scales)
        memcpy(at + b->scales_at, in->scales, in->scale_count * sizeof *in->scales);
}

/* Grows the block; on return the pinned block may be written. */
static int prepare_block(struct tr_backend *b, size_t bytes)
{
    int err = b->staged.memory ? tr_gpu_event_sync(b->gpu, b->staged_read) : 0;

    if (err == 0)
        err = tr_cuda_buffer_grow(b, &b->staged, bytes, false, "a step's inputs", NULL);
    return err < 0 ? err : tr_cuda_buffer_grow(b, &b->staged_host, bytes, true, "a step's inputs", NULL);
}

static int send_block(struct tr_backend *b, size_t bytes)
{
    int err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, b->staged.memory, b->staged_host.memory, bytes);

    return err < 0 ? err : tr_gpu_event_record(b->gpu, b->staged_read, TR_GPU_COMPUTE);
}

/* The step before is ahead of this in the stream: its verdict is there. */
static int choose(struct tr_backend *b)
{
    struct tr_cuda_staged *s = b->staged.memory;

    return imk_cuda_choose(&(struct imk_cuda_choose){.before = &b->results->verdict,
                                                     .hyper_if_skipped = &s->hyper_if_skipped,
                                                     .divisor_if_skipped = &s->divisor_if_skipped,
                                                     .hyper = &s->hyper,
                                                     .terms = &s->terms},
                           tr_cuda_stream(b));
}

int tr_cuda_stage(struct tr_backend *b, const struct tr_inputs *in)
{
    const size_t n = in->labels ? (size_t)in->n : 0;
    const size_t labels_at = aligned(sizeof(struct tr_cuda_staged));
    const size_t valid_at = labels_at + aligned(n * sizeof *in->labels);
    const size_t scales_at = valid_at + aligned(n);
    const size_t bytes = scales_at + aligned(in->scale_count * sizeof *in->scales);
    int err = prepare_block(b, bytes);

    if (err < 0)
        return err;
    b->labels_at = labels_at;
    b->valid_at = valid_at;
    b->scales_at = scales_at;
    b->scales = in->scales;
    fill_block(b, in);
    if (!in->if_skipped)
        b->arrived = b->sent; /* one that could not be waited for is none */
    err = send_block(b, bytes);
    if (err == 0 && in->if_skipped)
        err = choose(b);
    return err == 0 && in->pixels ? take_pixels(b, in) : err;
}

int tr_cuda_stage_update(struct tr_backend *b, const struct imk_hyper *hyper,
                         const struct imk_cuda_verdict *verdict)
{
    struct tr_cuda_staged *s;
    int err = prepare_block(b, sizeof *s);

    if (err < 0)
        return err;
    s = b->staged_host.memory;
    memset(s, 0, sizeof *s);
    s->hyper = *hyper;
    s->plain = *verdict;
    return send_block(b, sizeof *s);
}

/* ---- results ---- */

int tr_cuda_fetch(struct tr_backend *b)
{
    int err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, b->outcome, b->results, sizeof *b->results);

    return err < 0 ? err : tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
}

struct tr_tally tr_cuda_tally(const struct imk_cuda_tally *t)
{
    return (struct tr_tally){.loss_sum = t->loss_sum,
                             .valid = (uint32_t)t->valid,
                             .top1 = (uint32_t)t->top1,
                             .top5 = (uint32_t)t->top5};
}
