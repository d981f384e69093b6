/* Networks against PyTorch in float64 (tests/golden/make_networks.py and, with torchvision's and timm's own
 * modules, make_models.py): evaluation, loss, every gradient, and
 * parameters and batch norm statistics after two SGD steps with Nesterov momentum, weight decay by kind,
 * label smoothing and a masked sample.
 *
 * Errors are relative to a tensor's norm. The script takes, of several pixel streams, the one that keeps the
 * inputs of ReLUs farthest from zero, since a value that fp32 puts on the other side changes gradients; and it
 * says how far PyTorch's own fp32 is, three times which oneDNN may be: resnet20 2.5e-6 (onednn 3.4e-6), resnet18
 * 6.2e-4 (5.8e-6), resnet50 5.8e-2 (0.11 in the stem after two steps, 9e-3 elsewhere). resnet50's bound finds
 * wrong terms, not lost digits. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/err.h"
#include "ipc/config/conf.h"
#include "tests/backend/initial.h"
#include "tests/golden/draw.h"
#include "tests/support/train_step.h"

enum { LABELS = 1000, STEPS = 2, FLOATS_MAX = 64 };
enum { SEED = 7, STEP = 3, FIRST = 5, APART = 2 }; /* of the stochastic depth in make_models.py */

static const char *golden_path, *models_path;

/* The words behind `net LABEL`. */
struct recipe {
    char model[24];
    int classes, n, size;
    uint32_t stream;
    struct im_conf conf; /* of it the model's options */
    bool from_models;    /* one step, no update, and the mask of stochastic depth of make_models.py */
};

/* One network's numbers as the file is read, and ours beside it. */
struct check {
    const char *backend;
    double tolerance; /* relative; 0: three times the error of PyTorch's own fp32 */
    struct tr_network *net;
    float *params, *grads, *stats;
    float logits[FLOATS_MAX];
    double loss, last_loss;
    double worst;
    int compared;
};

static void fill(struct check *c)
{
    const struct tr_model *m = tr_network_model(c->net);

    c->params = calloc(m->param_floats, sizeof(float));
    c->grads = calloc(m->param_floats, sizeof(float));
    c->stats = calloc(m->stat_floats, sizeof(float));
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        float *home = tr_tensor_home(t) == TR_HOME_STATS ? c->stats : c->params;

        for (size_t j = 0; tr_tensor_home(t) != TR_HOME_COUNTER && j < t->count; j++)
            home[t->offset + j] = initial(t, draw((uint32_t)i, (uint32_t)j));
    }
    assert_int_equal(tr_network_write(c->net, TR_ARENA_PARAMS, c->params), 0);
    assert_int_equal(tr_network_write(c->net, TR_ARENA_STATS, c->stats), 0);
}

/* Everything the golden script does, up to the arenas that `check_line` looks into. */
static void run(struct check *c, const struct recipe *r)
{
    struct tr_network_config config = {.model = r->model,
                                       .stem = (enum tr_stem)r->conf.stem,
                                       .head = (enum tr_head)r->conf.head,
                                       .blurpool = (enum tr_blurpool)r->conf.blurpool,
                                       .drop_path_rate = r->conf.drop_path_rate,
                                       .classes = r->classes,
                                       .backend = c->backend,
#ifdef TESTS_CUDA /* linked in, not loaded */
                                       .ops = &tr_backend_cuda,
#endif
                                       .threads = 2,
                                       .seed = SEED,
                                       .mean = {0.485f, 0.456f, 0.406f},
                                       .std = {0.229f, 0.224f, 0.225f}};
    const double lr = r->from_models ? 0 : 0.01;
    const struct imk_hyper hyper = {.lr = lr, .momentum = 0.9, .weight_decay = 0.01, .nesterov = true};
    int n = r->n, size = r->size, steps = r->from_models ? 1 : STEPS;
    size_t count = (size_t)n * (size_t)size * (size_t)size * 3;
    uint8_t *pixels = malloc(count), valid[16];
    int32_t labels[16];
    struct tr_batch batch = {.pixels = pixels,
                             .labels = labels,
                             .valid = valid,
                             .n = n,
                             .size = size,
                             .step = STEP,
                             .first = FIRST,
                             .stride = APART};
    struct tr_tally tally;

    assert_int_equal(tr_network_new(&config, &c->net, NULL), 0);
    fill(c);
    for (size_t i = 0; i < count; i++)
        pixels[i] = (uint8_t)(draw_bits(r->stream, (uint32_t)i) >> 24);
    for (int i = 0; i < n; i++) {
        labels[i] = (int32_t)(draw_bits(LABELS, (uint32_t)i) % (uint32_t)r->classes);
        valid[i] = i != n - 2;
    }
    assert_int_equal(tr_network_evaluate(c->net, &batch, false, c->logits, &tally, NULL), 0);
    for (int step = 0; step < steps; step++) {
        assert_int_equal(train_step(c->net, &batch, &hyper, 0.1f, &tally, NULL), 0);
        assert_int_equal(tally.valid, n - 1);
        c->last_loss = tally.loss_sum / tally.valid;
        if (step == 0) {
            c->loss = c->last_loss;
            assert_int_equal(tr_network_read(c->net, TR_ARENA_GRADS, c->grads), 0);
        }
    }
    assert_int_equal(tr_network_read(c->net, TR_ARENA_PARAMS, c->params), 0);
    assert_int_equal(tr_network_read(c->net, TR_ARENA_STATS, c->stats), 0);
    free(pixels);
}

static void finish(struct check *c)
{
    tr_network_free(c->net);
    free(c->params);
    free(c->grads);
    free(c->stats);
    c->net = NULL;
}

static void compare(struct check *c, const char *name, double ours, double theirs, double scale)
{
    double error = fabs(ours - theirs) / scale;

    c->worst = fmax(c->worst, error);
    c->compared++;
    if (!(error <= c->tolerance))
        fail_msg("%s, backend %s: %.9g, PyTorch has %.9g (error %.2g of %.2g)", name, c->backend, ours,
                 theirs, error, c->tolerance);
}

/* NORM DOT V0 V1 V2 V3 of one tensor. */
static void check_tensor(struct check *c, const char *kind, const char *name, const double *v)
{
    const struct tr_model *m = tr_network_model(c->net);
    const float *home = strcmp(kind, "grad") == 0   ? c->grads
                        : strcmp(kind, "stat") == 0 ? c->stats
                                                    : c->params;
    const struct tr_param_tensor *t = NULL;
    double squares = 0, dot = 0;

    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            t = &m->tensors[i];
    assert_non_null(t);
    for (size_t i = 0; i < t->count; i++) {
        double x = (double)home[t->offset + i];

        squares += x * x;
        dot += x * draw(DRAW_DOT_STREAM, (uint32_t)i);
    }
    compare(c, name, sqrt(squares), v[0], v[0]);
    compare(c, name, dot, v[1], v[0]);
    for (size_t i = 0; i < 4 && i < t->count; i++)
        compare(c, name, (double)home[t->offset + i], v[2 + i], v[0]);
}

static int numbers(const char *text, double *v, int max)
{
    char *end;
    int count = 0;

    for (; count < max; text = end, count++) {
        v[count] = strtod(text, &end);
        if (end == text)
            break;
    }
    return count;
}

static void check_line(struct check *c, char *line)
{
    char *rest = line, *kind = strsep(&rest, " ");
    double v[FLOATS_MAX];

    if (strcmp(kind, "fp32") == 0) {
        assert_int_equal(numbers(rest, v, 1), 1);
        if (c->tolerance == 0)
            c->tolerance = fmax(1e-5, 3 * v[0]);
    } else if (strcmp(kind, "loss") == 0 || strcmp(kind, "last_loss") == 0) {
        assert_int_equal(numbers(rest, v, 1), 1);
        compare(c, kind, strcmp(kind, "loss") == 0 ? c->loss : c->last_loss, v[0], v[0]);
    } else if (strcmp(kind, "eval_logits") == 0) {
        int count = numbers(rest, v, FLOATS_MAX);
        double top = 0;

        for (int i = 0; i < count; i++)
            top = fmax(top, fabs(v[i]));
        for (int i = 0; i < count; i++)
            compare(c, kind, (double)c->logits[i], v[i], top);
    } else {
        char *name = strsep(&rest, " ");

        assert_int_equal(numbers(rest, v, 6), 6);
        check_tensor(c, kind, name, v);
    }
}

/* The words of a `net` line behind the label. */
static struct recipe recipe_of(const char *label, char *rest)
{
    static const char *const options[] = {"model", "stem", "head", "blurpool", "drop-path-rate"};
    struct recipe r = {.from_models = false};
    double shape[4];
    char *word;

    snprintf(r.model, sizeof r.model, "%s", label);
    im_conf_defaults(&r.conf);
    for (int i = 0; i < 4; i++)
        assert_int_equal(numbers(strsep(&rest, " \n"), &shape[i], 1), 1);
    r.classes = (int)shape[0];
    r.n = (int)shape[1];
    r.size = (int)shape[2];
    r.stream = (uint32_t)shape[3];
    for (size_t i = 0; i < 5 && (word = strsep(&rest, " \n")) && *word; i++) {
        r.from_models = true;
        assert_int_equal(im_conf_set(&r.conf, options[i], word, NULL), 0);
        if (i == 0)
            snprintf(r.model, sizeof r.model, "%s", word);
    }
    return r;
}

/* The lines of one network in a file. */
static void against(const char *path, const char *label, int least, struct check *c)
{
    FILE *file = fopen(path, "r");
    char line[4096];
    bool ours = false;

    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "net ", 4) == 0) {
            char *rest = line + 4, *name = strsep(&rest, " ");
            struct recipe r = recipe_of(name, rest);

            ours = strcmp(name, label) == 0;
            if (ours)
                run(c, &r);
        } else if (ours) {
            check_line(c, line);
        }
    }
    fclose(file);
    print_message("%s, %s: %d numbers, worst relative error %.2g\n", label, c->backend, c->compared,
                  c->worst);
    assert_true(c->compared > least);
    finish(c);
}

static void against_pytorch(const char *model, struct check *c)
{
    against(golden_path, model, 500, c);
}

static void against_libraries(const char *label, struct check *c)
{
    against(models_path, label, 60, c);
}

#ifdef TESTS_CUDA
static void resnet20_on_cuda(void **state)
{
    (void)state;
    against_pytorch("resnet20", &(struct check){.backend = "cuda", .tolerance = 1e-4});
}

static void resnet18_on_cuda(void **state)
{
    (void)state;
    against_pytorch("resnet18", &(struct check){.backend = "cuda", .tolerance = 2e-3});
}

static void preact18_zhang_drop_on_cuda(void **state)
{
    (void)state;
    against_libraries("preact18_zhang_drop", &(struct check){.backend = "cuda", .tolerance = 2e-3});
}

static void resnet18_ffcv_drop_on_cuda(void **state)
{
    (void)state;
    against_libraries("resnet18_ffcv_drop", &(struct check){.backend = "cuda", .tolerance = 2e-3});
}
#else
static void resnet20_on_ref(void **state)
{
    (void)state;
    against_pytorch("resnet20", &(struct check){.backend = "ref", .tolerance = 1e-4});
}

static void resnet20_on_onednn(void **state)
{
    (void)state;
    against_pytorch("resnet20", &(struct check){.backend = "onednn"});
}

static void resnet18_on_ref(void **state)
{
    (void)state;
    against_pytorch("resnet18", &(struct check){.backend = "ref", .tolerance = 1e-4});
}

static void resnet18_on_onednn(void **state)
{
    (void)state;
    against_pytorch("resnet18", &(struct check){.backend = "onednn"});
}

static void resnet50_on_onednn(void **state)
{
    (void)state;
    against_pytorch("resnet50", &(struct check){.backend = "onednn"});
}

/* Pre-activation, Zhang's blur, stochastic depth and a convolution as classifier, all at once. */
static void preact18_zhang_drop_on_ref(void **state)
{
    (void)state;
    against_libraries("preact18_zhang_drop", &(struct check){.backend = "ref", .tolerance = 1e-4});
}

static void preact18_zhang_drop_on_onednn(void **state)
{
    (void)state;
    against_libraries("preact18_zhang_drop", &(struct check){.backend = "onednn", .tolerance = 2e-3});
}

static void resnet18_ffcv_drop_on_onednn(void **state)
{
    (void)state;
    against_libraries("resnet18_ffcv_drop", &(struct check){.backend = "onednn", .tolerance = 2e-3});
}

static void resnetblur50_on_onednn(void **state)
{
    (void)state;
    against_libraries("resnetblur50", &(struct check){.backend = "onednn", .tolerance = 5e-2});
}

static void preact50_on_onednn(void **state)
{
    (void)state;
    against_libraries("preact50", &(struct check){.backend = "onednn", .tolerance = 5e-2});
}

static void preact50_ffcv_on_onednn(void **state)
{
    (void)state;
    against_libraries("preact50_ffcv", &(struct check){.backend = "onednn", .tolerance = 5e-2});
}

static void resnet101_on_onednn(void **state)
{
    (void)state;
    against_libraries("resnet101", &(struct check){.backend = "onednn", .tolerance = 5e-2});
}
#endif

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#ifdef TESTS_CUDA
        cmocka_unit_test(resnet20_on_cuda),
        cmocka_unit_test(resnet18_on_cuda),
        cmocka_unit_test(preact18_zhang_drop_on_cuda),
        cmocka_unit_test(resnet18_ffcv_drop_on_cuda),
#else
        cmocka_unit_test(resnet20_on_ref),
        cmocka_unit_test(resnet20_on_onednn),
        cmocka_unit_test(resnet18_on_ref),
        cmocka_unit_test(resnet18_on_onednn),
        cmocka_unit_test(resnet50_on_onednn),
        cmocka_unit_test(preact18_zhang_drop_on_ref),
        cmocka_unit_test(preact18_zhang_drop_on_onednn),
        cmocka_unit_test(resnet18_ffcv_drop_on_onednn),
#endif
    };
#ifndef TESTS_CUDA
    const struct CMUnitTest deep[] = {
        cmocka_unit_test(resnetblur50_on_onednn),
        cmocka_unit_test(preact50_on_onednn),
        cmocka_unit_test(preact50_ffcv_on_onednn),
        cmocka_unit_test(resnet101_on_onednn),
    };
#endif

    if (argc < 3 || argc > 4)
        return 2;
    golden_path = argv[1];
    models_path = argv[2];
#ifndef TESTS_CUDA
    if (argc == 4)
        return cmocka_run_group_tests(deep, NULL, NULL);
#endif
    return cmocka_run_group_tests(tests, NULL, NULL);
}
