/* Shadows: see trainer/backends/shadow.h. The parts are copied on COMPUTE, behind the step before and ahead of the
 * next one; COPY then waits for them and takes them to pinned memory. */
#include "trainer/backends/shadow.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/base/err.h"
#include "trainer/backends/cuda/impl.h"

struct tr_shadow {
    void *device, *host;
    size_t bytes;
    struct tr_gpu_event *filled, *sent;
};

static void close_shadow(struct tr_backend *b, struct tr_shadow *s)
{
    if (!s)
        return;
    tr_gpu_sync(b->gpu, TR_GPU_COPY);
    tr_gpu_event_free(b->gpu, s->filled);
    tr_gpu_event_free(b->gpu, s->sent);
    tr_gpu_memory_free(b->gpu, s->device);
    tr_gpu_pinned_free(b->gpu, s->host);
    free(s);
}

static int open_shadow(struct tr_backend *b, size_t bytes, struct tr_shadow **ret_shadow,
                       struct im_text *text)
{
    struct tr_shadow *s = calloc(1, sizeof *s);
    int err;

    if (!s)
        return im_fail(text, -ENOMEM, "no memory for a snapshot");
    s->bytes = bytes;
    err = tr_gpu_memory_new(b->gpu, bytes, "a snapshot", &s->device, text);
    if (err == 0)
        err = tr_gpu_pinned_new(b->gpu, bytes, "a snapshot", &s->host, text);
    if (err == 0)
        err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &s->filled);
    if (err == 0)
        err = tr_gpu_event_new(b->gpu, TR_GPU_ORDER, &s->sent);
    if (err < 0) {
        close_shadow(b, s);
        return err;
    }
    *ret_shadow = s;
    return 0;
}

static void *host_of(struct tr_shadow *s)
{
    return s->host;
}

static int shadow_add(struct tr_backend *b, struct tr_shadow *s, size_t at, const void *from, size_t bytes)
{
    im_assert(at + bytes <= s->bytes);
    return tr_gpu_copy(b->gpu, TR_GPU_COMPUTE, (char *)s->device + at, from, bytes);
}

static int send_to_host(struct tr_backend *b, struct tr_shadow *s)
{
    int err = tr_gpu_event_record(b->gpu, s->filled, TR_GPU_COMPUTE);

    if (err == 0)
        err = tr_gpu_wait(b->gpu, TR_GPU_COPY, s->filled);
    if (err == 0)
        err = tr_gpu_copy(b->gpu, TR_GPU_COPY, s->host, s->device, s->bytes);
    return err < 0 ? err : tr_gpu_event_record(b->gpu, s->sent, TR_GPU_COPY);
}

static int arrived(struct tr_backend *b, struct tr_shadow *s, bool wait)
{
    int err = wait ? tr_gpu_event_sync(b->gpu, s->sent) : 0;

    return err < 0 ? err : tr_gpu_event_done(b->gpu, s->sent);
}

const struct tr_shadow_ops tr_cuda_shadow_ops = {
    .open = open_shadow,
    .close = close_shadow,
    .host = host_of,
    .add = shadow_add,
    .send = send_to_host,
    .arrived = arrived,
};
