/* comm.h between GPUs that are processors: over Gloo, which the program has. Device memory can be touched by
 * work alone, so each collective is work of the lane it is called for. What a rank tells is gathered as it
 * is, and every rank adds up in the order of the ranks. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"
#include "trainer/comm/comm.h"

/* The program's; those that do not train have none. */
extern const struct tr_comm_ops tr_comm_gloo __attribute__((weak));

struct tr_comm {
    struct tr_comm *gloo;
    int ranks;
    int recordings; /* that refer to it */
    void *all;      /* [ranks][...] */
    size_t bytes;
};

/* A collective as work. */
struct work {
    struct tr_comm *c;
    struct tr_gpu *gpu;
    void *x;
    size_t count;
    enum tr_comm_type type;
    int root; /* of a broadcast */
};

static int open_comm(const struct tr_comm_config *config, struct tr_comm **ret_comm, struct im_text *text)
{
    struct tr_comm *c = calloc(1, sizeof *c);
    int err;

    if (!c || !&tr_comm_gloo)
        err = im_fail(text, -ENOSYS, "this test needs Gloo");
    else
        err = tr_comm_gloo.open(config, &c->gloo, text);
    if (err) {
        free(c);
        return err;
    }
    c->ranks = config->ranks;
    /* A GPU goes on by itself. Work that ran only when its host waits for it would keep another rank waiting while this
     * host waits for that rank: with a step in flight, ranks meet on the host too. */
    host_gpu_set(&(struct host_gpu_options){.eager = 1 << TR_GPU_COMPUTE | 1 << TR_GPU_COMM});
    *ret_comm = c;
    return 0;
}

/* NCCL's rule: ncclCommAbort and ncclCommDestroy return when all CUDA graphs that captured a collective of the
 * communicator are destroyed, and not before. A hang would tell a test nothing. */
static void must_not_be_recorded(const struct tr_comm *c)
{
    if (c->recordings == 0)
        return;
    fprintf(stderr,
            "close() of a communicator that %d recording(s) refer to: NCCL waits for ever; free recordings "
            "first\n",
            c->recordings);
    abort();
}

static void close_comm(struct tr_comm *c)
{
    if (!c)
        return;
    must_not_be_recorded(c);
    tr_comm_gloo.close(c->gloo);
    free(c->all);
    free(c);
}

static void add_up(const struct work *w)
{
    memset(w->x, 0, w->count * (w->type == TR_COMM_DOUBLE ? sizeof(double) : sizeof(float)));
    for (size_t r = 0; r < (size_t)w->c->ranks; r++) {
        for (size_t i = 0; i < w->count; i++) {
            if (w->type == TR_COMM_DOUBLE)
                ((double *)w->x)[i] += ((const double *)w->c->all)[r * w->count + i];
            else
                ((float *)w->x)[i] += ((const float *)w->c->all)[r * w->count + i];
        }
    }
}

static void run_sum(const void *args)
{
    const struct work *w = args;
    const size_t bytes = w->count * (w->type == TR_COMM_DOUBLE ? sizeof(double) : sizeof(float));
    const size_t all = bytes * (size_t)w->c->ranks;
    struct im_text text = {""};
    int err;

    if (all > w->c->bytes) {
        free(w->c->all);
        w->c->all = malloc(all);
        im_assert(w->c->all);
        w->c->bytes = all;
    }
    err = tr_comm_gloo.allgather(w->c->gloo, w->x, bytes / sizeof(float), w->c->all, &text);
    if (err == 0)
        add_up(w);
    else
        tr_gpu_fail(w->gpu, err, "%s", text.s);
}

static void run_broadcast(const void *args)
{
    const struct work *w = args;
    struct im_text text = {""};
    int err = tr_comm_gloo.broadcast(w->c->gloo, w->x, w->count, w->root, &text);

    if (err != 0)
        tr_gpu_fail(w->gpu, err, "%s", text.s);
}

static int reduce_on(struct tr_comm *c, void *x, size_t count, enum tr_comm_type type,
                     struct CUstream_st *stream, struct im_text *text)
{
    const struct work w = {.c = c, .gpu = host_gpu_of(x), .x = x, .count = count, .type = type};

    (void)text;
    host_gpu_refer(stream, &c->recordings);
    return host_gpu_enqueue(stream, run_sum, &w, sizeof w);
}

/* Work that the caller waits for. */
static int wait_for(void (*run)(const void *args), const struct work *w, struct im_text *text)
{
    int err;

    if (!w->gpu)
        return im_fail(text, -EINVAL, "no device memory");
    err = host_gpu_enqueue(host_gpu_stream_of(w->gpu, TR_GPU_COMM), run, w, sizeof *w);
    if (err == 0)
        err = tr_gpu_sync(w->gpu, TR_GPU_COMM);
    return err < 0 ? tr_gpu_last_error(w->gpu, text) : 0;
}

static int allreduce_sum(struct tr_comm *c, float *x, size_t count, struct im_text *text)
{
    return wait_for(
        run_sum, &(struct work){.c = c, .gpu = host_gpu_of(x), .x = x, .count = count, .type = TR_COMM_FLOAT},
        text);
}

static int allgather(struct tr_comm *c, const float *x, size_t count, float *ret_all, struct im_text *text)
{
    return tr_comm_gloo.allgather(c->gloo, x, count, ret_all, text);
}

static int broadcast(struct tr_comm *c, void *data, size_t bytes, int root, struct im_text *text)
{
    struct tr_gpu *gpu = host_gpu_of(data);

    if (bytes == 0)
        return 0;
    return wait_for(run_broadcast,
                    &(struct work){.c = c, .gpu = gpu, .x = data, .count = bytes, .root = root}, text);
}

static int watch(struct tr_comm *c, struct im_text *text)
{
    (void)c, (void)text; /* what fails is the device's trouble */
    return 0;
}

const struct tr_comm_ops host_gpu_comm = {
    .name = "host",
    .open = open_comm,
    .close = close_comm,
    .allreduce_sum = allreduce_sum,
    .allgather = allgather,
    .broadcast = broadcast,
    .reduce_on = reduce_on,
    .watch = watch,
};
