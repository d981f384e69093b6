/* Has cuDNN engines for what the networks need, on an H200 that is not there? With TESTS_VOLTA on a V100, which needs a
 * cuDNN for CUDA 12 (cuda12.sh).
 *
 * cuDNN plans for a GPU that is only described (its "deviceless" compilation); the description is the JSON
 * that cuDNN itself writes of a GPU, with an H200's numbers. Engines that compile at run time load their code
 * into a driver that says yes to everything (driver.c). So every plan is made to the end; what it computes is
 * for test_seams.c to see, on a GPU.
 *
 * usage: cuda_driver_engines_odd odd | conv_bf16 | conv_fp16 | conv_fp32 | norm */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/backends/cuda/cudnn.h"
#include "trainer/backends/cuda/dnn_graphs.h"

#ifdef TESTS_VOLTA
static const char gpu[] =
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
    "\"multiProcessorCount\":80,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
    "\"maxSharedMemoryPerBlockOptin\":98304,\"reservedSharedMemoryPerBlock\":0,\"maxRegistersPerSM\":"
    "65536,"
    "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,"
    "\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":16935682048,\"smClockRateKHz\":1530000,"
    "\"memClockRateKHz\":877000,\"l2CacheSize\":6291456,\"cudaDeviceId\":0,\"deviceVer\":700,"
    "\"driverVer\":12090,\"deviceName\":\"Tesla V100-SXM2-16GB\"}";
#else
static const char gpu[] =
    "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"
    "\"multiProcessorCount\":132,\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,"
    "\"maxSharedMemoryPerBlockOptin\":232448,\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":"
    "65536,"
    "\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,"
    "\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":150754820096,\"smClockRateKHz\":1980000,"
    "\"memClockRateKHz\":3201000,\"l2CacheSize\":62914560,\"cudaDeviceId\":0,\"deviceVer\":900,"
    "\"driverVer\":13000,\"deviceName\":\"NVIDIA H200\"}";
#endif

static struct tr_cudnn *cudnn;
static const char *part;
static int graphs, engines;

static struct tr_cudnn_graph *ask(const char *what, const struct tr_dnn_graph *g, bool exact,
                                  bool deterministic, struct im_text *text)
{
    struct tr_cudnn_rules rules = {
        .deterministic = deterministic, .exact = exact, .workspace_limit = TR_DNN_WORKSPACE};
    struct tr_cudnn_graph *graph = NULL;
    int err =
        tr_cudnn_graph_new(cudnn, g->tensors, g->tensor_count, g->ops, g->op_count, &rules, &graph, text);

    if (err < 0 && err != -ENOTSUP)
        fail_msg("%s: the description is wrong: %s", what, text->s);
    if (graph) {
        graphs++;
        engines += tr_cudnn_graph_engines(graph);
    }
    return graph;
}

/* One engine of the graph can be planned to the end. */
static bool works(struct tr_cudnn_graph *graph, struct im_text *text)
{
    struct tr_cudnn_plan *plan;

    for (int i = 0; i < tr_cudnn_graph_engines(graph); i++)
        if (tr_cudnn_plan_new(graph, i, &plan, text) == 0) {
            assert_true(tr_cudnn_plan_workspace(plan) <= TR_DNN_WORKSPACE);
            tr_cudnn_plan_free(plan);
            return true;
        }
    return false;
}

static void conv_works(const struct tr_dnn_conv_shape *s, enum tr_dnn_conv_kind kind, enum imk_dtype type,
                       bool deterministic)
{
    struct tr_cudnn_graph *graph;
    struct tr_dnn_graph g;
    struct im_text text = {0};
    char what[160];

    snprintf(what, sizeof what, "%s kind %d, %d of %dx%dx%d -> %d, %dx%d stride %d", tr_gpu_dtype_name(type),
             (int)kind, s->n, s->h, s->w, s->c, s->k, s->kernel, s->kernel, s->stride);
    tr_dnn_conv_graph(s, kind, type, false, &g);
    graph = ask(what, &g, type == IMK_F32, deterministic, &text);
    if (!graph || !works(graph, &text))
        fail_msg("%s: %s", what, text.s);
    tr_cudnn_graph_free(graph);
}

/* The convolutions of a ResNet: all kinds of every one; the first one needs no gradient of its input. */
struct tour {
    enum imk_dtype type;
    bool deterministic;
    struct tr_dnn_conv_shape seen[64];
    int seen_count;
};

static void visit(struct tour *t, struct tr_dnn_conv_shape s)
{
    for (int i = 0; i < t->seen_count; i++)
        if (memcmp(&t->seen[i], &s, sizeof s) == 0)
            return;
    t->seen[t->seen_count++] = s;
    for (int kind = 0; kind < TR_DNN_CONV_KINDS; kind++)
        if (s.c > 8 || kind == TR_DNN_CONV_FORWARD || kind == TR_DNN_CONV_BACKWARD_WEIGHTS)
            conv_works(&s, (enum tr_dnn_conv_kind)kind, t->type, t->deterministic);
}

static int halved(int size, int stride)
{
    return (size - 1) / stride + 1;
}

/* v1.5: the stride is at the 3x3. */
static void bottleneck(struct tour *t, int n, int size, int c, int width, int stride)
{
    int out = halved(size, stride);

    visit(t, (struct tr_dnn_conv_shape){n, size, size, c, width, 1, 1, 0});
    visit(t, (struct tr_dnn_conv_shape){n, size, size, width, width, 3, stride, 1});
    visit(t, (struct tr_dnn_conv_shape){n, out, out, width, 4 * width, 1, 1, 0});
    if (stride > 1 || c != 4 * width)
        visit(t, (struct tr_dnn_conv_shape){n, size, size, c, 4 * width, 1, stride, 0});
}

static void basic(struct tour *t, int n, int size, int c, int width, int stride)
{
    int out = halved(size, stride);

    visit(t, (struct tr_dnn_conv_shape){n, size, size, c, width, 3, stride, 1});
    visit(t, (struct tr_dnn_conv_shape){n, out, out, width, width, 3, 1, 1});
    if (stride > 1 || c != width)
        visit(t, (struct tr_dnn_conv_shape){n, size, size, c, width, 1, stride, 0});
}

static void network(int depth, int n, int size, enum imk_dtype type, bool deterministic)
{
    struct tour t = {.type = type, .deterministic = deterministic};
    bool small = size <= 64;
    int at = small ? size : halved(halved(size, 2), 2), c = 64;

    visit(&t, small ? (struct tr_dnn_conv_shape){n, size, size, 4, 64, 3, 1, 1}
                    : (struct tr_dnn_conv_shape){n, size, size, 4, 64, 7, 2, 3});
    for (int stage = 0; stage < 4; stage++) {
        int width = 64 << stage, stride = stage ? 2 : 1;

        for (int block = 0; block < 2; block++) {
            if (depth == 50)
                bottleneck(&t, n, at, c, width, block ? 1 : stride);
            else
                basic(&t, n, at, c, width, block ? 1 : stride);
            at = block ? at : halved(at, stride);
            c = depth == 50 ? 4 * width : width;
        }
    }
}

/* A plan that was saved is the same plan again. */
static void saved_plan_comes_back(void **state)
{
    const struct tr_dnn_conv_shape s = {256, 56, 56, 64, 64, 3, 1, 1};

    (void)state;
    for (int kind = 0; kind < TR_DNN_CONV_KINDS; kind++) {
        struct tr_cudnn_saved saved = {.workspace_limit = TR_DNN_WORKSPACE};
        struct tr_cudnn_plan *plan = NULL, *again = NULL;
        struct tr_cudnn_graph *graph;
        struct im_text text = {0};
        struct tr_dnn_graph g;
        char *bytes = NULL;

        tr_dnn_conv_graph(&s, (enum tr_dnn_conv_kind)kind, IMK_BF16, false, &g);
        graph = ask("conv", &g, false, false, &text);
        assert_non_null(graph);
        assert_int_equal(tr_cudnn_plan_new(graph, 0, &plan, &text), 0);
        assert_int_equal(tr_cudnn_plan_save(plan, &bytes, &saved.n, &text), 0);
        saved.name = tr_cudnn_plan_name(plan);
        saved.bytes = bytes;
        assert_int_equal(
            tr_cudnn_plan_load(cudnn, g.tensors, g.tensor_count, g.ops, g.op_count, &saved, &again, &text),
            0);
        assert_string_equal(tr_cudnn_plan_name(again), tr_cudnn_plan_name(plan));
        assert_int_equal(tr_cudnn_plan_workspace(again), tr_cudnn_plan_workspace(plan));
        tr_cudnn_plan_free(again);
        tr_cudnn_plan_free(plan);
        tr_cudnn_graph_free(graph);
        free(bytes);
    }
}

static void text_that_is_no_plan_is_refused(void **state)
{
    const struct tr_dnn_conv_shape s = {256, 56, 56, 64, 64, 3, 1, 1};
    const struct tr_cudnn_saved saved = {"62", "{\"cudnnVersion\":1}", 18, TR_DNN_WORKSPACE};
    struct tr_cudnn_plan *again = NULL;
    struct im_text text = {0};
    struct tr_dnn_graph g;

    (void)state;
    tr_dnn_conv_graph(&s, TR_DNN_CONV_FORWARD, IMK_BF16, false, &g);
    assert_true(
        tr_cudnn_plan_load(cudnn, g.tensors, g.tensor_count, g.ops, g.op_count, &saved, &again, &text) < 0);
    assert_null(again);
    assert_true(*text.s != '\0');
}

/* What a shape that cuDNN cannot have gives: a sentence, no crash. */
static void impossible_convolution_is_refused(void **state)
{
    const struct tr_dnn_conv_shape s = {1, 2, 2, 8, 8, 5, 1, 0};
    struct tr_cudnn_rules rules = {.workspace_limit = TR_DNN_WORKSPACE};
    struct tr_cudnn_graph *graph = NULL;
    struct im_text text = {0};
    struct tr_dnn_graph g;

    (void)state;
    tr_dnn_conv_graph(&s, TR_DNN_CONV_FORWARD, IMK_BF16, false, &g);
    assert_true(
        tr_cudnn_graph_new(cudnn, g.tensors, g.tensor_count, g.ops, g.op_count, &rules, &graph, &text) < 0);
    assert_true(*text.s != '\0');
}

static enum imk_dtype part_type(void)
{
    return strstr(part, "bf16") ? IMK_BF16 : strstr(part, "fp16") ? IMK_F16 : IMK_F32;
}

static void every_convolution_of_resnet50_has_an_engine(void **state)
{
    (void)state;
    network(50, 256, 224, part_type(), false);
    network(50, 100, 160, part_type(), false);
}

static void every_convolution_of_resnet18_has_an_engine(void **state)
{
    (void)state;
    network(18, 256, 128, part_type(), false);
    network(18, 512, 32, part_type(), false);
}

static void every_convolution_has_a_deterministic_engine(void **state)
{
    (void)state;
    network(50, 64, 224, part_type(), true);
}

static void odd_shapes_have_engines(void **state)
{
    static const struct tr_dnn_conv_shape shapes[] = {
        {1, 7, 7, 64, 64, 3, 1, 1},   {3, 9, 11, 24, 40, 3, 2, 1}, {5, 13, 13, 16, 8, 1, 2, 0},
        {2, 5, 5, 3, 5, 3, 1, 1},     {7, 33, 33, 4, 64, 7, 2, 3}, {1, 1, 1, 512, 2048, 1, 1, 0},
        {17, 10, 10, 96, 32, 5, 1, 2}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++)
        for (int type = 0; type < IMK_DTYPES; type++)
            for (int kind = 0; kind < TR_DNN_CONV_KINDS; kind++)
                conv_works(&shapes[i], (enum tr_dnn_conv_kind)kind, (enum imk_dtype)type, false);
}

/* Deterministic engines there must be; the first is compiled and saved if `whole`, which takes a second. */
static void norm_works(const struct tr_dnn_norm_shape *s, enum imk_dtype type, enum tr_dnn_norm_kind kind,
                       bool add, bool relu, bool whole)
{
    struct tr_cudnn_saved saved = {.workspace_limit = TR_DNN_WORKSPACE};
    struct tr_cudnn_plan *plan = NULL, *again = NULL;
    struct tr_cudnn_graph *graph;
    struct im_text text = {0};
    struct tr_dnn_graph g;
    char what[120], *bytes = NULL;

    snprintf(what, sizeof what, "norm %d %s, %d of %dx%dx%d%s%s", (int)kind, tr_gpu_dtype_name(type), s->n,
             s->h, s->w, s->c, add ? ", add" : "", relu ? ", relu" : "");
    tr_dnn_norm_graph(s, kind, type, add, relu, &g);
    graph = ask(what, &g, false, true, &text);
    if (!graph || (whole && tr_cudnn_plan_new(graph, 0, &plan, &text) < 0) ||
        (whole && tr_cudnn_plan_save(plan, &bytes, &saved.n, &text) < 0))
        fail_msg("%s: %s", what, text.s);
    if (whole) {
        saved.name = tr_cudnn_plan_name(plan);
        saved.bytes = bytes;
        if (tr_cudnn_plan_load(cudnn, g.tensors, g.tensor_count, g.ops, g.op_count, &saved, &again, &text) <
            0)
            fail_msg("%s: %s", what, text.s);
        assert_int_equal(tr_cudnn_plan_workspace(again), tr_cudnn_plan_workspace(plan));
    }
    tr_cudnn_plan_free(again);
    tr_cudnn_plan_free(plan);
    tr_cudnn_graph_free(graph);
    free(bytes);
}

static void every_batch_norm_has_a_deterministic_engine(void **state)
{
    static const struct tr_dnn_norm_shape shapes[] = {
        {256, 56, 56, 256}, {256, 7, 7, 2048},   {3, 5, 5, 24},      {256, 112, 112, 64}, {256, 56, 56, 64},
        {256, 28, 28, 512}, {256, 14, 14, 1024}, {100, 40, 40, 256}, {512, 32, 32, 64},   {1, 1, 1, 8}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++)
        for (int type = 0; type < IMK_DTYPES; type++)
            for (int kind = 0; kind < TR_DNN_NORM_KINDS; kind++) {
                /* Whole: every way to end in bf16, the fullest one in every type and for three shapes. */
                bool whole = type == IMK_BF16 ? i < 3 : i == 0, ways = type == IMK_BF16 && i == 0;

                norm_works(&shapes[i], (enum imk_dtype)type, (enum tr_dnn_norm_kind)kind, false, false, ways);
                norm_works(&shapes[i], (enum imk_dtype)type, (enum tr_dnn_norm_kind)kind, false, true, ways);
                norm_works(&shapes[i], (enum imk_dtype)type, (enum tr_dnn_norm_kind)kind, true, true, whole);
            }
}

/* cuDNN's pattern needs the ReLU after the addition; should that change, the backend can drop a kernel. */
static void batch_norm_with_addition_alone_has_none(void **state)
{
    const struct tr_dnn_norm_shape s = {256, 56, 56, 256};
    struct im_text text = {0};
    struct tr_dnn_graph g;

    (void)state;
    tr_dnn_norm_graph(&s, TR_DNN_NORM_FORWARD, IMK_BF16, true, false, &g);
    assert_null(ask("norm, add", &g, false, false, &text));
}

/* A thread with a handle and a graph of its own, as in dnn_compile.c. */
struct compiler {
    const struct tr_dnn_graph *g;
    int engine;
    char name[200], *bytes;
    size_t n;
    struct im_text text;
};

static void *compile(void *argument)
{
    const struct tr_cudnn_rules rules = {.workspace_limit = TR_DNN_WORKSPACE};
    struct compiler *w = argument;
    struct tr_cudnn_graph *graph = NULL;
    struct tr_cudnn_plan *plan = NULL;
    struct tr_cudnn *own = NULL;
    int err = tr_cudnn_open_described(gpu, &own, &w->text);

    if (err == 0)
        err = tr_cudnn_graph_new(own, w->g->tensors, w->g->tensor_count, w->g->ops, w->g->op_count, &rules,
                                 &graph, &w->text);
    if (err == 0)
        err = tr_cudnn_plan_new(graph, w->engine, &plan, &w->text);
    if (err == 0) {
        snprintf(w->name, sizeof w->name, "%s", tr_cudnn_plan_name(plan));
        tr_cudnn_plan_save(plan, &w->bytes, &w->n, &w->text);
    }
    tr_cudnn_plan_free(plan);
    tr_cudnn_graph_free(graph);
    tr_cudnn_close(own);
    return NULL;
}

static void plans_of_several_threads_are_loaded_by_another_handle(void **state)
{
    static const struct tr_dnn_norm_shape s = {256, 14, 14, 1024};
    struct compiler compilers[4] = {0};
    pthread_t threads[IM_COUNT(compilers)];
    struct tr_dnn_graph g;

    (void)state;
    tr_dnn_norm_graph(&s, TR_DNN_NORM_FORWARD, IMK_BF16, false, true, &g);
    for (int i = 0; i < (int)IM_COUNT(compilers); i++) {
        compilers[i] = (struct compiler){.g = &g, .engine = i};
        assert_int_equal(pthread_create(&threads[i], NULL, compile, &compilers[i]), 0);
    }
    for (size_t i = 0; i < IM_COUNT(compilers); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < IM_COUNT(compilers); i++) {
        const struct compiler *w = &compilers[i];
        const struct tr_cudnn_saved saved = {
            .name = w->name, .bytes = w->bytes, .n = w->n, .workspace_limit = TR_DNN_WORKSPACE};
        struct tr_cudnn_plan *plan = NULL;
        struct im_text text = {0};

        if (!w->bytes ||
            tr_cudnn_plan_load(cudnn, g.tensors, g.tensor_count, g.ops, g.op_count, &saved, &plan, &text) < 0)
            fail_msg("engine %zu: %s%s", i, w->text.s, text.s);
        assert_string_equal(tr_cudnn_plan_name(plan), w->name);
        tr_cudnn_plan_free(plan);
        free(w->bytes);
    }
}

/* The other way to say BACKWARD_ADD, for which all engines compile. */
static void addition_after_a_convolution_compiles(void **state)
{
    static const struct tr_dnn_conv_shape shapes[] = {{256, 56, 56, 256, 64, 1, 1, 0},
                                                      {256, 14, 14, 256, 256, 3, 1, 1}};

    (void)state;
    for (size_t i = 0; i < IM_COUNT(shapes); i++) {
        struct tr_cudnn_graph *graph;
        struct im_text text = {0};
        struct tr_dnn_graph g;

        tr_dnn_conv_graph(&shapes[i], TR_DNN_CONV_BACKWARD_ADD, IMK_BF16, true, &g);
        graph = ask("conv, add", &g, false, true, &text);
        if (!graph || !works(graph, &text))
            fail_msg("%s", text.s);
        tr_cudnn_graph_free(graph);
    }
}

#ifdef TESTS_VOLTA
/* Our kernels take their place: it is no error. */
static void a_volta_has_none(void **state)
{
    static const struct tr_dnn_norm_shape s = {256, 56, 56, 256};

    (void)state;
    for (int kind = 0; kind < TR_DNN_NORM_KINDS; kind++) {
        struct im_text text = {0};
        struct tr_dnn_graph g;

        tr_dnn_norm_graph(&s, (enum tr_dnn_norm_kind)kind, IMK_F16, false, true, &g);
        assert_null(ask("norm", &g, false, false, &text));
    }
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest convs[] = {
        cmocka_unit_test(every_convolution_of_resnet50_has_an_engine),
        cmocka_unit_test(every_convolution_of_resnet18_has_an_engine),
        cmocka_unit_test(every_convolution_has_a_deterministic_engine),
    };
    const struct CMUnitTest norms[] = {
#ifdef TESTS_VOLTA
        cmocka_unit_test(a_volta_has_none),
#else
        cmocka_unit_test(every_batch_norm_has_a_deterministic_engine),
        cmocka_unit_test(plans_of_several_threads_are_loaded_by_another_handle),
        cmocka_unit_test(batch_norm_with_addition_alone_has_none),
        cmocka_unit_test(addition_after_a_convolution_compiles),
#endif
    };
    const struct CMUnitTest odd[] = {
        cmocka_unit_test(odd_shapes_have_engines),
        cmocka_unit_test(saved_plan_comes_back),
        cmocka_unit_test(text_that_is_no_plan_is_refused),
        cmocka_unit_test(impossible_convolution_is_refused),
    };
    struct im_text text = {0};
    int failed;

    if (argc != 2)
        return 2;
    part = argv[1];
    if (tr_cudnn_open_described(gpu, &cudnn, &text) < 0) {
        printf("skipped: %s\n", text.s);
        return 77;
    }
    if (strcmp(part, "odd") == 0)
        failed = cmocka_run_group_tests(odd, NULL, NULL);
    else if (strcmp(part, "norm") == 0)
        failed = cmocka_run_group_tests(norms, NULL, NULL);
    else
        failed = cmocka_run_group_tests(convs, NULL, NULL);
    printf("%d graphs, %d engines\n", graphs, engines);
    tr_cudnn_close(cudnn);
    return failed;
}
