/* device.h on the host: queues of work for each lane, run late or early as host.h says. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/base/err.h"
#include "tests/cuda/lanes/host.h"

enum { RANGES_MAX = 512, GPUS_MAX = 8, REFERRED_MAX = 4 };
#define REGION ((size_t)8 << 30) /* of addresses; memory comes as it is touched */
#define PAGE ((size_t)4096)

enum task_kind { TASK_RUN, TASK_MARK, TASK_WAIT, TASK_REPLAY };

struct task {
    enum task_kind kind;
    void (*run)(const void *args);
    void *args;
    int lane; /* WAIT: whose work up to `place` must have run */
    size_t place;
    struct tr_gpu_graph *recording; /* REPLAY */
};

struct queue {
    struct task *tasks;
    size_t count, room, done;
    bool busy; /* its next task is running, and waits for another lane's */
};

struct lanes {
    struct queue q[TR_GPU_STREAMS];
};

struct tr_gpu_event {
    int lane;
    size_t place;
    bool recorded;
    struct tr_gpu_graph *in; /* the recording it was recorded in; NULL: none */
};

struct tr_gpu_graph {
    struct lanes lanes;
    bool takes_part[TR_GPU_STREAMS];
    size_t joined[TR_GPU_STREAMS]; /* of the lane's work, what COMPUTE has waited for */
    bool broken;                   /* something that a GPU would refuse */
    int *referred[REFERRED_MAX];   /* host_gpu_refer */
};

struct CUstream_st {
    struct tr_gpu *gpu;
    enum tr_gpu_stream_id lane;
};

struct range {
    char *at;
    size_t bytes;
};

struct tr_gpu {
    struct tr_gpu_properties facts;
    struct host_gpu_options options;
    struct CUstream_st streams[TR_GPU_STREAMS];
    struct lanes lanes;
    struct tr_gpu_graph *recording; /* being made */
    char *region;
    struct range memory[RANGES_MAX], host[RANGES_MAX]; /* device; pinned or locked */
    size_t held;
    int depth; /* of running work */
    int failed;
    struct im_text why;
};

static struct host_gpu_options options_now;

void host_gpu_set(const struct host_gpu_options *options)
{
    options_now = *options;
}

const struct host_gpu_options *host_gpu_get(void)
{
    return &options_now;
}

static struct tr_gpu *opened[GPUS_MAX];

struct tr_gpu *host_gpu_of(const void *at)
{
    for (int i = 0; i < GPUS_MAX; i++)
        if (opened[i] && (const char *)at >= opened[i]->region &&
            (const char *)at < opened[i]->region + REGION)
            return opened[i];
    return NULL;
}

static int gpus(void)
{
    const char *count = getenv("IMSUPER_TEST_GPUS");

    return count ? (int)strtol(count, NULL, 10) : 1;
}

int tr_gpu_count(int *ret_count, struct im_text *text)
{
    (void)text;
    *ret_count = gpus();
    return 0;
}

/* What a GPU of the host is. */
static struct tr_gpu_properties facts_of(int index, size_t memory_bytes)
{
    struct tr_gpu_properties f = {.index = index,
                                  .name = "host",
                                  .sm = 90,
                                  .sm_count = 1,
                                  .shared_bytes = 1 << 16,
                                  .l2_bytes = 1 << 20,
                                  .memory_bytes = memory_bytes,
                                  .driver = 13000,
                                  .runtime = 13000};

    snprintf(f.uuid, sizeof f.uuid, "GPU-00000000-0000-0000-0000-%012d", index);
    snprintf(f.bus_id, sizeof f.bus_id, "0000:%02x:00.0", (unsigned)index);
    return f;
}

int tr_gpu_query(int index, struct tr_gpu_properties *ret_facts, struct im_text *text)
{
    if (index < 0 || index >= gpus())
        return im_fail(text, -ENODEV, "there is no GPU %d: this process sees %d", index, gpus());
    *ret_facts = facts_of(index, (size_t)1 << 30);
    return 0;
}

int tr_gpu_fail(struct tr_gpu *g, int err, const char *format, ...)
{
    va_list list;

    if (g->failed)
        return err;
    va_start(list, format);
    vsnprintf(g->why.s, sizeof g->why.s, format, list);
    va_end(list);
    g->failed = err;
    return err;
}

int tr_gpu_last_error(struct tr_gpu *g, struct im_text *text)
{
    if (text)
        *text = g->why;
    return g->failed;
}

/* ---- opening ---- */

int tr_gpu_open(int index, struct tr_gpu **ret_gpu, struct im_text *text)
{
    const char *memory = getenv("IMSUPER_TEST_GPU_MEMORY");
    struct tr_gpu *g;

    if (index < 0 || index >= gpus())
        return im_fail(text, -ENODEV, "there is no GPU %d: this process sees %d", index, gpus());
    g = calloc(1, sizeof *g);
    if (!g)
        return im_fail(text, -ENOMEM, "no memory for a GPU");
    g->options = options_now;
    if (g->options.memory_bytes == 0)
        g->options.memory_bytes = memory ? strtoull(memory, NULL, 10) : (size_t)1 << 30;
    g->region = mmap(NULL, REGION, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (g->region == MAP_FAILED) {
        free(g);
        return im_fail(text, -ENOMEM, "no addresses for a GPU's memory");
    }
    g->facts = facts_of(index, g->options.memory_bytes);
    g->facts.sm = g->options.sm ? g->options.sm : g->facts.sm;
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        g->streams[i] = (struct CUstream_st){.gpu = g, .lane = (enum tr_gpu_stream_id)i};
    for (int i = 0; i < GPUS_MAX; i++) {
        if (opened[i])
            continue;
        opened[i] = g;
        break;
    }
    *ret_gpu = g;
    return 0;
}

static void clear(struct lanes *l)
{
    for (int i = 0; i < TR_GPU_STREAMS; i++) {
        for (size_t k = 0; k < l->q[i].count; k++)
            free(l->q[i].tasks[k].args);
        free(l->q[i].tasks);
    }
    memset(l, 0, sizeof *l);
}

void tr_gpu_close(struct tr_gpu *g)
{
    if (!g)
        return;
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        tr_gpu_sync(g, (enum tr_gpu_stream_id)i);
    for (int i = 0; i < RANGES_MAX; i++)
        im_assert(!g->memory[i].at && !g->host[i].at); /* all was given back */
    clear(&g->lanes);
    munmap(g->region, REGION);
    for (int i = 0; i < GPUS_MAX; i++)
        opened[i] = opened[i] == g ? NULL : opened[i];
    free(g);
}

const struct tr_gpu_properties *tr_gpu_properties(const struct tr_gpu *g)
{
    return &g->facts;
}

struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    return &g->streams[lane];
}

/* ---- memory ---- */

static bool in_region(const struct tr_gpu *g, const void *at)
{
    return (const char *)at >= g->region && (const char *)at < g->region + REGION;
}

static size_t pages(size_t bytes)
{
    return (bytes + PAGE - 1) / PAGE * PAGE;
}

static bool overlaps(const struct tr_gpu *g, const char *at, size_t bytes)
{
    for (int i = 0; i < RANGES_MAX; i++)
        if (g->memory[i].at && at < g->memory[i].at + pages(g->memory[i].bytes) + PAGE &&
            g->memory[i].at < at + bytes + PAGE)
            return true;
    return false;
}

static struct range *free_range(struct range *ranges)
{
    for (int i = 0; i < RANGES_MAX; i++)
        if (!ranges[i].at)
            return &ranges[i];
    return NULL;
}

/* A page that is never mapped lies between any two; the end lies as near to it as alignment lets. */
int tr_gpu_memory_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text)
{
    const size_t whole = pages(bytes ? bytes : 1);
    struct range *r = free_range(g->memory);
    char *at = g->region;

    im_assert(r && !g->recording);
    if (g->held + whole > g->options.memory_bytes)
        return im_fail(text, -ENOMEM, "%s: %zu bytes do not fit into the %zu that are left", what, bytes,
                       g->options.memory_bytes - g->held);
    for (int i = 0; i < RANGES_MAX && overlaps(g, at, whole); i++)
        for (int k = 0; k < RANGES_MAX && overlaps(g, at, whole); k++)
            if (g->memory[k].at && at < g->memory[k].at + pages(g->memory[k].bytes) + PAGE &&
                g->memory[k].at < at + whole + PAGE)
                at = g->memory[k].at + pages(g->memory[k].bytes) + PAGE;
    im_assert(!overlaps(g, at, whole) && at + whole < g->region + REGION);
    *r = (struct range){.at = at, .bytes = whole};
    g->held += whole;
    *ret_memory = at + (whole - (bytes ? bytes : 1)) / 256 * 256;
    return 0;
}

void tr_gpu_memory_free(struct tr_gpu *g, void *memory)
{
    if (!memory)
        return;
    im_assert(!g->recording);
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        tr_gpu_sync(g, (enum tr_gpu_stream_id)i);
    for (int i = 0; i < RANGES_MAX; i++) {
        struct range *r = &g->memory[i];

        if (!r->at || (char *)memory < r->at || (char *)memory >= r->at + r->bytes)
            continue;
        im_assert(madvise(r->at, r->bytes, MADV_DONTNEED) == 0);
        g->held -= r->bytes;
        *r = (struct range){0};
        return;
    }
    im_assert(false && "memory of this GPU");
}

int tr_gpu_memory_left(struct tr_gpu *g, size_t *ret_free_bytes)
{
    *ret_free_bytes = g->options.memory_bytes - g->held;
    return 0;
}

int tr_gpu_pinned_new(struct tr_gpu *g, size_t bytes, const char *what, void **ret_memory,
                      struct im_text *text)
{
    struct range *r = free_range(g->host);
    char *at = calloc(bytes ? bytes : 1, 1);

    im_assert(r && !g->recording);
    if (!at)
        return im_fail(text, -ENOMEM, "%s: no pinned memory", what);
    *r = (struct range){.at = at, .bytes = bytes};
    *ret_memory = at;
    return 0;
}

static void forget(struct tr_gpu *g, const void *memory)
{
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        tr_gpu_sync(g, (enum tr_gpu_stream_id)i);
    for (int i = 0; i < RANGES_MAX; i++) {
        if (g->host[i].at != memory)
            continue;
        g->host[i] = (struct range){0};
        return;
    }
    im_assert(false && "pinned by this GPU");
}

void tr_gpu_pinned_free(struct tr_gpu *g, void *memory)
{
    if (memory)
        forget(g, memory);
    free(memory);
}

int tr_gpu_pin(struct tr_gpu *g, void *memory, size_t bytes, bool read_only, struct im_text *text)
{
    struct range *r = free_range(g->host);

    (void)read_only, (void)text;
    im_assert(r && !g->recording);
    *r = (struct range){.at = memory, .bytes = bytes};
    return 0;
}

void tr_gpu_unpin(struct tr_gpu *g, void *memory)
{
    if (memory)
        forget(g, memory);
}

/* ---- running ---- */

static void run_to(struct tr_gpu *g, struct lanes *l, int lane, size_t place);

/* Device memory is there while work runs. */
static void protect(struct tr_gpu *g, int protection)
{
    for (int i = 0; i < RANGES_MAX; i++)
        if (g->memory[i].at)
            im_assert(mprotect(g->memory[i].at, g->memory[i].bytes, protection) == 0);
}

static void run_recording(struct tr_gpu *g, struct tr_gpu_graph *r)
{
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        r->lanes.q[i].done = 0;
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        run_to(g, &r->lanes, i, r->lanes.q[i].count);
}

static void run_next(struct tr_gpu *g, struct lanes *l, int lane)
{
    struct task *t = &l->q[lane].tasks[l->q[lane].done];

    im_assert(!l->q[lane].busy);
    l->q[lane].busy = true;
    if (t->kind == TASK_WAIT)
        run_to(g, l, t->lane, t->place);
    else if (t->kind == TASK_RUN)
        t->run(t->args);
    else if (t->kind == TASK_REPLAY)
        run_recording(g, t->recording);
    l->q[lane].busy = false;
    l->q[lane].done++;
}

static bool is_blocked(const struct lanes *l, int lane)
{
    const struct task *t = &l->q[lane].tasks[l->q[lane].done];

    return t->kind == TASK_WAIT && l->q[t->lane].done < t->place;
}

/* Eager lanes go as far as they can. */
static void advance(struct tr_gpu *g, struct lanes *l)
{
    for (int i = 0; i < TR_GPU_STREAMS; i++)
        while (!l->q[i].busy && (g->options.eager >> i & 1) && l->q[i].done < l->q[i].count &&
               !is_blocked(l, i))
            run_next(g, l, i);
}

static void run_to(struct tr_gpu *g, struct lanes *l, int lane, size_t place)
{
    if (l->q[lane].done >= place)
        return;
    if (g->depth++ == 0)
        protect(g, PROT_READ | PROT_WRITE);
    while (l->q[lane].done < place) {
        run_next(g, l, lane);
        advance(g, l);
    }
    if (--g->depth == 0)
        protect(g, PROT_NONE);
}

static struct lanes *lanes_now(struct tr_gpu *g)
{
    return g->recording ? &g->recording->lanes : &g->lanes;
}

static int push(struct tr_gpu *g, int lane, struct task t)
{
    struct lanes *l = lanes_now(g);
    struct queue *q = &l->q[lane];

    if (g->recording && lane != TR_GPU_COMPUTE && !g->recording->takes_part[lane]) {
        g->recording->broken = true;
        return tr_gpu_fail(g, -EINVAL, "lane %d takes no part in the recording", lane);
    }
    if (q->count == q->room) {
        size_t room = q->room ? 2 * q->room : 64;
        struct task *tasks = realloc(q->tasks, room * sizeof *tasks);

        if (!tasks)
            return -ENOMEM;
        q->tasks = tasks;
        q->room = room;
    }
    q->tasks[q->count++] = t;
    if (!g->recording && (g->options.eager >> lane & 1))
        run_to(g, &g->lanes, lane, g->lanes.q[lane].count);
    return 0;
}

int host_gpu_enqueue(struct CUstream_st *stream, void (*run)(const void *args), const void *args,
                     size_t bytes)
{
    struct task t = {.kind = TASK_RUN, .run = run, .args = malloc(bytes ? bytes : 1)};
    int err;

    if (!t.args)
        return -ENOMEM;
    memcpy(t.args, args, bytes);
    err = push(stream->gpu, (int)stream->lane, t);
    if (err < 0) /* it is not in the lane, which would free them */
        free(t.args);
    return err;
}

void host_gpu_refer(struct CUstream_st *stream, int *recordings)
{
    struct tr_gpu_graph *r = stream->gpu->recording;

    if (!r)
        return;
    for (int i = 0; i < REFERRED_MAX; i++) {
        if (r->referred[i] == recordings)
            return;
        if (r->referred[i])
            continue;
        r->referred[i] = recordings;
        ++*recordings;
        return;
    }
    im_assert(false && "REFERRED_MAX is enough");
}

struct CUstream_st *host_gpu_stream_of(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    return &g->streams[lane];
}

/* ---- copies ---- */

struct copy {
    void *to;
    const void *from;
    size_t bytes;
};

static void run_copy(const void *args)
{
    const struct copy *c = args;

    memmove(c->to, c->from, c->bytes);
}

static void run_zero(const void *args)
{
    const struct copy *c = args;

    memset(c->to, 0, c->bytes);
}

static bool is_async(const struct tr_gpu *g, const void *at, size_t bytes)
{
    if (in_region(g, at))
        return true;
    for (int i = 0; i < RANGES_MAX; i++)
        if (g->host[i].at && (const char *)at >= g->host[i].at &&
            (const char *)at + bytes <= g->host[i].at + g->host[i].bytes)
            return true;
    return false;
}

/* With plain memory the host waits. */
int tr_gpu_copy(struct tr_gpu *g, enum tr_gpu_stream_id lane, void *to, const void *from, size_t bytes)
{
    const struct copy c = {.to = to, .from = from, .bytes = bytes};
    bool async = is_async(g, to, bytes) && is_async(g, from, bytes);
    int err;

    if (g->recording && !async) {
        g->recording->broken = true;
        return tr_gpu_fail(g, -EINVAL, "a recording copies plain memory");
    }
    err = host_gpu_enqueue(&g->streams[lane], run_copy, &c, sizeof c);
    return err < 0 || async ? err : tr_gpu_sync(g, lane);
}

int tr_gpu_zero(struct tr_gpu *g, enum tr_gpu_stream_id lane, void *memory, size_t bytes)
{
    const struct copy c = {.to = memory, .bytes = bytes};

    return host_gpu_enqueue(&g->streams[lane], run_zero, &c, sizeof c);
}

/* ---- events ---- */

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
    int err = push(g, (int)lane, (struct task){.kind = TASK_MARK});

    *e = (struct tr_gpu_event){
        .lane = (int)lane, .place = lanes_now(g)->q[lane].count, .recorded = true, .in = g->recording};
    return err;
}

int tr_gpu_wait(struct tr_gpu *g, enum tr_gpu_stream_id lane, struct tr_gpu_event *e)
{
    struct tr_gpu_graph *r = g->recording;

    if (r) {
        if (!e->recorded || e->in != r) {
            r->broken = true;
            return tr_gpu_fail(g, -EINVAL, "a recording waits for what is not in it");
        }
        r->takes_part[lane] = true;
        if (lane == TR_GPU_COMPUTE && r->joined[e->lane] < e->place)
            r->joined[e->lane] = e->place;
    } else if (e->in) {
        return tr_gpu_fail(g, -EINVAL, "a lane waits for an event that was last recorded in a recording");
    } else if (!e->recorded) {
        return 0;
    }
    return push(g, (int)lane, (struct task){.kind = TASK_WAIT, .lane = e->lane, .place = e->place});
}

int tr_gpu_event_sync(struct tr_gpu *g, struct tr_gpu_event *e)
{
    if (g->recording || e->in) {
        if (g->recording)
            g->recording->broken = true;
        return tr_gpu_fail(g, -EINVAL, "the host waits in a recording");
    }
    if (e->recorded)
        run_to(g, &g->lanes, e->lane, e->place);
    return g->failed;
}

int tr_gpu_event_done(struct tr_gpu *g, struct tr_gpu_event *e)
{
    int err = tr_gpu_event_sync(g, e);

    return err < 0 ? err : 1;
}

int tr_gpu_elapsed(struct tr_gpu *g, struct tr_gpu_event *from, struct tr_gpu_event *to, uint64_t *ret_ns)
{
    (void)g, (void)from, (void)to;
    *ret_ns = 1000;
    return 0;
}

int tr_gpu_sync(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    if (g->recording) {
        g->recording->broken = true;
        return tr_gpu_fail(g, -EINVAL, "the host waits in a recording");
    }
    run_to(g, &g->lanes, (int)lane, g->lanes.q[lane].count);
    return g->failed;
}

/* ---- recordings ---- */

int tr_gpu_capture_begin(struct tr_gpu *g)
{
    im_assert(!g->recording);
    g->recording = calloc(1, sizeof *g->recording);
    if (!g->recording)
        return -ENOMEM;
    g->recording->takes_part[TR_GPU_COMPUTE] = true;
    return 0;
}

int tr_gpu_capture_end(struct tr_gpu *g, struct tr_gpu_graph **ret_recording, struct im_text *text)
{
    struct tr_gpu_graph *r = g->recording;
    bool apart = false;

    g->recording = NULL;
    for (int i = 1; i < TR_GPU_STREAMS; i++)
        apart |= r->joined[i] < r->lanes.q[i].count;
    if (r->broken || apart) {
        tr_gpu_graph_free(g, r);
        return im_fail(text, tr_gpu_fail(g, -EINVAL, "a lane was not joined") ? -EINVAL : 0,
                       "what was recorded is no recording: %s", g->why.s);
    }
    *ret_recording = r;
    return 0;
}

bool tr_gpu_is_capturing(const struct tr_gpu *g)
{
    return g->recording != NULL;
}

int tr_gpu_graph_launch(struct tr_gpu *g, struct tr_gpu_graph *r)
{
    return push(g, TR_GPU_COMPUTE, (struct task){.kind = TASK_REPLAY, .recording = r});
}

void tr_gpu_graph_free(struct tr_gpu *g, struct tr_gpu_graph *r)
{
    if (!r)
        return;
    tr_gpu_sync(g, TR_GPU_COMPUTE);
    clear(&r->lanes);
    for (int i = 0; i < REFERRED_MAX && r->referred[i]; i++)
        --*r->referred[i];
    free(r);
}

void tr_gpu_range_push(const char *name)
{
    (void)name;
}

void tr_gpu_range_pop(void)
{
}
