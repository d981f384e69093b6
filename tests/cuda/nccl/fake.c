#include "tests/cuda/nccl/fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/backends/cuda/device.h"

enum { QUEUE_MAX = 256 };

struct CUstream_st {
    struct {
        fake_work *work;
        void *argument;
    } queue[QUEUE_MAX];
    int begun, ended; /* of all work ever: a ring */
};
struct tr_gpu {
    struct CUstream_st lanes[TR_GPU_STREAMS];
};
struct tr_gpu_event {
    struct CUstream_st *stream;
    int after;
};
struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

void fake_enqueue(struct CUstream_st *s, fake_work *work, void *argument)
{
    im_assert(s->ended - s->begun < QUEUE_MAX);
    s->queue[s->ended % QUEUE_MAX].work = work;
    s->queue[s->ended++ % QUEUE_MAX].argument = argument;
}

static void move_on(struct CUstream_st *s)
{
    while (s->begun < s->ended &&
           s->queue[s->begun % QUEUE_MAX].work(s->queue[s->begun % QUEUE_MAX].argument))
        s->begun++;
}

int tr_gpu_open(int index, struct tr_gpu **ret_gpu, struct im_text *text)
{
    if (index < 0)
        return im_fail(text, -ENODEV, "there is no GPU %d", index);
    *ret_gpu = calloc(1, sizeof **ret_gpu);
    return *ret_gpu ? 0 : -ENOMEM;
}

/* What was never done goes with it. */
void tr_gpu_close(struct tr_gpu *g)
{
    for (int lane = 0; g && lane < TR_GPU_STREAMS; lane++)
        for (struct CUstream_st *s = &g->lanes[lane]; s->begun < s->ended; s->begun++)
            free(s->queue[s->begun % QUEUE_MAX].argument);
    free(g);
}

struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    return &g->lanes[lane];
}

int tr_gpu_last_error(struct tr_gpu *g, struct im_text *text)
{
    (void)g;
    return im_fail(text, -EIO, "the GPU has fallen off the bus");
}

int tr_gpu_memory_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret, struct im_text *text)
{
    (void)g, (void)what, (void)text;
    *ret = calloc(1, bytes);
    return *ret ? 0 : -ENOMEM;
}

void tr_gpu_memory_free(struct tr_gpu *g, void *memory)
{
    (void)g;
    free(memory);
}

static bool do_copy(void *argument)
{
    struct copy *c = argument;

    memcpy(c->to, c->from, c->bytes);
    free(c);
    return true;
}

int tr_gpu_copy(struct tr_gpu *g, enum tr_gpu_stream_id lane, void *to, const void *from, size_t bytes)
{
    struct copy *c = malloc(sizeof *c);

    *c = (struct copy){to, from, bytes};
    fake_enqueue(&g->lanes[lane], do_copy, c);
    return 0;
}

int tr_gpu_event_new(struct tr_gpu *g, enum tr_gpu_event_kind kind, struct tr_gpu_event **ret)
{
    (void)g, (void)kind;
    *ret = calloc(1, sizeof **ret);
    return *ret ? 0 : -ENOMEM;
}

void tr_gpu_event_free(struct tr_gpu *g, struct tr_gpu_event *e)
{
    (void)g;
    free(e);
}

int tr_gpu_event_record(struct tr_gpu *g, struct tr_gpu_event *e, enum tr_gpu_stream_id lane)
{
    *e = (struct tr_gpu_event){.stream = &g->lanes[lane], .after = g->lanes[lane].ended};
    return 0;
}

int tr_gpu_event_done(struct tr_gpu *g, struct tr_gpu_event *e)
{
    (void)g;
    move_on(e->stream);
    return e->stream->begun >= e->after;
}
