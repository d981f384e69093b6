#include "tests/cuda/unit/fake_table.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "kernels/cuda/pointwise.h"
#include "trainer/backends/cuda/cudnn.h"
#include "trainer/backends/cuda/dnn_graphs.h"

struct fake_table fake;

struct tr_gpu {
    struct tr_gpu_properties facts;
};
struct CUstream_st {
    int unused;
};
struct tr_gpu_event {
    uint64_t at;
};
struct tr_cudnn {
    const struct CUstream_st *stream;
};
struct tr_cudnn_graph {
    const struct tr_cudnn *cudnn;
    int way;
    bool adds;
};
struct tr_cudnn_plan {
    const struct tr_cudnn *cudnn;
    const struct fake_engine *engine;
    bool adds;
    size_t x_bytes;
    char name[8];
};

struct tr_gpu fake_gpu = {.facts = {.name = "NVIDIA Table", .l2_bytes = 1000, .sm = 90, .sm_count = 1}};

/* ---- the GPU ---- */

const struct tr_gpu_properties *tr_gpu_properties(const struct tr_gpu *g)
{
    return &g->facts;
}

struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    static struct CUstream_st streams[TR_GPU_STREAMS];

    (void)g;
    return &streams[lane];
}

int tr_gpu_enter(struct tr_gpu *g)
{
    (void)g;
    return 0;
}

int tr_gpu_last_error(struct tr_gpu *g, struct im_text *text)
{
    (void)g;
    return fake.broken ? im_fail(text, -EIO, "the table broke") : 0;
}

int tr_gpu_fail(struct tr_gpu *g, int err, const char *format, ...)
{
    (void)g, (void)format;
    return err;
}

/* Each block stores its size. */
int tr_gpu_memory_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text)
{
    size_t *memory;

    (void)g;
    if (fake.memory_limit && fake.memory_used + bytes > fake.memory_limit)
        return im_fail(text, -ENOMEM, "no memory for %s", what);
    memory = calloc(1, bytes + 256);
    assert_non_null(memory);
    *memory = bytes;
    fake.memory_used += bytes;
    *ret_memory = memory + 32;
    return 0;
}

void tr_gpu_memory_free(struct tr_gpu *g, void *memory)
{
    (void)g;
    if (!memory)
        return;
    fake.memory_used -= *((size_t *)memory - 32);
    free((size_t *)memory - 32);
}

int tr_gpu_copy(struct tr_gpu *g, enum tr_gpu_stream_id lane, void *to, const void *from, size_t bytes)
{
    (void)g, (void)lane;
    memcpy(to, from, bytes);
    return 0;
}

int tr_gpu_zero(struct tr_gpu *g, enum tr_gpu_stream_id lane, void *memory, size_t bytes)
{
    (void)g, (void)lane;
    memset(memory, 0, bytes);
    return 0;
}

int tr_gpu_event_new(struct tr_gpu *g, enum tr_gpu_event_kind kind, struct tr_gpu_event **ret_event)
{
    (void)g, (void)kind;
    *ret_event = calloc(1, sizeof **ret_event);
    return *ret_event ? 0 : -ENOMEM;
}

void tr_gpu_event_free(struct tr_gpu *g, struct tr_gpu_event *e)
{
    (void)g;
    free(e);
}

int tr_gpu_event_record(struct tr_gpu *g, struct tr_gpu_event *e, enum tr_gpu_stream_id lane)
{
    (void)g, (void)lane;
    e->at = fake.now;
    return 0;
}

int tr_gpu_event_sync(struct tr_gpu *g, struct tr_gpu_event *e)
{
    (void)g, (void)e;
    return fake.broken ? -EIO : 0;
}

int tr_gpu_elapsed(struct tr_gpu *g, struct tr_gpu_event *from, struct tr_gpu_event *to, uint64_t *ret_ns)
{
    (void)g;
    *ret_ns = to->at - from->at;
    return 0;
}

int tr_gpu_sync(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    (void)g, (void)lane;
    return fake.broken ? -EIO : 0;
}

int imk_cuda_cast(const struct imk_cuda_cast *a, struct CUstream_st *stream)
{
    fake.cast_on = stream;
    fake.cast_from = a->x;
    fake.casts++;
    fake.cast_count = a->count;
    assert_int_equal(a->x_type, IMK_BF16);
    assert_int_equal(a->y_type, IMK_F32);
    memset(a->y, 0x55, a->count * sizeof(float));
    return 0;
}

/* ---- cuDNN ---- */

int tr_cudnn_version(void)
{
    return 91900;
}

int tr_cudnn_open(struct CUstream_st *stream, struct tr_cudnn **ret_cudnn, struct im_text *text)
{
    (void)text;
    *ret_cudnn = calloc(1, sizeof **ret_cudnn);
    (*ret_cudnn)->stream = stream;
    return 0;
}

int tr_cudnn_set_stream(struct tr_cudnn *cudnn, struct CUstream_st *stream, struct im_text *text)
{
    (void)text;
    cudnn->stream = stream;
    return 0;
}

void tr_cudnn_close(struct tr_cudnn *cudnn)
{
    free(cudnn);
}

int tr_cudnn_graph_new(struct tr_cudnn *cudnn, const struct tr_cudnn_tensor *tensors, int tensor_count,
                       const struct tr_cudnn_op *ops, int op_count, const struct tr_cudnn_rules *rules,
                       struct tr_cudnn_graph **ret_graph, struct im_text *text)
{
    int way = op_count - 1;

    (void)tensors, (void)tensor_count, (void)rules;
    fake.asked++;
    if (fake.counts[way] == 0)
        return im_fail(text, -ENOTSUP, "the table is empty");
    *ret_graph = calloc(1, sizeof **ret_graph);
    (*ret_graph)->cudnn = cudnn;
    (*ret_graph)->way = way;
    (*ret_graph)->adds = way == 1 || ops[0].beta > 0;
    return 0;
}

void tr_cudnn_graph_free(struct tr_cudnn_graph *g)
{
    free(g);
}

void tr_cudnn_graph_trim(struct tr_cudnn_graph *g, int engine)
{
    (void)g, (void)engine;
}

int tr_cudnn_graph_engines(const struct tr_cudnn_graph *g)
{
    return fake.counts[g->way];
}

const char *tr_cudnn_graph_engine(const struct tr_cudnn_graph *g, int engine)
{
    static const char *const names[MANY] = {"e0", "e1", "e2",  "e3",  "e4",  "e5",  "e6",  "e7",
                                            "e8", "e9", "e10", "e11", "e12", "e13", "e14", "e15"};

    (void)g;
    return names[engine];
}

static struct tr_cudnn_plan *plan_new(const struct tr_cudnn *cudnn, int way, int engine, bool adds)
{
    struct tr_cudnn_plan *p = calloc(1, sizeof *p);

    p->cudnn = cudnn;
    p->engine = &fake.engines[way][engine];
    p->adds = adds;
    snprintf(p->name, sizeof p->name, "e%d", engine);
    return p;
}

int tr_cudnn_plan_new(struct tr_cudnn_graph *g, int engine, struct tr_cudnn_plan **ret_plan,
                      struct im_text *text)
{
    int busy;

    if (fake.engines[g->way][engine].refuses)
        return im_fail(text, -ENOTSUP, "e%d does not want to", engine);
    fake.planned++;
    busy = atomic_fetch_add_explicit(&fake.busy, 1, memory_order_relaxed) + 1;
    if (busy > fake.busiest)
        fake.busiest = busy;
    if (fake.compile_ms)
        poll(NULL, 0, fake.compile_ms);
    fake.busy--;
    *ret_plan = plan_new(g->cudnn, g->way, engine, g->adds);
    return 0;
}

int tr_cudnn_plan_save(const struct tr_cudnn_plan *p, char **ret_bytes, size_t *ret_n, struct im_text *text)
{
    if (!fake.can_save)
        return im_fail(text, -ENOTSUP, "this table cannot be saved");
    *ret_bytes = strdup(p->name);
    *ret_n = strlen(p->name);
    return 0;
}

int tr_cudnn_plan_load(struct tr_cudnn *cudnn, const struct tr_cudnn_tensor *tensors, int tensor_count,
                       const struct tr_cudnn_op *ops, int op_count, const struct tr_cudnn_saved *saved,
                       struct tr_cudnn_plan **ret_plan, struct im_text *text)
{
    (void)tensors, (void)tensor_count, (void)text;
    assert_int_equal(saved->n, strlen(saved->name));
    assert_memory_equal(saved->bytes, saved->name, saved->n);
    fake.loaded++;
    *ret_plan = plan_new(cudnn, op_count - 1, (int)strtol(saved->name + 1, NULL, 10),
                         op_count == 2 || ops[0].beta > 0);
    return 0;
}

void tr_cudnn_plan_free(struct tr_cudnn_plan *p)
{
    free(p);
}

size_t tr_cudnn_plan_workspace(const struct tr_cudnn_plan *p)
{
    return p->engine->workspace;
}

const char *tr_cudnn_plan_name(const struct tr_cudnn_plan *p)
{
    return p->name;
}

int tr_cudnn_plan_run(struct tr_cudnn_plan *p, void *const *memory, void *workspace, struct im_text *text)
{
    static const unsigned char zeros[64];

    assert_true(workspace || p->engine->workspace == 0);
    fake.runs++;
    fake.ran_on = p->cudnn->stream;
    fake.workspace = workspace;
    fake.weights = memory[TR_CONV_W];
    fake.blank += memory[TR_CONV_W] && memcmp(memory[TR_CONV_W], zeros, sizeof zeros) == 0;
    fake.now += p->engine->ns;
    if (p->engine->fails)
        return im_fail(text, -EIO, "%s falls over", p->name);
    if (p->adds && p->engine->forgets)
        memset(memory[TR_CONV_X], 0, 16);
    return 0;
}
