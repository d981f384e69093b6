/* Parts of a network that are constants, and rates by depth, against PyTorch and timm in float64
 * (tests/golden/make_finetune.py): the loss and the gradient's norm at each step, weights, averages and statistics
 * at the end; and that what is frozen keeps its bits, has no moments, and is in no bucket.
 *
 * Errors of tensors are relative to their norm; pixels and tolerances as in test_trajectory.c. */
#include <math.h>
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
#include "tests/backend/initial.h"
#include "tests/golden/draw.h"
#include "trainer/finetune.h"
#include "trainer/training_step.h"

enum { N = 6, SIZE = 8, CLASSES = 10, STEPS = 21, EPOCH = 7, LABELS = 3000, LINE_BYTES = 400 };

static const char *golden_path;

static const struct {
    const char *name, *flags[12];
    uint32_t pixels; /* their stream, one where no ReLU takes the other side in fp32 */
} runs[] = {
    {"adamw",
     {"--opt", "adamw", "--lr", "0.0003", "--freeze", "stem,layer1", "--unfreeze-epochs", "1,2"},
     6400},
    {"lamb", {"--opt", "lamb", "--lr", "0.01", "--freeze", "1"}, 4000},
    {"sgd", {"--nesterov", "--lr", "0.05", "--freeze", "layer2"}, 6300},
    {"lars", {"--opt", "lars", "--lars-trust", "0.2", "--lr", "0.05", "--freeze-bn"}, 4000},
};
static const char *const common[] = {
    "--model",      "resnet20", "--schedule",        "constant", "--layer-decay", "0.7",
    "--ema",        "0.9",      "--label-smoothing", "0.1",      "--epochs",      "3",
    "--batch-size", "6",        "--weight-decay",    "0.02",     "--init-from",   "w"};

struct run {
    struct im_conf conf;
    struct tr_schedule schedule;
    struct tr_network *net;
    struct tr_training_step step;
    struct tr_position at;
    double losses[STEPS], norms[STEPS];
    float *first[TR_ARENA_COUNT], *arenas[TR_ARENA_COUNT];
    double tolerance, worst;
    uint32_t pixels;
    const char *name, *backend;
    int compared;
};

static void configure(struct im_conf *conf, size_t which)
{
    char *argv[64] = {(char[]){"x"}};
    struct im_text text = {""};
    int argc = 1;

    for (size_t i = 0; i < IM_COUNT(common); i++)
        argv[argc++] = (char *)(uintptr_t)common[i];
    for (size_t i = 0; i < IM_COUNT(runs[0].flags) && runs[which].flags[i]; i++)
        argv[argc++] = (char *)(uintptr_t)runs[which].flags[i];
    im_conf_defaults(conf);
    if (im_conf_parse_args(conf, IM_FOR_START, argc, argv, &text) < 0 || im_conf_check(conf, &text) < 0)
        fail_msg("%s", text.s);
}

static float *read_arena(struct run *r, enum tr_arena which)
{
    float *v = calloc(tr_network_floats(r->net, which) + 1, sizeof *v);

    assert_non_null(v);
    assert_int_equal(tr_network_read(r->net, which, v), 0);
    return v;
}

static void fill(struct run *r)
{
    const struct tr_model *m = tr_network_model(r->net);
    float *params = calloc(m->param_floats, sizeof(float)), *stats = calloc(m->stat_floats, sizeof(float));

    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        float *home = tr_tensor_home(t) == TR_HOME_STATS ? stats : params;

        for (size_t j = 0; tr_tensor_home(t) != TR_HOME_COUNTER && j < t->count; j++)
            home[t->offset + j] = initial(t, draw((uint32_t)i, (uint32_t)j));
    }
    assert_int_equal(tr_network_write(r->net, TR_ARENA_PARAMS, params), 0);
    assert_int_equal(tr_network_write(r->net, TR_ARENA_STATS, stats), 0);
    assert_int_equal(tr_network_reset_averages(r->net), 0);
    free(params);
    free(stats);
}

static void open_run(struct run *r, const char *backend, size_t which)
{
    struct tr_schedule_epoch epochs[STEPS / EPOCH];
    struct tr_network_config config = {
        .model = "resnet20",
        .classes = CLASSES,
        .backend = backend,
#ifdef TESTS_CUDA /* linked in, not loaded */
        .ops = &tr_backend_cuda,
#endif
        .device = {.deterministic = true, .cache = getenv("IMSUPER_TEST_PLANS")},
        .threads = 2,
        .mean = {0.485f, 0.456f, 0.406f},
        .std = {0.229f, 0.224f, 0.225f}};
    struct im_text text = {""};

    for (size_t i = 0; i < IM_COUNT(epochs); i++)
        epochs[i] = (struct tr_schedule_epoch){.steps = EPOCH, .images = N};
    *r = (struct run){.name = runs[which].name, .pixels = runs[which].pixels, .backend = backend};
    configure(&r->conf, which);
    tr_training_step_network(&r->conf, &config);
    if (tr_network_new(&config, &r->net, &text) < 0 ||
        tr_schedule_init(&r->schedule, &r->conf, epochs, IM_COUNT(epochs), &text) < 0)
        fail_msg("%s", text.s);
    r->at = tr_position_start(&r->conf);
    tr_training_step_init(&r->step, &r->conf, r->net, &r->schedule);
    fill(r);
    r->first[TR_ARENA_PARAMS] = read_arena(r, TR_ARENA_PARAMS);
    r->first[TR_ARENA_STATS] = read_arena(r, TR_ARENA_STATS);
}

static void close_run(struct run *r)
{
    for (int i = 0; i < TR_ARENA_COUNT; i++) {
        free(r->arenas[i]);
        free(r->first[i]);
    }
    tr_schedule_fini(&r->schedule);
    tr_network_free(r->net);
}

static bool is_norm(const struct tr_param_tensor *t)
{
    return t->kind != TR_TENSOR_CONV_WEIGHT && t->kind != TR_TENSOR_FC_WEIGHT && t->kind != TR_TENSOR_FC_BIAS;
}

/* What has been frozen since the start is as it was, and nothing has moments. */
static void check_constants(struct run *r, uint32_t stages, bool norms)
{
    const struct tr_model *m = tr_network_model(r->net);
    float *params = read_arena(r, TR_ARENA_PARAMS), *stats = read_arena(r, TR_ARENA_STATS),
          *moments = read_arena(r, TR_ARENA_MOMENTUM), *averages = read_arena(r, TR_ARENA_EMA);
    int frozen = 0, moved = 0;

    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const bool is_stat = tr_tensor_home(t) == TR_HOME_STATS;
        const float *now = (is_stat ? stats : params) + t->offset;
        const float *then = r->first[is_stat ? TR_ARENA_STATS : TR_ARENA_PARAMS] + t->offset;
        const bool same = memcmp(now, then, t->count * sizeof *now) == 0;

        if (tr_tensor_home(t) == TR_HOME_COUNTER)
            continue;
        if (!(stages >> t->stage & 1) && !(norms && is_norm(t))) {
            moved += !same;
            continue;
        }
        frozen++;
        if (!same)
            fail_msg("%s on %s: %s has changed", r->name, r->backend, t->name);
        if (is_stat)
            continue;
        assert_memory_equal(averages + t->offset, then, t->count * sizeof *then);
        for (size_t k = 0; k < t->count; k++)
            assert_true(moments[t->offset + k] == 0);
    }
    assert_true(frozen > 0 && moved > 20);
    free(params);
    free(stats);
    free(moments);
    free(averages);
}

static void train(struct run *r)
{
    uint8_t pixels[N * SIZE * SIZE * 3], valid[N];
    int32_t labels[N];

    for (int g = 0; g < STEPS; g++) {
        struct tr_batch batch = {.pixels = pixels, .labels = labels, .valid = valid, .n = N, .size = SIZE};
        struct im_text text = {""};
        struct tr_step_result step;
        bool changed = false;

        if (tr_finetune_epoch(r->net, &r->at, &r->conf, (uint32_t)(g / EPOCH), &changed, &text) < 0)
            fail_msg("%s", text.s);
        assert_int_equal(changed, g == 0 || (g % EPOCH == 0 && r->conf.unfreeze_epochs[0]));
        for (uint32_t i = 0; i < N * SIZE * SIZE * 3; i++)
            pixels[i] = (uint8_t)(draw_bits(r->pixels + (uint32_t)g, i) >> 24);
        for (int i = 0; i < N; i++) {
            labels[i] = (int32_t)(draw_bits((uint32_t)(LABELS + g), (uint32_t)i) % CLASSES);
            valid[i] = 1;
        }
        if (tr_training_step_begin(&r->step, &r->at, &batch, N, N, false, &text) != 0 ||
            tr_training_step_end(&r->step, &r->at, false, &step, &text) != 0)
            fail_msg("%s", text.s);
        r->losses[g] = step.loss;
        r->norms[g] = step.norm;
        if (g % EPOCH == EPOCH - 1 && r->at.groups.frozen)
            check_constants(r, r->at.groups.frozen & ~TR_FROZEN_NORMS, r->conf.freeze_bn);
    }
}

static void compare(struct run *r, const char *what, double ours, double theirs, double scale)
{
    double error = fabs(ours - theirs) / scale;

    r->worst = fmax(r->worst, error);
    r->compared++;
    if (!(error <= r->tolerance))
        fail_msg("%s on %s, %s: %.9g, PyTorch has %.9g (error %.2g of %.2g)", r->name, r->backend, what, ours,
                 theirs, error, r->tolerance);
}

static const struct tr_param_tensor *find(const struct tr_model *m, const char *name)
{
    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void check_tensor(struct run *r, const char *name, bool ema, double norm, double dot)
{
    const struct tr_param_tensor *t = find(tr_network_model(r->net), name);
    const bool is_stat = tr_tensor_home(t) == TR_HOME_STATS;
    const enum tr_arena which =
        is_stat ? (ema ? TR_ARENA_EMA_STATS : TR_ARENA_STATS) : (ema ? TR_ARENA_EMA : TR_ARENA_PARAMS);
    double squares = 0, sum = 0;
    const float *v;

    if (!r->arenas[which])
        r->arenas[which] = read_arena(r, which);
    v = r->arenas[which] + t->offset;
    for (size_t i = 0; i < t->count; i++) {
        squares += (double)v[i] * (double)v[i];
        sum += (double)v[i] * draw(DRAW_DOT_STREAM, (uint32_t)i);
    }
    compare(r, name, sqrt(squares), norm, norm);
    compare(r, name, sum, dot, norm);
}

/* As in test_trajectory.c. */
static double tolerance_of(double of_pytorch)
{
    return fmin(fmax(2e-6, 3 * of_pytorch), 5e-6);
}

static void check_line(struct run *r, const char *line)
{
    char name[64], kind[8];
    double a, b;
    int step;

    if (sscanf(line, "fp32 %lf", &a) == 1) {
        r->tolerance = tolerance_of(a);
    } else if (sscanf(line, "step %d %lf %lf", &step, &a, &b) == 3) {
        assert_in_range(step, 0, STEPS - 1);
        compare(r, "the loss", r->losses[step], a, a);
        compare(r, "the gradient's norm", r->norms[step], b, b);
    } else {
        assert_int_equal(sscanf(line, "%7s %63s %lf %lf", kind, name, &a, &b), 4);
        check_tensor(r, name, strcmp(kind, "ema") == 0, a, b);
    }
}

static void follow(const char *backend)
{
    for (size_t i = 0; i < IM_COUNT(runs); i++) {
        FILE *file = fopen(golden_path, "r");
        char line[LINE_BYTES], name[32];
        bool ours = false;
        struct run r;

        assert_non_null(file);
        open_run(&r, backend, i);
        train(&r);
        while (fgets(line, sizeof line, file)) {
            if (sscanf(line, "run %31s", name) == 1)
                ours = strcmp(name, r.name) == 0;
            else if (ours)
                check_line(&r, line);
        }
        fclose(file);
        print_message("%s on %s: %d numbers, worst relative error %.2g\n", r.name, backend, r.compared,
                      r.worst);
        assert_true(r.compared > 80);
        close_run(&r);
    }
}

#ifdef TESTS_CUDA
static void cuda_follows_pytorch(void **state)
{
    (void)state;
    follow("cuda");
}
#else
static void reference_follows_pytorch(void **state)
{
    (void)state;
    follow("ref");
}

static void onednn_follows_pytorch(void **state)
{
    (void)state;
    follow("onednn");
}

/* Where nothing below the head is trained there is no backward pass below it, and next to no activations are kept. */
static void frozen_layers_cost_less(void **state)
{
    static const uint32_t frozen[] = {0, 3, 15, TR_FROZEN_NORMS};
    size_t bytes[IM_COUNT(frozen)];
    double flop[IM_COUNT(frozen)];

    (void)state;
    for (size_t i = 0; i < IM_COUNT(frozen); i++) {
        const struct tr_network_config config = {.model = "resnet20",
                                                 .classes = CLASSES,
                                                 .ops = &tr_backend_ref,
                                                 .groups = {.frozen = frozen[i]},
                                                 .std = {1, 1, 1}};
        struct tr_network *net = NULL;
        struct tr_graph *graph = NULL;
        struct im_text text = {""};

        if (tr_network_new(&config, &net, &text) < 0 || tr_network_graph(net, 8, 32, true, &graph, &text) < 0)
            fail_msg("%s", text.s);
        bytes[i] = tr_graph_bytes(graph);
        flop[i] = 0;
        for (int k = 0; k < tr_graph_layers(graph); k++)
            flop[i] += tr_graph_layer(graph, k).flop;
        tr_network_free(net);
    }
    print_message("activations %zu, %zu, %zu, %zu KiB; MFLOP %.0f, %.0f, %.0f, %.0f\n", bytes[0] >> 10,
                  bytes[1] >> 10, bytes[2] >> 10, bytes[3] >> 10, flop[0] / 1e6, flop[1] / 1e6, flop[2] / 1e6,
                  flop[3] / 1e6);
    assert_true(bytes[1] < bytes[0] * 7 / 10 && bytes[2] < bytes[0] / 8 && bytes[3] < bytes[0]);
    assert_true(flop[1] < flop[0] * 0.8 && flop[2] < flop[0] * 0.34);
}

/* The rates of timm's param_groups_layer_decay(). */
static void rates_are_timms(void **state)
{
    FILE *file = fopen(golden_path, "r");
    char line[LINE_BYTES], model[32], last[32] = "", name[64];
    const struct tr_groups groups = {.layer_decay = 0.75};
    struct tr_model *m = NULL;
    struct tr_span *spans = NULL;
    size_t count = 0, compared = 0;
    struct im_text text = {""};
    double rate;

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "rate %31s %63s %lf", model, name, &rate) == 3) {
        const struct tr_param_tensor *t;
        size_t i = 0;

        if (strcmp(model, last) != 0) {
            tr_model_free(m);
            free(spans);
            assert_int_equal(
                tr_model_new(&(struct tr_model_config){.name = model, .classes = CLASSES}, &m, &text), 0);
            assert_int_equal(tr_groups_spans(m, &groups, &spans, &count), 0);
            memcpy(last, model, sizeof last);
        }
        t = find(m, name);
        while (i < count && !(t->offset >= spans[i].first && t->offset < spans[i].first + spans[i].count))
            i++;
        assert_true(i < count);
        if (fabs(spans[i].rate - rate) > 1e-12)
            fail_msg("%s of %s has the rate %g, not %g", name, model, spans[i].rate, rate);
        compared++;
    }
    assert_in_range(compared, 200, 400);
    tr_model_free(m);
    free(spans);
    fclose(file);
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#ifdef TESTS_CUDA
        cmocka_unit_test(cuda_follows_pytorch),
#else
        cmocka_unit_test(rates_are_timms),
        cmocka_unit_test(frozen_layers_cost_less),
        cmocka_unit_test(reference_follows_pytorch),
        cmocka_unit_test(onednn_follows_pytorch),
#endif
    };

    if (argc != 2)
        return 2;
    golden_path = argv[1];
    return cmocka_run_group_tests_name("finetune", tests, NULL, NULL);
}
