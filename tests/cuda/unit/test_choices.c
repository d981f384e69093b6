/* How cuDNN's engines are chosen, with a GPU, a cuDNN and a clock that are made of tables: the fastest, only
 * those that keep their promise, the ones from the cache, and what happens when things fail. */
#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "kernels/cuda/pointwise.h"
#include "trainer/backends/cuda/cudnn.h"
#include "trainer/backends/cuda/dnn.h"
#include "trainer/backends/cuda/dnn_graphs.h"
#include "trainer/backends/cuda/plan_cache.h"

#define WAYS 2
#define ENGINES 4

/* What the made-up cuDNN has for any operation, by way of saying it. */
struct fake_engine {
    uint64_t ns;
    size_t workspace;
    bool refuses; /* cannot be planned */
    bool fails;   /* plans, does not run */
    bool forgets; /* does not add to what was there */
};

static struct {
    struct fake_engine engines[WAYS][ENGINES];
    int counts[WAYS];
    int asked, planned, loaded, runs, casts;
    size_t cast_count, memory_limit, memory_used;
    int blank; /* runs on weights that are zeros */
    uint64_t now;
    bool broken, can_save;
} fake;

struct tr_gpu {
    struct tr_gpu_properties facts;
};
struct tr_gpu_event {
    uint64_t at;
};
struct tr_cudnn {
    int unused;
};
struct tr_cudnn_graph {
    int way;
    bool adds;
};
struct tr_cudnn_plan {
    const struct fake_engine *engine;
    bool adds;
    size_t x_bytes;
    char name[8];
};

static struct tr_gpu gpu = {.facts = {.name = "NVIDIA Table", .l2_bytes = 1000, .sm = 90, .sm_count = 1}};

/* ---- the GPU ---- */

const struct tr_gpu_properties *tr_gpu_properties(const struct tr_gpu *g)
{
    return &g->facts;
}

struct CUstream_st *tr_gpu_stream(struct tr_gpu *g, enum tr_gpu_stream_id lane)
{
    (void)g, (void)lane;
    return NULL;
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

/* Memory knows its size. */
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
    (void)stream;
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
    (void)stream, (void)text;
    *ret_cudnn = calloc(1, sizeof **ret_cudnn);
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

    (void)cudnn, (void)tensors, (void)tensor_count, (void)rules;
    fake.asked++;
    if (fake.counts[way] == 0)
        return im_fail(text, -ENOTSUP, "the table is empty");
    *ret_graph = calloc(1, sizeof **ret_graph);
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
    static const char *const names[] = {"e0", "e1", "e2", "e3"};

    (void)g;
    return names[engine];
}

static struct tr_cudnn_plan *plan_new(int way, int engine, bool adds)
{
    struct tr_cudnn_plan *p = calloc(1, sizeof *p);

    p->engine = &fake.engines[way][engine];
    p->adds = adds;
    snprintf(p->name, sizeof p->name, "e%d", engine);
    return p;
}

int tr_cudnn_plan_new(struct tr_cudnn_graph *g, int engine, struct tr_cudnn_plan **ret_plan,
                      struct im_text *text)
{
    if (fake.engines[g->way][engine].refuses)
        return im_fail(text, -ENOTSUP, "e%d does not want to", engine);
    fake.planned++;
    *ret_plan = plan_new(g->way, engine, g->adds);
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
    (void)cudnn, (void)tensors, (void)tensor_count, (void)text;
    assert_int_equal(saved->n, 2);
    assert_memory_equal(saved->bytes, saved->name, 2);
    fake.loaded++;
    *ret_plan = plan_new(op_count - 1, saved->name[1] - '0', op_count == 2 || ops[0].beta > 0);
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
    fake.blank += memory[TR_CONV_W] && memcmp(memory[TR_CONV_W], zeros, sizeof zeros) == 0;
    fake.now += p->engine->ns;
    if (p->engine->fails)
        return im_fail(text, -EIO, "%s falls over", p->name);
    if (p->adds && p->engine->forgets)
        memset(memory[TR_CONV_X], 0, 16);
    return 0;
}

/* ---- tests ---- */

static char folder[] = "/tmp/imsuper-choices-XXXXXX", cache[64];
static const struct tr_dnn_conv_shape shape = {2, 8, 8, 16, 32, 3, 1, 1};

static int wipe(const char *file, const struct stat *unused, int type, struct FTW *place)
{
    (void)unused, (void)type;
    return place->level ? remove(file) : 0;
}

static int setup(void **state)
{
    (void)state;
    nftw(folder, wipe, 8, FTW_DEPTH | FTW_PHYS);
    memset(&fake, 0, sizeof fake);
    fake.counts[0] = fake.counts[1] = ENGINES;
    fake.can_save = true;
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < ENGINES; i++)
            fake.engines[way][i].ns = (uint64_t)(1000 - 100 * i); /* the last is the fastest */
    return 0;
}

static struct tr_dnn *open_dnn(bool deterministic)
{
    struct tr_dnn *dnn = NULL;

    assert_int_equal(tr_dnn_open(&(struct tr_dnn_config){.gpu = &gpu,
                                                         .deterministic = deterministic,
                                                         .cache = cache,
                                                         .workspace_limit = 4096},
                                 &dnn, NULL),
                     0);
    return dnn;
}

static struct tr_dnn_conv *plan(struct tr_dnn *dnn, enum tr_dnn_conv_kind kind)
{
    struct tr_dnn_conv *conv = NULL;
    struct im_text text = {0};

    if (tr_dnn_conv_new(dnn, &shape, kind, IMK_BF16, &conv, &text) < 0)
        fail_msg("%s", text.s);
    return conv;
}

/* The engine that is chosen for one convolution by a library of its own. */
static void chosen(bool deterministic, enum tr_dnn_conv_kind kind, const char *want)
{
    struct tr_dnn *dnn = open_dnn(deterministic);
    struct tr_dnn_conv *conv = plan(dnn, kind);

    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_string_equal(tr_dnn_conv_kernel(conv), want);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

static void fastest_engine_is_chosen(void **state)
{
    (void)state;
    fake.engines[0][1].ns = 50;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e1");
}

static void engines_that_refuse_or_fail_are_passed_over(void **state)
{
    (void)state;
    fake.engines[0][3].refuses = true;
    fake.engines[0][2].fails = true;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e1");
}

static void engine_that_does_not_add_is_not_chosen(void **state)
{
    (void)state;
    fake.engines[0][3].forgets = true;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "0/e2");
}

static void other_way_is_taken_when_no_engine_of_the_first_adds(void **state)
{
    (void)state;
    for (int i = 0; i < ENGINES; i++)
        fake.engines[0][i].forgets = true;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "1/e3");
}

static void other_way_is_taken_when_the_first_has_no_engine(void **state)
{
    (void)state;
    fake.counts[0] = 0;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "1/e3");
}

static void nothing_that_adds_is_an_error(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_ADD);
    struct im_text text = {0};

    (void)state;
    for (int way = 0; way < WAYS; way++)
        for (int i = 0; i < ENGINES; i++)
            fake.engines[way][i].forgets = true;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -ENOTSUP);
    assert_true(*text.s != '\0');
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

static void deterministic_takes_the_first_and_no_clock(void **state)
{
    (void)state;
    chosen(true, TR_DNN_CONV_FORWARD, "0/e0");
    assert_int_equal(fake.runs, 0);
}

/* Its code, not which one it is: where the first does not do, the next one is not written down. */
static void deterministic_keeps_the_first(void **state)
{
    (void)state;
    chosen(true, TR_DNN_CONV_FORWARD, "0/e0");
    chosen(true, TR_DNN_CONV_BACKWARD_ADD, "0/e0");
    fake.planned = fake.runs = 0;
    chosen(true, TR_DNN_CONV_FORWARD, "0/e0");
    chosen(true, TR_DNN_CONV_BACKWARD_ADD, "0/e0");
    assert_int_equal(fake.loaded, 2);
    assert_int_equal(fake.planned + fake.runs, 0);
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3"); /* nobody else's choice */
    fake.engines[0][0].refuses = true;
    assert_int_equal(remove(cache), 0);
    chosen(true, TR_DNN_CONV_FORWARD, "0/e1");
    assert_int_equal(access(cache, F_OK), -1);
}

static void deterministic_takes_the_first_that_adds(void **state)
{
    (void)state;
    fake.engines[0][0].forgets = fake.engines[0][1].forgets = true;
    chosen(true, TR_DNN_CONV_BACKWARD_ADD, "0/e2");
}

static void second_run_takes_the_plan_from_the_cache(void **state)
{
    (void)state;
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "0/e3");
    fake.asked = fake.planned = fake.runs = 0;
    fake.engines[0][0].ns = 1; /* it does not look again */
    chosen(false, TR_DNN_CONV_BACKWARD_ADD, "0/e3");
    assert_int_equal(fake.loaded, 1);
    assert_int_equal(fake.asked + fake.planned + fake.runs, 0);
}

static void plan_that_cannot_be_saved_is_made_again_from_its_name(void **state)
{
    (void)state;
    fake.can_save = false;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    fake.planned = fake.runs = 0;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    assert_int_equal(fake.planned, 1);
    assert_int_equal(fake.runs, 0);
}

static void engine_that_is_gone_is_chosen_anew(void **state)
{
    (void)state;
    fake.can_save = false;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    fake.counts[0] = 2;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e1");
}

static void layers_that_are_alike_share_a_choice(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *a = plan(dnn, TR_DNN_CONV_FORWARD), *b = plan(dnn, TR_DNN_CONV_FORWARD);
    struct tr_dnn_stats facts;

    (void)state;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    tr_dnn_stats(dnn, &facts);
    assert_int_equal(facts.plans, 1);
    assert_int_equal(facts.timed, 1);
    tr_dnn_conv_free(dnn, a);
    assert_int_equal(tr_dnn_conv_run(dnn, b, NULL, NULL, NULL), 0);
    tr_dnn_conv_free(dnn, b);
    tr_dnn_close(dnn);
}

static void workspace_is_that_of_what_was_chosen_and_says_when_it_moves(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *a, *b;
    struct tr_dnn_stats facts;
    bool moved;

    (void)state;
    fake.engines[0][0].workspace = 4000; /* not chosen */
    fake.engines[0][3].workspace = 100;
    a = plan(dnn, TR_DNN_CONV_FORWARD);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, &moved, NULL), 0);
    assert_true(moved);
    tr_dnn_stats(dnn, &facts);
    assert_int_equal(facts.workspace_bytes, 100);
    b = plan(dnn, TR_DNN_CONV_BACKWARD_DATA);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, &moved, NULL), 0);
    assert_false(moved);
    tr_dnn_conv_free(dnn, a);
    tr_dnn_conv_free(dnn, b);
    tr_dnn_close(dnn);
}

static void gradient_of_weights_is_widened(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS);
    float dw[32 * 9 * 16] = {0};

    (void)state;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_int_equal(tr_dnn_conv_run(dnn, conv, NULL, dw, NULL), 0);
    assert_int_equal(fake.casts, 1);
    assert_int_equal(fake.cast_count, 32 * 9 * 16);
    assert_true(dw[32 * 9 * 16 - 1] != 0);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

/* Scratch memory is the tensors', the cache's twice and 4096 for workspaces. */
static void without_scratch_memory_the_first_engine_stays(void **state)
{
    (void)state;
    fake.memory_limit = 5000;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e0");
    assert_int_equal(fake.runs, 0);
}

static void without_scratch_memory_additions_are_not_taken_on_trust(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_ADD);
    struct im_text text = {0};

    (void)state;
    fake.memory_limit = 5000;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -ENOMEM);
    assert_non_null(strstr(text.s, "smaller batch"));
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

/* The arena of a network: no memory is needed beside it. */
static void scratch_memory_can_be_lent(void **state)
{
    static char arena[1 << 18] __attribute__((aligned(256)));
    const struct tr_dnn_scratch lent = {.memory = arena, .bytes = sizeof arena};
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_BACKWARD_ADD);
    struct im_text text = {0};

    (void)state;
    fake.memory_limit = 1;
    if (tr_dnn_tune(dnn, &lent, NULL, &text) < 0)
        fail_msg("%s", text.s);
    assert_string_equal(tr_dnn_conv_kernel(conv), "0/e3");
    assert_int_equal(fake.memory_used, 0);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

/* A GPU is faster on zeros. */
static void engines_are_timed_on_numbers(void **state)
{
    (void)state;
    chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
    assert_true(fake.runs > 0);
    assert_int_equal(fake.blank, 0);
}

/* What was told, and where to say no. */
struct listener {
    int calls, stop_at;
    int at, of, unknown;
    _Atomic int waits;
};

static int listen(void *context, const char *what, int at, int of)
{
    struct listener *l = context;

    assert_non_null(what);
    l->at = at;
    l->of = of > l->of ? of : l->of;
    l->unknown += of == 0 && at > 0;
    l->waits += of < 0;
    return ++l->calls == l->stop_at;
}

static struct tr_dnn *open_heard(struct listener *l)
{
    struct tr_dnn *dnn = NULL;

    assert_int_equal(
        tr_dnn_open(
            &(struct tr_dnn_config){
                .gpu = &gpu, .cache = cache, .workspace_limit = 4096, .progress = listen, .context = l},
            &dnn, NULL),
        0);
    return dnn;
}

static void progress_is_told_to_its_end(void **state)
{
    struct listener l = {0};
    struct tr_dnn *dnn = open_heard(&l);
    struct tr_dnn_conv *forward = plan(dnn, TR_DNN_CONV_FORWARD),
                       *weights = plan(dnn, TR_DNN_CONV_BACKWARD_WEIGHTS);

    (void)state;
    assert_int_equal(l.unknown, 2);
    assert_int_equal(l.at, 2);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    assert_int_equal(l.of, 2);
    assert_int_equal(l.calls, 2 + 2 * ENGINES + 1);
    assert_int_equal(l.at, 0);
    tr_dnn_conv_free(dnn, forward);
    tr_dnn_conv_free(dnn, weights);
    tr_dnn_close(dnn);
}

/* At any place: an error, no leak, and the next start goes on from what was timed. */
static void planning_can_be_given_up_anywhere(void **state)
{
    (void)state;
    for (int stop_at = 1; stop_at <= 2 + 2 * ENGINES; stop_at++) {
        struct listener l = {.stop_at = stop_at};
        struct tr_dnn_conv *convs[2] = {NULL, NULL};
        struct im_text text = {0};
        struct tr_dnn *dnn;
        int err = setup(NULL);

        dnn = open_heard(&l);
        for (int i = 0; i < 2 && err == 0; i++)
            err = tr_dnn_conv_new(dnn, &shape, i ? TR_DNN_CONV_BACKWARD_WEIGHTS : TR_DNN_CONV_FORWARD,
                                  IMK_BF16, &convs[i], &text);
        assert_int_equal(err, stop_at <= 2 ? -ECANCELED : 0);
        if (err == 0)
            assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -ECANCELED);
        for (int i = 0; i < 2; i++)
            tr_dnn_conv_free(dnn, convs[i]);
        tr_dnn_close(dnn);
        assert_int_equal(fake.memory_used, 0);
        fake.planned = 0;
        chosen(false, TR_DNN_CONV_FORWARD, "0/e3");
        if (stop_at > 2 + ENGINES)
            assert_int_equal(fake.planned, 0);
    }
}

static void *second_process(void *context)
{
    struct listener *l = context;
    struct tr_dnn *dnn = open_heard(l);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD);
    struct tr_dnn_stats facts;

    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    tr_dnn_stats(dnn, &facts);
    l->at = facts.timed;
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    return NULL;
}

static void one_process_plans_and_others_wait(void **state)
{
    struct listener l = {0};
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD); /* which misses, and so begins */
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, second_process, &l), 0);
    while (l.waits == 0)
        poll(NULL, 0, 1);
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(l.at, 0); /* it timed nothing */
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

static void who_waits_for_plans_can_leave(void **state)
{
    struct listener l = {.stop_at = 3};
    struct tr_dnn *dnn = open_dnn(false), *other = open_heard(&l);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD), *none = NULL;
    struct im_text text = {0};

    (void)state;
    assert_int_equal(tr_dnn_conv_new(other, &shape, TR_DNN_CONV_FORWARD, IMK_BF16, &none, &text), -ECANCELED);
    assert_int_equal(l.waits, 2);
    tr_dnn_close(other);
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
}

static void gpu_that_breaks_is_an_error(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = plan(dnn, TR_DNN_CONV_FORWARD);
    struct im_text text = {0};

    (void)state;
    fake.broken = true;
    assert_int_equal(tr_dnn_tune(dnn, &(struct tr_dnn_scratch){0}, NULL, &text), -EIO);
    assert_string_equal(text.s, "the table broke");
    tr_dnn_conv_free(dnn, conv);
    tr_dnn_close(dnn);
    assert_int_equal(fake.memory_used, 0);
}

static void no_engine_is_a_sentence_that_names_the_operation(void **state)
{
    struct tr_dnn *dnn = open_dnn(false);
    struct tr_dnn_conv *conv = NULL;
    struct im_text text = {0};

    (void)state;
    fake.counts[0] = 0;
    assert_int_equal(tr_dnn_conv_new(dnn, &shape, TR_DNN_CONV_FORWARD, IMK_BF16, &conv, &text), -ENOTSUP);
    assert_null(conv);
    assert_non_null(strstr(text.s, "conv forward bf16"));
    assert_non_null(strstr(text.s, "table is empty"));
    tr_dnn_close(dnn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(fastest_engine_is_chosen, setup),
        cmocka_unit_test_setup(engines_that_refuse_or_fail_are_passed_over, setup),
        cmocka_unit_test_setup(engine_that_does_not_add_is_not_chosen, setup),
        cmocka_unit_test_setup(other_way_is_taken_when_no_engine_of_the_first_adds, setup),
        cmocka_unit_test_setup(other_way_is_taken_when_the_first_has_no_engine, setup),
        cmocka_unit_test_setup(nothing_that_adds_is_an_error, setup),
        cmocka_unit_test_setup(deterministic_takes_the_first_and_no_clock, setup),
        cmocka_unit_test_setup(deterministic_keeps_the_first, setup),
        cmocka_unit_test_setup(deterministic_takes_the_first_that_adds, setup),
        cmocka_unit_test_setup(second_run_takes_the_plan_from_the_cache, setup),
        cmocka_unit_test_setup(plan_that_cannot_be_saved_is_made_again_from_its_name, setup),
        cmocka_unit_test_setup(engine_that_is_gone_is_chosen_anew, setup),
        cmocka_unit_test_setup(layers_that_are_alike_share_a_choice, setup),
        cmocka_unit_test_setup(workspace_is_that_of_what_was_chosen_and_says_when_it_moves, setup),
        cmocka_unit_test_setup(gradient_of_weights_is_widened, setup),
        cmocka_unit_test_setup(without_scratch_memory_the_first_engine_stays, setup),
        cmocka_unit_test_setup(without_scratch_memory_additions_are_not_taken_on_trust, setup),
        cmocka_unit_test_setup(scratch_memory_can_be_lent, setup),
        cmocka_unit_test_setup(engines_are_timed_on_numbers, setup),
        cmocka_unit_test_setup(progress_is_told_to_its_end, setup),
        cmocka_unit_test_setup(planning_can_be_given_up_anywhere, setup),
        cmocka_unit_test_setup(one_process_plans_and_others_wait, setup),
        cmocka_unit_test_setup(who_waits_for_plans_can_leave, setup),
        cmocka_unit_test_setup(gpu_that_breaks_is_an_error, setup),
        cmocka_unit_test_setup(no_engine_is_a_sentence_that_names_the_operation, setup),
    };
    int failed;

    if (!mkdtemp(folder))
        return 2;
    snprintf(cache, sizeof cache, "%s/cuda.plans", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    nftw(folder, wipe, 8, FTW_DEPTH | FTW_PHYS);
    rmdir(folder);
    return failed;
}
