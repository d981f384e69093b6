/* The training step of trainer/backends/step.h on streams, events and captured graphs. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "kernels/cuda/arena.h"
#include "trainer/backends/cuda/impl.h"

#define SUM_FLOATS ((size_t)8 << 20) /* 32 MiB: enough for the bandwidth, small enough to overlap */

struct tr_captured_graph {
    struct tr_gpu_graph *gpu;
    uint64_t generation;
};

static int empty_batch(struct tr_backend *b, float *g, size_t count)
{
    int err = tr_gpu_zero(b->gpu, TR_GPU_COMPUTE, g, count * sizeof *g);

    return err < 0 ? err : tr_gpu_zero(b->gpu, TR_GPU_COMPUTE, &b->results->tally, sizeof b->results->tally);
}

/* ---- gradients of weights that are made apart ---- */

int tr_cuda_dw_begin(struct tr_backend *b)
{
    int err = tr_gpu_event_record(b->gpu, b->to_weights, TR_GPU_COMPUTE);

    return err < 0 ? err : tr_gpu_wait(b->gpu, TR_GPU_WEIGHTS, b->to_weights);
}

int tr_cuda_dw_end(struct tr_backend *b)
{
    im_assert(b->dw_begun - b->dw_awaited < TR_CUDA_DW_MOST); /* an event that nothing waits for any more */
    return tr_gpu_event_record(b->gpu, b->dw_done[b->dw_begun++ % TR_CUDA_DW_MOST], TR_GPU_WEIGHTS);
}

static int await_dw(struct tr_backend *b, int behind)
{
    const int awaited = b->dw_begun - behind;
    int err = 0;

    if (awaited > b->dw_awaited) {
        err = tr_gpu_wait(b->gpu, TR_GPU_COMPUTE, b->dw_done[(awaited - 1) % TR_CUDA_DW_MOST]);
        b->dw_awaited = awaited;
    }
    if (behind == 0)
        b->dw_begun = b->dw_awaited = 0;
    return err;
}

/* ---- sums over ranks ---- */

static void set_ranks(struct tr_backend *b, const struct tr_rank_sum *ranks)
{
    b->ranks = ranks;
}

/* COMM waits for COMPUTE. */
static int comm_branch(struct tr_backend *b)
{
    int err = tr_gpu_event_record(b->gpu, b->to_comm, TR_GPU_COMPUTE);

    return err < 0 ? err : tr_gpu_wait(b->gpu, TR_GPU_COMM, b->to_comm);
}

static int sum(struct tr_backend *b, float *x, size_t count)
{
    int err;

    if (!b->ranks)
        return 0;
    err = comm_branch(b);
    if (err == 0 && b->dw_begun > b->dw_awaited) /* part of the sum may be made on WEIGHTS */
        err = tr_gpu_wait(b->gpu, TR_GPU_COMM, b->dw_done[(b->dw_begun - 1) % TR_CUDA_DW_MOST]);
    return err < 0 ? err
                   : b->ranks->sum(b->ranks->context, x, count, false, tr_gpu_stream(b->gpu, TR_GPU_COMM));
}

/* COMPUTE waits for COMM. */
static int comm_join(struct tr_backend *b)
{
    int err = tr_gpu_event_record(b->gpu, b->from_comm, TR_GPU_COMM);

    return err < 0 ? err : tr_gpu_wait(b->gpu, TR_GPU_COMPUTE, b->from_comm);
}

int tr_cuda_sum_and_wait(struct tr_backend *b, void *x, size_t count, bool is_double)
{
    int err;

    if (!b->ranks)
        return 0;
    err = comm_branch(b);
    if (err == 0)
        err = b->ranks->sum(b->ranks->context, x, count, is_double, tr_gpu_stream(b->gpu, TR_GPU_COMM));
    return err == 0 ? comm_join(b) : err;
}

static int sum_tally(struct tr_backend *b)
{
    return tr_cuda_sum_and_wait(b, &b->results->tally, sizeof b->results->tally / sizeof(double), true);
}

/* Contributes zeros to the sums of the other ranks, with the shapes and order of norm_forward() and
 * norm_backward(). */
static int empty_norm(struct tr_backend *b, const struct tr_bn_sync *sync, int channels, bool forward)
{
    const size_t count = 2 * (size_t)channels + forward;
    const size_t bytes = count * (forward ? sizeof(double) : sizeof(float));
    int err = tr_cuda_buffer_grow(b, &b->scratch, bytes, false, "the ops' scratch memory", NULL);

    (void)sync;
    if (err == 0)
        err = tr_gpu_zero(b->gpu, TR_GPU_COMPUTE, b->scratch.memory, bytes);
    return err < 0 ? err : tr_cuda_sum_and_wait(b, b->scratch.memory, count, forward);
}

/* ---- the end of a window ---- */

static int decide(struct tr_backend *b, const float *g, size_t count, bool lamb)
{
    const struct tr_cuda_staged *staged = tr_cuda_staged(b);
    int err = tr_cuda_squares(b, g, count);

    if (err < 0)
        return err;
    return imk_cuda_decide(&(struct imk_cuda_decide){.hyper = &staged->hyper,
                                                     .squares = &b->results->squares,
                                                     .tally = &b->results->tally,
                                                     .verdict = &b->results->verdict,
                                                     .clip = lamb ? IMK_CUDA_CLIP_LAMB : IMK_CUDA_CLIP_NORM},
                           tr_cuda_stream(b));
}

static int update(struct tr_backend *b, const struct tr_update *u, const struct tr_averages *a)
{
    const struct imk_hyper *hyper = &tr_cuda_staged(b)->hyper;
    int err = tr_cuda_update_with(b, u, a->params, hyper, &b->results->verdict);

    if (err == 0 && a->stats)
        err = imk_cuda_lerp(&(struct imk_cuda_lerp){.y = a->stats,
                                                    .x = a->from_stats,
                                                    .count = a->stat_count,
                                                    .take = &hyper->ema_weight,
                                                    .verdict = &b->results->verdict},
                            tr_cuda_stream(b));
    return err < 0 ? err : tr_cuda_weights_pack(b);
}

static int restore(struct tr_backend *b, float *y, const float *x, size_t count)
{
    return imk_cuda_restore(
        &(struct imk_cuda_restore){.y = y, .x = x, .count = count, .verdict = &b->results->verdict},
        tr_cuda_stream(b));
}

/* The verdict of a step without a decision is not read. */
static int outcome(struct tr_backend *b)
{
    struct tr_cuda_arrival *a = &b->arrivals[b->sent % TR_CUDA_STEPS];
    int err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, a->results, b->results, sizeof *b->results);

    im_assert(b->sent - b->arrived < TR_CUDA_STEPS);
    b->sent++;
    return err < 0 ? err : tr_gpu_event_record(b->gpu, a->finished, TR_GPU_COMPUTE);
}

static int wait(struct tr_backend *b, struct tr_outcome *ret_outcome)
{
    const struct tr_cuda_arrival *a = &b->arrivals[b->arrived % TR_CUDA_STEPS];
    int done = 0, err = 0;

    im_assert(b->arrived < b->sent);
    b->arrived++;

    /* Polls the ranks: after the death of one the device, and the host, would wait for ever. */
    while (err == 0 && b->ranks && b->ranks->watch && !done) {
        done = tr_gpu_event_done(b->gpu, a->finished);
        err = done < 0 ? done : done ? 0 : b->ranks->watch(b->ranks->context);
    }
    if (err == 0)
        err = tr_gpu_event_sync(b->gpu, a->finished);
    if (err != 0)
        return err;
    *ret_outcome = (struct tr_outcome){.tally = tr_cuda_tally(&a->results->tally),
                                       .norm = a->results->verdict.norm,
                                       .skipped = a->results->verdict.skip != 0};
    return 0;
}

/* ---- captured graphs ---- */

static int capture_begin(struct tr_backend *b)
{
    return b->untuned ? -ESTALE : tr_gpu_capture_begin(b->gpu);
}

static int capture_end(struct tr_backend *b, struct tr_captured_graph **ret_recording)
{
    struct tr_captured_graph *r = calloc(1, sizeof *r);
    struct tr_gpu_graph *gpu = NULL;
    int err = tr_gpu_capture_end(b->gpu, &gpu, NULL);

    if (err == 0 && !r)
        err = -ENOMEM;
    if (err < 0) {
        tr_gpu_graph_free(b->gpu, gpu);
        free(r);
        return err;
    }
    *r = (struct tr_captured_graph){.gpu = gpu, .generation = b->generation};
    *ret_recording = r;
    return 0;
}

static int replay(struct tr_backend *b, struct tr_captured_graph *r)
{
    return r->generation == b->generation && !b->untuned ? tr_gpu_graph_launch(b->gpu, r->gpu) : -ESTALE;
}

static void captured_graph_free(struct tr_backend *b, struct tr_captured_graph *r)
{
    if (!r)
        return;
    tr_gpu_graph_free(b->gpu, r->gpu);
    free(r);
}

const struct tr_step_ops tr_cuda_step_ops = {
    .stage = tr_cuda_stage,
    .prefetch = tr_cuda_prefetch,
    .input_consumed = tr_cuda_input_consumed,
    .refresh = tr_cuda_weights_refresh,
    .empty_batch = empty_batch,
    .empty_norm = empty_norm,
    .set_ranks = set_ranks,
    .sum_floats = SUM_FLOATS,
    .sum = sum,
    .await_dw = await_dw,
    .sum_tally = sum_tally,
    .decide = decide,
    .update = update,
    .restore = restore,
    .outcome = outcome,
    .wait = wait,
    .goes_ahead = true,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .replay = replay,
    .captured_graph_free = captured_graph_free,
};
