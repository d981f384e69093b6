/* The CUDA backend: an opened GPU, its memory, and conversion of values to plain NCHW. impl.h lists the other
 * files. Part of imsuper-cuda.so.
 *
 * The backend's own memory grows while plans are made and never in a step. When memory that captured graphs
 * refer to moves, the generation is incremented, and captured graphs of an older generation are rejected. */
#include "trainer/backends/cuda/impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "kernels/cuda/pointwise.h"

#define SM_BF16 80 /* compute capability from which on GPUs have bf16 */

static void free_events(struct tr_backend *b)
{
    tr_gpu_event_free(b->gpu, b->to_comm);
    tr_gpu_event_free(b->gpu, b->from_comm);
    tr_gpu_event_free(b->gpu, b->to_weights);
    for (int i = 0; i < TR_CUDA_DW_MOST; i++)
        tr_gpu_event_free(b->gpu, b->dw_done[i]);
}

static int make_events(struct tr_backend *b)
{
    int err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &b->to_comm);

    if (err == 0)
        err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &b->from_comm);
    if (err == 0)
        err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &b->to_weights);
    for (int i = 0; i < TR_CUDA_DW_MOST && err == 0; i++)
        err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &b->dw_done[i]);
    return err;
}

static void close_gpu(struct tr_backend *b)
{
    if (!b)
        return;
    if (b->gpu) {
        tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
        tr_cuda_weights_free(b);
        tr_cuda_update_free(b);
        tr_cuda_stage_close(b);
        tr_cuda_buffer_free(b, &b->scratch, false);
        tr_cuda_buffer_free(b, &b->dw_scratch, false);
        free_events(b);
    }
    tr_blas_close(b->blas);
    tr_dnn_close(b->dnn);
    tr_gpu_close(b->gpu);
    tr_cuda_layouts_free(b);
    free(b);
}

static int progress(void *context, const char *what, int at, int of)
{
    struct tr_backend *b = context;

    (void)what;
    return b->config.progress(b->config.progress_context, at, of);
}

/* cuDNN would only say that a convolution cannot be planned. */
static int check_precision(const struct tr_gpu_properties *gpu, enum imk_dtype precision,
                           struct im_text *text)
{
    if (precision != IMK_BF16 || gpu->sm >= SM_BF16)
        return 0;
    return im_fail(
        text, -EINVAL,
        "GPU %d (%s) has compute capability %d.%d, and bf16 needs 8.0; use --amp fp16, whose loss is "
        "scaled by itself",
        gpu->index, gpu->name, gpu->sm / 10, gpu->sm % 10);
}

static int open_libraries(struct tr_backend *b, const struct tr_device_config *config, struct im_text *text)
{
    int err = tr_gpu_open(config->index, &b->gpu, text);

    if (err == 0)
        err = check_precision(tr_gpu_properties(b->gpu), config->precision, text);
    if (err == 0)
        err = tr_dnn_open(&(struct tr_dnn_config){.gpu = b->gpu,
                                                  .deterministic = config->deterministic,
                                                  .tf32 = config->tf32,
                                                  .cache = config->cache,
                                                  .recovers = config->recovers,
                                                  .progress = config->progress ? progress : NULL,
                                                  .context = b},
                          &b->dnn, text);
    if (err == 0)
        err = tr_blas_open(&(struct tr_blas_config){.gpu = b->gpu,
                                                    .deterministic = config->deterministic,
                                                    .tf32 = config->tf32},
                           &b->blas, text);
    return err;
}

static int open_device(const struct tr_device_config *config, struct tr_backend **ret_backend,
                       struct im_text *text)
{
    struct tr_backend *b = calloc(1, sizeof *b);
    int err;

    if (!b)
        return im_fail(text, -ENOMEM, "no memory for a backend");
    b->config = *config;
    b->has_narrow_input = tr_cuda_has_narrow_input;
    err = open_libraries(b, config, text);
    if (err == 0)
        err = tr_cuda_stage_open(b, text);
    if (err < 0)
        goto out;
    err = make_events(b);
    if (err < 0) {
        err = tr_gpu_last_error(b->gpu, text);
        goto out;
    }
    *ret_backend = b;
    b = NULL;
out:
    close_gpu(b);
    return err;
}

/* threads is ignored: a GPU has no host threads. */
static int open_first(int threads, struct tr_backend **ret_backend, struct im_text *text)
{
    (void)threads;
    return open_device(&(struct tr_device_config){0}, ret_backend, text);
}

/* ---- memory ---- */

void tr_cuda_buffer_free(struct tr_backend *b, struct tr_cuda_buffer *buffer, bool pinned)
{
    if (pinned) {
        tr_gpu_pinned_free(b->gpu, buffer->memory);
    } else {
        tr_gpu_memory_free(b->gpu, buffer->memory);
        b->private_bytes -= buffer->bytes;
    }
    *buffer = (struct tr_cuda_buffer){0};
}

int tr_cuda_buffer_grow(struct tr_backend *b, struct tr_cuda_buffer *buffer, size_t bytes, bool pinned,
                        const char *what, struct im_text *text)
{
    void *memory = NULL;
    int err;

    if (bytes <= buffer->bytes)
        return 0;
    im_assert(!tr_gpu_is_capturing(b->gpu));
    err = tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
    if (err < 0)
        return tr_gpu_last_error(b->gpu, text);
    tr_cuda_buffer_free(b, buffer, pinned);
    b->generation++;
    err = pinned ? tr_gpu_pinned_new(b->gpu, bytes, what, &memory, text)
                 : tr_gpu_memory_new(b->gpu, bytes, what, &memory, text);
    if (err < 0)
        return err;
    *buffer = (struct tr_cuda_buffer){.memory = memory, .bytes = bytes};
    b->private_bytes += pinned ? 0 : bytes;
    return 0;
}

static int buffer_new(struct tr_backend *b, size_t bytes, void **ret_buffer)
{
    return tr_gpu_memory_new(b->gpu, bytes, "an arena", ret_buffer, NULL);
}

static void buffer_free(struct tr_backend *b, void *buffer, size_t bytes)
{
    (void)bytes;
    tr_gpu_memory_free(b->gpu, buffer);
}

static int copy(struct tr_backend *b, void *to, const void *from, size_t bytes)
{
    int err = tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, to, from, bytes);

    return err < 0 ? err : tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
}

static int sync(struct tr_backend *b)
{
    int err = tr_gpu_sync(b->gpu, TR_GPU_COPY);

    if (err == 0)
        err = tr_gpu_sync(b->gpu, TR_GPU_WEIGHTS);
    if (err == 0)
        err = tr_gpu_sync(b->gpu, TR_GPU_COMM);
    return err < 0 ? err : tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
}

static int host_pin(struct tr_backend *b, void *memory, size_t bytes, struct im_text *text)
{
    return tr_gpu_pin(b->gpu, memory, bytes, true, text);
}

/* No copy from this memory may be pending. */
static void host_unpin(struct tr_backend *b, void *memory)
{
    tr_gpu_sync(b->gpu, TR_GPU_COPY);
    b->prefetched = NULL;
    tr_gpu_unpin(b->gpu, memory);
}

static int tune(struct tr_backend *b, void *scratch, size_t bytes, struct im_text *text)
{
    const struct tr_dnn_scratch lent = {.memory = scratch, .bytes = bytes};
    bool moved = false;
    int err = b->untuned ? tr_dnn_tune(b->dnn, &lent, &moved, text) : 0;

    b->generation += moved;
    b->untuned &= err < 0;
    return err;
}

static int trouble(struct tr_backend *b, struct im_text *text)
{
    return tr_gpu_last_error(b->gpu, text);
}

/* Bytes by which a workspace of cuDNN may still grow. */
static size_t growth_of(size_t workspace)
{
    return workspace < TR_DNN_WORKSPACE ? TR_DNN_WORKSPACE - workspace : 0;
}

/* Bytes available for an arena: cuDNN's workspaces may still grow to their limit. */
static size_t memory_left(struct tr_backend *b)
{
    struct tr_dnn_stats stats;
    size_t left = 0, kept;

    tr_dnn_stats(b->dnn, &stats);
    kept = TR_CUDA_HEADROOM + growth_of(stats.workspace_bytes) +
           (b->config.dw_apart ? growth_of(stats.apart_bytes) : 0);
    if (tr_gpu_memory_left(b->gpu, &left) < 0)
        return 0;
    return left > kept ? left - kept : 1; /* 0 would mean unknown */
}

static size_t private_bytes(struct tr_backend *b)
{
    struct tr_dnn_stats stats;

    tr_dnn_stats(b->dnn, &stats);
    return b->private_bytes + 2 * b->pixels.bytes + stats.workspace_bytes + stats.apart_bytes;
}

/* ---- values ---- */

/* Between NCHW and NHWC with padding, both fp32. */
static void transpose(struct tr_shape s, int pitch, float *nchw, float *nhwc, bool in)
{
    for (size_t n = 0; n < (size_t)s.n; n++) {
        for (size_t c = 0; c < (size_t)s.c; c++) {
            for (size_t i = 0; i < (size_t)s.h * (size_t)s.w; i++) {
                size_t area = (size_t)s.h * (size_t)s.w;
                float *plain = nchw + (n * (size_t)s.c + c) * area + i;
                float *packed = nhwc + (n * area + i) * (size_t)pitch + c;

                *(in ? packed : plain) = *(in ? plain : packed);
            }
        }
    }
}

static int cast(struct tr_backend *b, size_t count, enum imk_dtype from_type, const void *from,
                enum imk_dtype to_type, void *to)
{
    return imk_cuda_cast(
        &(struct imk_cuda_cast){.count = count, .x_type = from_type, .y_type = to_type, .x = from, .y = to},
        tr_cuda_stream(b));
}

static int exchange(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape, float *nchw,
                    void *value, bool in)
{
    const size_t count = tr_cuda_elements(shape, layout->pitch), bytes = count * sizeof(float);
    float *host = calloc(count, sizeof(float));
    void *device = NULL;
    int err = host ? tr_gpu_memory_new(b->gpu, bytes, "a value", &device, NULL) : -ENOMEM;

    if (err == 0 && in) {
        transpose(shape, layout->pitch, nchw, host, true);
        err = copy(b, device, host, bytes);
        if (err == 0)
            err = cast(b, count, IMK_F32, device, layout->type, value);
    } else if (err == 0) {
        err = cast(b, count, layout->type, value, IMK_F32, device);
        if (err == 0)
            err = copy(b, host, device, bytes);
        transpose(shape, layout->pitch, nchw, host, false);
    }
    if (err == 0)
        err = tr_gpu_sync(b->gpu, TR_GPU_COMPUTE);
    tr_gpu_memory_free(b->gpu, device);
    free(host);
    return err;
}

static int value_in(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                    const float *nchw, void *value)
{
    return exchange(b, layout, shape, (float *)(uintptr_t)nchw, value, true);
}

static int value_out(struct tr_backend *b, const struct tr_layout *layout, struct tr_shape shape,
                     const void *value, float *nchw)
{
    return exchange(b, layout, shape, nchw, (void *)(uintptr_t)value, false);
}

const struct tr_backend_ops tr_backend_cuda = {
    .version = TR_BACKEND_VERSION,
    .name = "cuda",
    .precisions = 1 << IMK_F32 | 1 << IMK_BF16 | 1 << IMK_F16,
    .fuses = TR_CUDA_FUSES,
    .open = open_first,
    .open_device = open_device,
    .close = close_gpu,
    .buffer_new = buffer_new,
    .buffer_free = buffer_free,
    .copy_in = copy,
    .copy_out = copy,
    .plan = tr_cuda_plan,
    .plan_free = tr_cuda_plan_free,
    .forward = tr_cuda_forward,
    .backward = tr_cuda_backward,
    .update = tr_cuda_update,
    .lerp = tr_cuda_lerp,
    .add = tr_cuda_add,
    .sum_squares = tr_cuda_sum_squares,
    .sync = sync,
    .tune = tune,
    .last_error = trouble,
    .step = &tr_cuda_step_ops,
    .shadow = &tr_cuda_shadow_ops,
    .value_in = value_in,
    .value_out = value_out,
    .private_bytes = private_bytes,
    .memory_left = memory_left,
    .measure = tr_cuda_measure,
    .plan_kernel = tr_cuda_plan_kernel,
    .host_pin = host_pin,
    .host_unpin = host_unpin,
};
