/* Finds the fastest engine of a graph by timing each on scratch memory.
 *
 * The L2 cache is cold before each run, as in a training step: a buffer twice its size is written between
 * runs. An engine runs once untimed (to load its code), then SHOTS times, and its time is the median; one
 * that is hopeless after its first shot is dropped. Engines of convolutions are precompiled and run in
 * milliseconds; those of batch norm are compiled, which takes a second each (dnn_compile.c). So the
 * operations share a time budget: unused time passes on to the others, each gets a minimum, and cuDNN's first
 * engines are timed first. The cache is saved every few seconds, in case the run is stopped; it records which
 * engines were tried, and later starts go on with the next ones.
 *
 * Engines for BACKWARD_ADD are also checked for correctness: with a zero gradient dx must stay as it was.
 * cuDNN lists engines for beta = 1 without saying which of them read it. */
#include "trainer/backends/cuda/dnn_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

#define SHOTS 5
#define ALL_TIME (60 * IM_SECOND) /* budget of all operations; the engine being timed is finished */
#define MORE_PART 3               /* of it for those that an earlier start began with */
#define COMPILES_NS (200 * IM_MS) /* an engine whose plan takes longer is compiled */
#define OPERATION_LEAST IM_SECOND
#define OPERATION_MOST (4 * IM_SECOND)
#define SAVE_TIME (5 * IM_SECOND) /* between two saves of the cache */
#define HOPELESS 1.5              /* relative to the best time */
#define PROBE 4096                /* bytes checked at each of three offsets */
#define FILL ((size_t)16 << 10)   /* bytes of numbers, repeated */
#define ALIGNMENT ((size_t)256)

/* Scratch memory for one operation at a time. */
struct bench {
    struct tr_dnn *dnn;
    struct tr_gpu_event *from, *to;
    struct tr_dnn_compilers *compilers; /* NULL: nothing is gained by them */
    void *own;                          /* NULL: what follows lies in memory that was lent */
    char *tensors;
    void *flush, *workspace;
    size_t tensor_bytes, flush_bytes;
    im_ns limit; /* time limit of the current operation */
    int at, of;  /* current operation and their number, for progress */
};

static size_t aligned(size_t bytes)
{
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static size_t graph_bytes(const struct tr_dnn_graph *g)
{
    size_t bytes = 0;

    for (int i = 0; i < g->tensor_count; i++)
        bytes += aligned(tr_dnn_tensor_bytes(&g->tensors[i]));
    return bytes;
}

static size_t choice_bytes(const struct tr_dnn_choice *c)
{
    size_t most = 0;

    for (int i = 0; i < c->formulation_count; i++)
        if (graph_bytes(&c->graphs[i]) > most)
            most = graph_bytes(&c->graphs[i]);
    return most;
}

static void bench_fini(struct bench *b)
{
    tr_gpu_event_free(b->dnn->gpu, b->from);
    tr_gpu_event_free(b->dnn->gpu, b->to);
    tr_gpu_memory_free(b->dnn->gpu, b->own);
    tr_dnn_compilers_free(b->compilers);
}

/* -ENOMEM: not enough device memory for scratch; the run continues without timing. */
static int bench_init(struct bench *b, struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch,
                      size_t tensor_bytes)
{
    const size_t flush_at = aligned(tensor_bytes);
    const size_t flush_bytes = 2 * tr_gpu_properties(dnn->gpu)->l2_bytes;
    const size_t workspace_at = flush_at + aligned(flush_bytes);
    const size_t bytes = workspace_at + dnn->config.workspace_limit;
    struct im_text unsaid;
    int err = 0;

    *b = (struct bench){.dnn = dnn, .tensor_bytes = tensor_bytes, .flush_bytes = flush_bytes};
    if (scratch->bytes < bytes)
        err = tr_gpu_memory_new(dnn->gpu, bytes, "timing", &b->own, &unsaid);
    if (err < 0)
        return err;
    b->tensors = b->own ? b->own : scratch->memory;
    b->flush = b->tensors + flush_at;
    b->workspace = b->tensors + workspace_at;
    b->compilers = tr_dnn_compilers_new(dnn);
    err = tr_gpu_event_new(dnn->gpu, TR_GPU_TIMED, &b->from);
    if (err == 0)
        err = tr_gpu_event_new(dnn->gpu, TR_GPU_TIMED, &b->to);
    if (err < 0)
        bench_fini(b);
    return err;
}

/* Gives each tensor its own offset; scalars are in host memory, with any value. */
static void place_tensors(const struct bench *b, const struct tr_dnn_choice *c,
                          void *memory[TR_CUDNN_TENSORS])
{
    const struct tr_dnn_graph *g = &c->graphs[c->formulation];
    size_t at = 0;

    for (int i = 0; i < g->tensor_count; i++) {
        memory[i] = g->tensors[i].by_value ? (void *)&b->dnn->epsilon : b->tensors + at;
        at += aligned(tr_dnn_tensor_bytes(&g->tensors[i]));
    }
    if (c->adds)
        memory[TR_CONV_X_BEFORE] = memory[TR_CONV_X];
}

/* Fills the tensors of the operation with numbers of either sign and about one, in each of the types: with zeros,
 * or with what the last engine left, multiplications take less power, so that the clock is another one. */
static int fill_tensors(struct bench *b, const struct tr_dnn_choice *c)
{
    const size_t bytes = graph_bytes(&c->graphs[c->formulation]);
    uint16_t numbers[FILL / sizeof(uint16_t)];
    size_t done = bytes < FILL ? bytes : FILL;
    uint32_t r = 1;
    int err;

    for (size_t i = 0; i < FILL / sizeof *numbers; i++) {
        r = r * 1664525 + 1013904223; /* of a linear congruence the upper bits are good */
        numbers[i] = (uint16_t)(r >> 31 << 15 | (0x3d80 + (r >> 20 & 0x1ff)));
    }
    err = tr_gpu_copy(b->dnn->gpu, TR_GPU_COMPUTE, b->tensors, numbers, done);
    if (err == 0)
        err = tr_gpu_sync(b->dnn->gpu, TR_GPU_COMPUTE); /* numbers goes out of scope */
    for (size_t n; done < bytes && err == 0; done += n) {
        n = bytes - done < done ? bytes - done : done;
        err = tr_gpu_copy(b->dnn->gpu, TR_GPU_COMPUTE, b->tensors + done, b->tensors, n);
    }
    return err;
}

static int shoot(struct bench *b, const struct tr_dnn_choice *c, void *const *memory, uint64_t *ret_ns)
{
    struct tr_gpu *gpu = b->dnn->gpu;
    int err = tr_gpu_zero(gpu, TR_GPU_COMPUTE, b->flush, b->flush_bytes);

    if (err == 0)
        err = tr_gpu_event_record(gpu, b->from, TR_GPU_COMPUTE);
    if (err == 0)
        err = tr_cudnn_plan_run(c->plan, memory, b->workspace, NULL);
    if (err == 0)
        err = tr_gpu_event_record(gpu, b->to, TR_GPU_COMPUTE);
    if (err == 0)
        err = tr_gpu_event_sync(gpu, b->to);
    return err < 0 ? err : tr_gpu_elapsed(gpu, b->from, b->to, ret_ns);
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* The median of the shots; UINT64_MAX if hopeless against `best`. */
static int time_engine(struct bench *b, const struct tr_dnn_choice *c, uint64_t best, uint64_t *ret_ns)
{
    void *memory[TR_CUDNN_TENSORS];
    uint64_t ns[SHOTS];
    int err;

    place_tensors(b, c, memory);
    err = fill_tensors(b, c);
    if (err == 0)
        err = shoot(b, c, memory, &ns[0]); /* loads the code */
    for (int i = 0; i < SHOTS && err == 0; i++) {
        err = shoot(b, c, memory, &ns[i]);
        if (err == 0 && i == 0 && (double)ns[0] > HOPELESS * (double)best) {
            *ret_ns = UINT64_MAX;
            return 0;
        }
    }
    if (err < 0)
        return err;
    qsort(ns, SHOTS, sizeof *ns, ascending);
    *ret_ns = ns[SHOTS / 2];
    return 0;
}

/* Writes a pattern at three offsets of dx, or checks that it is still there. 1: it is. */
static int probe_pattern(struct bench *b, char *dx, size_t bytes, bool look)
{
    size_t size = bytes < PROBE ? bytes : PROBE, at[3] = {0, (bytes - size) / 2 / 16 * 16, bytes - size};
    unsigned char want[PROBE], there[PROBE];
    struct tr_gpu *gpu = b->dnn->gpu;
    int err = 0;

    memset(want, 0x3c, sizeof want); /* a small number in each of the types */
    for (int i = 0; i < 3 && err == 0; i++) {
        if (!look) {
            err = tr_gpu_copy(gpu, TR_GPU_COMPUTE, dx + at[i], want, size);
            continue;
        }
        err = tr_gpu_copy(gpu, TR_GPU_COMPUTE, there, dx + at[i], size);
        if (err == 0)
            err = tr_gpu_sync(gpu, TR_GPU_COMPUTE);
        if (err == 0 && memcmp(there, want, size) != 0)
            return 0;
    }
    if (err == 0)
        err = tr_gpu_sync(gpu, TR_GPU_COMPUTE); /* want goes out of scope */
    return err < 0 ? err : 1;
}

/* 1: the engine accumulates; 0: it does not. */
static int really_adds(struct bench *b, const struct tr_dnn_choice *c)
{
    const struct tr_cudnn_tensor *x = &c->graphs[c->formulation].tensors[TR_CONV_X];
    void *memory[TR_CUDNN_TENSORS];
    int err;

    place_tensors(b, c, memory);
    err = tr_gpu_zero(b->dnn->gpu, TR_GPU_COMPUTE, b->tensors, b->tensor_bytes);
    if (err == 0)
        err = probe_pattern(b, memory[TR_CONV_X], tr_dnn_tensor_bytes(x), false);
    if (err >= 0)
        err = tr_cudnn_plan_run(c->plan, memory, b->workspace, NULL);
    return err < 0 ? err : probe_pattern(b, memory[TR_CONV_X], tr_dnn_tensor_bytes(x), true);
}

struct found {
    struct tr_cudnn_plan *plan; /* moved out of the choice; NULL: none */
    int formulation, engine;
    char name[sizeof(((struct tr_dnn_choice *)0)->name)];
    uint64_t ns;
};

static void set_aside(struct found *best, struct tr_dnn_choice *c, uint64_t ns)
{
    tr_cudnn_plan_free(best->plan);
    *best = (struct found){.plan = c->plan, .formulation = c->formulation, .engine = c->engine, .ns = ns};
    memcpy(best->name, c->name, sizeof best->name);
    c->plan = NULL;
}

static void put_back(const struct found *best, struct tr_dnn_choice *c)
{
    tr_cudnn_plan_free(c->plan);
    c->plan = best->plan;
    c->formulation = best->formulation;
    c->engine = best->engine;
    memcpy(c->name, best->name, sizeof c->name);
}

/* Times the current plan, and sets it aside if it is the fastest. False: the GPU failed. */
static bool judge(struct bench *b, struct tr_dnn_choice *c, struct found *best)
{
    struct im_text unsaid;
    uint64_t ns = UINT64_MAX;
    int good = c->adds ? really_adds(b, c) : 1;

    if (good == 1 && time_engine(b, c, best->ns, &ns) == 0 && ns < best->ns)
        set_aside(best, c, ns);
    return tr_gpu_last_error(b->dnn->gpu, &unsaid) == 0;
}

/* A search among the engines of one formulation. */
struct search {
    int formulation;
    bool first; /* ends with the first that can be used */
    im_ns deadline;
    struct found *best;
};

static bool is_over(const struct search *s)
{
    return s->best->plan && (s->first || im_now() > s->deadline);
}

/* Engines from `i` on, compiled as many at once as there are processors. Returns the first that was not tried. */
static int search_compiled(struct bench *b, struct tr_dnn_choice *c, const struct search *s, int i)
{
    const int n = tr_cudnn_graph_engines(c->formulations[s->formulation]);
    struct tr_cudnn_saved saved[TR_DNN_COMPILERS_MAX];
    bool works = true;

    while (works && i < n && !is_over(s) && tr_dnn_report_progress(b->dnn, c->key, b->at, b->of) == 0) {
        const int most = tr_dnn_compilers_count(b->compilers), count = n - i < most ? n - i : most;

        tr_dnn_compile(b->compilers, c, s->formulation, i, count, saved);
        for (int k = 0; k < count; k++) {
            if (works && saved[k].bytes && tr_dnn_adopt(b->dnn, c, s->formulation, i + k, &saved[k]) == 0)
                works = judge(b, c, s->best);
            free((void *)(uintptr_t)saved[k].bytes);
        }
        i += count;
    }
    return i;
}

/* Tries engines from `from` on, in cuDNN's order. Convolutions come compiled; when one has to be compiled, so have
 * the rest. */
static void search_formulation(struct bench *b, struct tr_dnn_choice *c, const struct search *s, int from)
{
    const int n = tr_cudnn_graph_engines(c->formulations[s->formulation]);
    bool works = true;
    int i = from;

    while (works && i < n && !is_over(s) && tr_dnn_report_progress(b->dnn, c->key, b->at, b->of) == 0) {
        const im_ns began = im_now();
        const bool planned = tr_dnn_select(c, s->formulation, i++, NULL) == 0;
        const bool compiles = im_now() - began > COMPILES_NS;

        works = !planned || judge(b, c, s->best);
        if (compiles && !s->first && b->compilers && works)
            i = search_compiled(b, c, s, i);
    }
    c->tried = i;
    c->listed = n;
}

/* Finds the fastest engine, or, without timing, the first that passes the check. The next formulation is
 * tried only if the one before has no engine: it compiles at run time. */
static void search_engines(struct bench *b, struct tr_dnn_choice *c, bool first, struct found *best)
{
    struct search s = {.first = first, .deadline = im_now() + b->limit, .best = best};

    *best = (struct found){.ns = UINT64_MAX};
    for (; s.formulation < c->formulation_count && !best->plan && !b->dnn->cancelled; s.formulation++)
        if (tr_dnn_list_engines(b->dnn, c, s.formulation, NULL) == 0)
            search_formulation(b, c, &s, 0);
}

static void add_to_cache(struct tr_dnn *dnn, const struct tr_dnn_choice *c, uint64_t ns)
{
    tr_plan_cache_add(
        dnn->known, c->key,
        &(struct tr_plan_choice){.engine = c->name, .ns = ns, .tried = c->tried, .listed = c->listed});
}

void tr_dnn_cache_store(struct tr_dnn *dnn, const struct tr_dnn_choice *c, uint64_t ns)
{
    char *bytes;
    size_t n;

    add_to_cache(dnn, c, ns);
    if (tr_cudnn_plan_save(c->plan, &bytes, &n, NULL) < 0)
        return;
    tr_plan_cache_store(dnn->known, c->key, c->name, bytes, n, NULL);
    free(bytes);
}

void tr_dnn_cache_store_first(struct tr_dnn *dnn, const struct tr_dnn_choice *c)
{
    if (c->formulation == 0 && c->engine == 0)
        tr_dnn_cache_store(dnn, c, 0);
}

/* Chooses the engine of one operation. */
static int tune_choice(struct bench *b, struct tr_dnn_choice *c, struct im_text *text)
{
    struct tr_dnn *dnn = b->dnn;
    struct found best;
    int err, good;

    if (c->timed) { /* deterministic: only checked */
        good = really_adds(b, c);
        c->checked = good == 1;
        if (good == 1) {
            tr_dnn_cache_store_first(dnn, c);
            return 0;
        }
    }
    search_engines(b, c, dnn->config.deterministic, &best);
    if (best.plan)
        put_back(&best, c);
    err = tr_gpu_last_error(dnn->gpu, text);
    if (err < 0)
        return err;
    if (dnn->cancelled)
        return -ECANCELED;
    if (!best.plan)
        return im_fail(text, -ENOTSUP, "%s: no cuDNN engine runs", c->key);
    c->ns = best.ns;
    c->checked = c->timed = true;
    dnn->stats.timed += !dnn->config.deterministic;
    if (!dnn->config.deterministic)
        tr_dnn_cache_store(dnn, c, best.ns);
    return 0;
}

static bool is_open(const struct tr_dnn_choice *c)
{
    return !c->timed || !c->checked;
}

/* No scratch memory: keeps the first engines, unless they have to be checked. */
static int without_bench(const struct tr_dnn *dnn, size_t bytes, struct im_text *text)
{
    for (int i = 0; i < dnn->choice_count; i++)
        if (!dnn->choices[i]->checked)
            return im_fail(text, -ENOMEM,
                           "GPU %d has no %.2f GiB free to check cuDNN's engines: use a smaller batch",
                           tr_gpu_properties(dnn->gpu)->index, (double)bytes / (1 << 30));
    return 0;
}

/* The share of the remaining time that one operation gets. */
static im_ns share_of(im_ns left, int operations)
{
    im_ns share = left / (im_ns)operations;

    return share < OPERATION_LEAST ? OPERATION_LEAST : share > OPERATION_MOST ? OPERATION_MOST : share;
}

static im_ns all_time(const struct tr_dnn *dnn)
{
    return dnn->config.first_ns ? dnn->config.first_ns : ALL_TIME;
}

static int decide_all(struct bench *b, int total, struct im_text *text)
{
    struct tr_dnn *dnn = b->dnn;
    const im_ns end = im_now() + all_time(dnn);
    im_ns saved = im_now();
    int done = 0, err = 0;

    for (int i = 0; i < dnn->choice_count && err == 0; i++) {
        struct tr_dnn_choice *c = dnn->choices[i];

        if (!is_open(c))
            continue;
        b->at = done + 1;
        b->of = total;
        b->limit = share_of(end > im_now() ? end - im_now() : 0, total - done);
        err = tune_choice(b, c, text);
        if (err == 0)
            tr_dnn_trim(c);
        done++;
        if (im_now() - saved > SAVE_TIME) {
            tr_plan_cache_save(dnn->known, NULL);
            saved = im_now();
        }
    }
    return err;
}

int tr_dnn_tune_all(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, struct im_text *text)
{
    size_t most = 0;
    int total = 0, err;
    struct bench b;

    for (int i = 0; i < dnn->choice_count; i++) {
        total += is_open(dnn->choices[i]);
        if (is_open(dnn->choices[i]) && choice_bytes(dnn->choices[i]) > most)
            most = choice_bytes(dnn->choices[i]);
    }
    if (total == 0)
        return 0;
    err = bench_init(&b, dnn, scratch, most);
    if (err == -ENOMEM)
        return without_bench(dnn, most, text);
    if (err < 0)
        return tr_gpu_last_error(dnn->gpu, text);
    err = decide_all(&b, total, text);
    bench_fini(&b);
    return err;
}

/* ---- choices of earlier starts ---- */

static bool is_unfinished(const struct tr_dnn_choice *c)
{
    return c->timed && c->checked && !c->had_turn && c->engine < 0 && c->tried < c->listed;
}

/* The operation, of those that have not had their turn, whose runs take most of a step. */
static struct tr_dnn_choice *costliest(const struct tr_dnn *dnn)
{
    struct tr_dnn_choice *most = NULL;

    for (int i = 0; i < dnn->choice_count; i++) {
        struct tr_dnn_choice *c = dnn->choices[i];

        if (is_unfinished(c) && (!most || c->ns * (uint64_t)c->users > most->ns * (uint64_t)most->users))
            most = c;
    }
    return most;
}

/* Tries the engines that no start had time for, against the one that was chosen. */
static int go_on_with(struct bench *b, struct tr_dnn_choice *c, struct im_text *text)
{
    struct found best = {.ns = UINT64_MAX};
    const struct search s = {.formulation = c->formulation, .deadline = im_now() + b->limit, .best = &best};
    const int listed = c->listed;
    char before[sizeof c->name];
    int err = tr_dnn_list_engines(b->dnn, c, c->formulation, text);

    c->had_turn = true;
    if (err < 0)
        return err;
    memcpy(before, c->name, sizeof before);
    if (judge(b, c, &best)) /* the list is the same, or the search begins anew */
        search_formulation(b, c, &s,
                           tr_cudnn_graph_engines(c->formulations[s.formulation]) == listed ? c->tried : 0);
    if (best.plan)
        put_back(&best, c);
    err = tr_gpu_last_error(b->dnn->gpu, text);
    if (err == 0 && b->dnn->cancelled)
        err = -ECANCELED;
    if (err == 0 && !best.plan)
        err = im_fail(text, -ENOTSUP, "%s: no cuDNN engine runs", c->key);
    if (err < 0)
        return err;
    c->ns = best.ns;
    if (strcmp(before, c->name) == 0)
        add_to_cache(b->dnn, c, best.ns);
    else
        tr_dnn_cache_store(b->dnn, c, best.ns);
    tr_dnn_trim(c);
    return 0;
}

/* Whether another process has gone on since the choices were loaded: then its choices are taken. */
static bool takes_from_others(struct tr_dnn *dnn)
{
    struct tr_plan_choice known;
    bool took = false;

    for (int i = 0; i < dnn->choice_count; i++) {
        struct tr_dnn_choice *c = dnn->choices[i];

        if (is_unfinished(c) && tr_plan_cache_find(dnn->known, c->key, &known) && known.tried > c->tried)
            took |= tr_dnn_plan_from_cache(dnn, c);
    }
    return took;
}

static int go_on(struct bench *b, struct im_text *text)
{
    struct tr_dnn *dnn = b->dnn;
    const im_ns end = im_now() + (dnn->config.more_ns ? dnn->config.more_ns : all_time(dnn) / MORE_PART);
    struct tr_dnn_choice *c;
    int err = 0;

    b->at = 0;
    while (err == 0 && im_now() < end && (c = costliest(dnn))) {
        b->at++;
        b->limit = end - im_now() < OPERATION_MOST ? end - im_now() : OPERATION_MOST;
        err = go_on_with(b, c, text);
    }
    return err;
}

int tr_dnn_tune_more(struct tr_dnn *dnn, const struct tr_dnn_scratch *scratch, struct im_text *text)
{
    size_t most = 0;
    int unfinished = 0, turn, err;
    struct bench b;

    for (int i = 0; i < dnn->choice_count; i++) {
        const struct tr_dnn_choice *c = dnn->choices[i];

        unfinished += is_unfinished(c);
        if (is_unfinished(c) && choice_bytes(c) > most)
            most = choice_bytes(c);
    }
    if (unfinished == 0 || dnn->went_on || dnn->config.recovers || dnn->config.deterministic)
        return 0;
    dnn->went_on = true;
    turn = tr_dnn_lock(dnn);
    if (turn < 0)
        return turn;
    if (!dnn->holds_lock || (turn == 1 && takes_from_others(dnn)))
        return 0;
    err = bench_init(&b, dnn, scratch, most);
    if (err < 0)
        return err == -ENOMEM ? 0 : tr_gpu_last_error(dnn->gpu, text);
    b.of = unfinished;
    err = go_on(&b, text);
    bench_fini(&b);
    return err;
}
