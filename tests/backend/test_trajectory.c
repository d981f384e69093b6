/* Twenty steps of a small network with everything on (schedule, MixUp and CutMix, label smoothing, stochastic
 * depth, accumulation, clipping, masked samples, averages), for each optimiser, with weights of the classes, and
 * with binary cross-entropy, against PyTorch and timm in float64 (tests/golden/make_trajectory.py): the loss and
 * the gradient's norm at each step, weights, averages and statistics at the end. It is the trainer's own step that
 * runs here (trainer/training_step.h), on one rank.
 *
 * `backend_trajectory --draws` prints what the counter RNG draws for these batches; the script reads it, and mixes
 * and drops the same.
 *
 * Errors of tensors are relative to their norm, of others to the value. Pixels are such that no ReLU of ours takes
 * the other side in fp32, from where on two runs would be different ones: a changed order of sums may ask for other
 * pixels (make_trajectory.py --search). The file has the distance of PyTorch's own fp32. */
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
#include "trainer/training_step.h"

enum {
    N = 6,
    SIZE = 8,
    CLASSES = 10,
    WINDOW = 2,
    STEPS = 20,
    BATCHES = STEPS * WINDOW,
    BLOCKS = 9,
    SEED = 7
};
enum { LABELS = 3000, WEIGHTS = 3500, LINE_BYTES = 400 };

static const char *golden_path;

/* The flags; the script has the same numbers. */
static const char *const common[] = {
    "--model",           "resnet20", "--schedule",   "onecycle", "--mixup",      "0.4",  "--cutmix",     "1",
    "--label-smoothing", "0.1",      "--ema",        "0.9",      "--ema-warmup", "timm", "--accumulate", "2",
    "--drop-path-rate",  "0.3",      "--grad-clip",  "1.5",      "--batch-size", "6",    "--seed",       "7",
    "--weight-decay",    "0.02",     "--loss-scale", "dynamic"};

static const struct {
    const char *name, *flags[8];
    uint32_t pixels; /* their stream, one where no ReLU takes the other side in fp32 */
    bool weighted;
    int threads; /* two for whatever an optimiser divides among them; they wait for each other most of the time */
} runs[] = {
    {"sgd", {"--opt", "sgd", "--nesterov", "--lr", "0.05"}, 4400, false, 2},
    {"adamw", {"--opt", "adamw", "--lr", "0.002"}, 6700, false, 1},
    {"lars", {"--opt", "lars", "--lars-trust", "0.2", "--lr", "0.05"}, 6100, false, 1},
    {"lamb", {"--opt", "lamb", "--lr", "0.01"}, 6100, false, 2},
    {"weighted", {"--opt", "sgd", "--nesterov", "--lr", "0.05"}, 6100, true, 1},
    {"bce", {"--opt", "adamw", "--lr", "0.002", "--loss", "bce"}, 4900, false, 1},
    {"muon",
     {"--opt", "muon", "--lr", "0.02", "--muon-rest", "sgd", "--muon-rest-lr", "0.02"},
     4700,
     false,
     2},
};

struct run {
    struct im_conf conf;
    struct tr_schedule schedule;
    struct tr_network *net;
    struct tr_training_step recipe;
    struct tr_position at;
    double losses[STEPS], norms[STEPS];
    float *arenas[TR_ARENA_COUNT], weights[CLASSES];
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
    for (size_t i = 0; i < 8 && runs[which].flags[i]; i++)
        argv[argc++] = (char *)(uintptr_t)runs[which].flags[i];
    im_conf_defaults(conf);
    if (im_conf_parse_args(conf, IM_FOR_START, argc, argv, &text) < 0 || im_conf_check(conf, &text) < 0)
        fail_msg("%s", text.s);
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

static void make_batch(const struct run *r, int g, uint8_t *pixels, int32_t *labels, uint8_t *valid,
                       struct tr_batch *ret)
{
    for (uint32_t i = 0; i < N * SIZE * SIZE * 3; i++)
        pixels[i] = (uint8_t)(draw_bits(r->pixels + (uint32_t)g, i) >> 24);
    for (int i = 0; i < N; i++) {
        labels[i] = (int32_t)(draw_bits(LABELS + (uint32_t)g, (uint32_t)i) % CLASSES);
        valid[i] = !(g % 3 == 0 && i == g % N);
    }
    *ret = (struct tr_batch){.pixels = pixels,
                             .labels = labels,
                             .valid = valid,
                             .n = N,
                             .size = SIZE,
                             .step = r->at.steps,
                             .first = r->at.window_batches * N,
                             .stride = 1};
}

/* How many samples of a batch take part in the loss. */
static uint64_t count_usable(const struct tr_batch *batch)
{
    uint64_t usable = 0;

    for (int i = 0; i < batch->n; i++)
        usable += batch->valid[i] && (batch->mix.kind == TR_MIX_NONE || batch->valid[batch->n - 1 - i]);
    return usable;
}

static void train(struct run *r)
{
    uint8_t pixels[N * SIZE * SIZE * 3], valid[N];
    uint64_t all = 0, in_window = 0;
    double window_weight = 0;
    int32_t labels[N];

    for (int g = 0; g < BATCHES; g++) {
        const bool last = g + 1 == BATCHES;
        struct im_text text = {""};
        struct tr_batch batch;
        struct tr_step_result step;
        double weight;

        make_batch(r, g, pixels, labels, valid, &batch);
        weight = tr_training_step_mix(&r->recipe, &batch, 0, (uint32_t)g, 0);
        if (tr_training_step_begin(&r->recipe, &r->at, &batch, window_weight + weight, N * WINDOW, last,
                                   &text) != 0 ||
            tr_training_step_end(&r->recipe, &r->at, last, &step, &text) != 0)
            fail_msg("%s", text.s);
        window_weight += weight;
        in_window += count_usable(&batch);
        assert_int_equal(r->at.sums[IM_TRAIN].valid, all + in_window);
        assert_int_equal(step.ended, g % WINDOW == WINDOW - 1);
        if (step.ended) {
            /* What is shown is the sum over the number of samples, without weights the mean. */
            r->losses[g / WINDOW] = step.loss * (double)in_window / window_weight;
            r->norms[g / WINDOW] = step.norm;
            all += in_window;
            in_window = 0;
            window_weight = 0;
        }
    }
    assert_int_equal(r->at.updates, STEPS);
}

static void open_run(struct run *r, const char *backend, size_t which)
{
    const struct tr_schedule_epoch epoch = {.steps = STEPS, .images = N * WINDOW};
    struct tr_network_config config = {
        .model = "resnet20",
        .classes = CLASSES,
        .backend = backend,
#ifdef TESTS_CUDA /* linked in, not loaded */
        .ops = &tr_backend_cuda,
#endif
        .device = {.deterministic = true, .cache = getenv("IMSUPER_TEST_PLANS")},
        .threads = runs[which].threads,
        .seed = SEED,
        .mean = {0.485f, 0.456f, 0.406f},
        .std = {0.229f, 0.224f, 0.225f}};
    struct im_text text = {""};

    *r = (struct run){.pixels = runs[which].pixels, .name = runs[which].name, .backend = backend};
    configure(&r->conf, which);
    config.drop_path_rate = r->conf.drop_path_rate;
    tr_training_step_network(&r->conf, &config);
    for (uint32_t i = 0; i < CLASSES; i++)
        r->weights[i] = (float)(draw(WEIGHTS, i) + 1.5);
    if (runs[which].weighted)
        config.loss.weights = r->weights;
    if (tr_network_new(&config, &r->net, &text) < 0 ||
        tr_schedule_init(&r->schedule, &r->conf, &epoch, 1, &text) < 0)
        fail_msg("%s", text.s);
    r->at = tr_position_start(&r->conf);
    tr_training_step_init(&r->recipe, &r->conf, r->net, &r->schedule);
    r->recipe.class_weights = config.loss.weights;
    fill(r);
}

static void close_run(struct run *r)
{
    for (int i = 0; i < TR_ARENA_COUNT; i++)
        free(r->arenas[i]);
    tr_schedule_fini(&r->schedule);
    tr_network_free(r->net);
}

/* Three times the distance of PyTorch's own fp32; the upper bound is for pixels with which one of its ReLUs takes the
 * other side. On a GPU ours may. */
static double tolerance_of(double of_pytorch)
{
#ifdef TESTS_GPU
    (void)of_pytorch;
    return 5e-2;
#else
    return fmin(fmax(2e-6, 3 * of_pytorch), 5e-6);
#endif
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

static const float *arena(struct run *r, enum tr_arena which)
{
    if (!r->arenas[which]) {
        r->arenas[which] = calloc(tr_network_floats(r->net, which), sizeof(float));
        assert_int_equal(tr_network_read(r->net, which, r->arenas[which]), 0);
    }
    return r->arenas[which];
}

/* NORM DOT of a tensor; ema: of its average. */
static void check_tensor(struct run *r, const char *name, bool ema, double norm, double dot)
{
    const struct tr_model *m = tr_network_model(r->net);
    const struct tr_param_tensor *t = NULL;
    double squares = 0, sum = 0;
    const float *v;

    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            t = &m->tensors[i];
    assert_non_null(t);
    if (tr_tensor_home(t) == TR_HOME_STATS)
        v = arena(r, ema ? TR_ARENA_EMA_STATS : TR_ARENA_STATS) + t->offset;
    else
        v = arena(r, ema ? TR_ARENA_EMA : TR_ARENA_PARAMS) + t->offset;
    for (size_t i = 0; i < t->count; i++) {
        squares += (double)v[i] * (double)v[i];
        sum += (double)v[i] * draw(DRAW_DOT_STREAM, (uint32_t)i);
    }
    compare(r, name, sqrt(squares), norm, norm);
    compare(r, name, sum, dot, norm);
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
        assert_true(r.compared > 100);
        close_run(&r);
    }
}

#if defined(TESTS_GPU) || defined(TESTS_CUDA)
static void cuda_follows_pytorch(void **state)
{
    (void)state;
    follow("cuda");
}
#endif

#ifdef TESTS_GPU
static bool has_gpu(void)
{
    const struct tr_device_config config = {0};
    const struct tr_backend_ops *ops;
    struct tr_backend *gpu = NULL;
    struct im_text text = {""};

    if (tr_backend_find("cuda", &ops, &text) < 0 || ops->open_device(&config, &gpu, &text) < 0) {
        printf("skipped: %s\n", text.s);
        return false;
    }
    ops->close(gpu);
    return true;
}
#endif

#if !defined(TESTS_GPU) && !defined(TESTS_CUDA)
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
#endif

/* `batch G KIND LAMBDA Y0 Y1 X0 X1`, then for each sample its units, one a block. */
static int print_draws(void)
{
    const struct tr_mix_config mix = {.mixup = 0.4, .cutmix = 1, .p = 1, .switch_p = 0.5, .seed = SEED};

    for (int g = 0; g < BATCHES; g++) {
        struct tr_mix m = tr_mix_draw(&mix, 0, (uint64_t)g, 0, SIZE);

        printf("batch %d %d %.17g %d %d %d %d\n", g, (int)m.kind, m.lambda, m.y0, m.y1, m.x0, m.x1);
        for (int i = 0; i < N; i++) {
            struct im_rng rng =
                im_rng_at(SEED, IM_RNG_DROPPATH, (uint32_t)(g % WINDOW * N + i), (uint64_t)(g / WINDOW));

            for (int b = 0; b < BLOCKS; b++)
                printf("%.9g%c", im_rng_unit(&rng), b + 1 < BLOCKS ? ' ' : '\n');
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#if defined(TESTS_GPU) || defined(TESTS_CUDA)
        cmocka_unit_test(cuda_follows_pytorch),
#else
        cmocka_unit_test(reference_follows_pytorch),
        cmocka_unit_test(onednn_follows_pytorch),
#endif
    };

    if (argc != 2)
        return 2;
    if (strcmp(argv[1], "--draws") == 0)
        return print_draws();
    golden_path = argv[1];
#ifdef TESTS_GPU
    if (!has_gpu())
        return 77;
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
