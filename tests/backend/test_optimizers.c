/* Each optimiser on each backend against torch.optim and timm.optim in float64
 * (tests/golden/make_optimizers.py): weights and moments after ten steps with a growing learning rate, of
 * tensors that decay and that do not, that span several blocks, that are zero, whose gradient is zero.
 *
 * Errors are relative to a tensor's norm. Worst seen: 4e-7; tolerance 2e-6. Muon's small matrix differs more: five
 * iterations multiply what fp32 rounds in its smallest singular value by 3.4 each. torch.optim.Muon as it is iterates in
 * bf16 (muon-bf16). */
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
#include "kernels/hyper.h"
#include "tests/golden/draw.h"
#include "trainer/backends/backend.h"

enum { TENSORS = 4, FLOATS = 40000 + 64 + 32 + 16, STEPS = 10 };

static const char *golden_path;
static const size_t sizes[TENSORS] = {40000, 50, 20, 16};
#define REST_RATE 0.5 /* with Muon, of the tensors that are no matrices */
static const struct tr_span spans[TENSORS] = {{.count = 40000, .decays = true, .rate = 1},
                                              {.first = 40000, .count = 64, .decays = true, .rate = 1},
                                              {.first = 40064, .count = 32, .rate = 1},
                                              {.first = 40096, .count = 16, .decays = true, .rate = 1}};
static const struct tr_span matrices[TENSORS] = {
    {.count = 40000, .decays = true, .rate = 1, .rows = 100, .columns = 400},
    {.first = 40000, .count = 64, .decays = true, .rate = 1, .rows = 10, .columns = 5},
    {.first = 40064, .count = 32, .rate = REST_RATE},
    {.first = 40096, .count = 16, .decays = true, .rate = REST_RATE}};

struct arenas {
    float w[FLOATS], m[FLOATS], v[FLOATS], g[FLOATS];
};

static void fill_gradients(struct arenas *a, int step)
{
    for (size_t i = 0; i < TENSORS; i++)
        for (size_t j = 0; j < sizes[i]; j++) {
            double g = draw(100 + 10 * (uint32_t)step + (uint32_t)i, (uint32_t)j);

            a->g[spans[i].first + j] = (float)(g * (i == 0 ? 0.25 : i == 1 && step < 2 ? 0 : 1));
        }
}

static void fill_weights(struct arenas *a)
{
    for (size_t i = 0; i < TENSORS - 1; i++)
        for (size_t j = 0; j < sizes[i]; j++)
            a->w[spans[i].first + j] = (float)draw((uint32_t)i, (uint32_t)j);
}

static struct imk_hyper hyper_of(const char *name)
{
    struct imk_hyper h = {.lr = 0.01,
                          .momentum = 0.9,
                          .muon_momentum = 0.8,
                          .beta2 = 0.95,
                          .eps = 1e-8,
                          .weight_decay = 0.05,
                          .trust = 0.001,
                          .nesterov = strstr(name, "nesterov") || strcmp(name, "muon-sgd") == 0 ||
                                      strcmp(name, "muon-fixed") == 0};

    if (strncmp(name, "lars", 4) == 0)
        h.lr = 0.1;
    if (strcmp(name, "lamb") == 0)
        h.eps = 1e-6;
    return h;
}

static enum im_optimizer kind_of(const char *name)
{
    if (strncmp(name, "lars", 4) == 0)
        return IM_OPTIMIZER_LARS;
    if (strcmp(name, "lamb") == 0)
        return IM_OPTIMIZER_LAMB;
    if (strcmp(name, "adamw") == 0 || strcmp(name, "muon-adamw") == 0 || strcmp(name, "muon-bf16") == 0)
        return IM_OPTIMIZER_ADAMW;
    assert_true(strncmp(name, "sgd", 3) == 0 || strcmp(name, "muon-sgd") == 0 ||
                strcmp(name, "muon-fixed") == 0);
    return IM_OPTIMIZER_SGD;
}

/* scale: of the gradients, taken back by grad_scale. */
static void run(const struct tr_backend_ops *ops, int threads, const char *name, double scale,
                struct arenas *a)
{
    struct imk_hyper hyper = hyper_of(name);
    const bool muon = strncmp(name, "muon", 4) == 0;
    const struct tr_update u = {.kind = kind_of(name),
                                .muon = muon,
                                .muon_fixed_norm = strcmp(name, "muon-fixed") == 0,
                                .w = a->w,
                                .m = a->m,
                                .v = a->v,
                                .g = a->g,
                                .spans = muon ? matrices : spans,
                                .span_count = TENSORS,
                                .hyper = &hyper,
                                .grad_scale = 1 / scale};
    const double lr = hyper.lr;
    struct tr_backend *b;

    memset(a, 0, sizeof *a);
    fill_weights(a);
    assert_int_equal(ops->open(threads, &b, NULL), 0);
    for (int step = 0; step < STEPS; step++) {
        fill_gradients(a, step);
        for (size_t i = 0; i < FLOATS; i++)
            a->g[i] *= (float)scale;
        hyper.lr = lr * (1 + step);
        hyper.updates = (uint64_t)step;
        assert_int_equal(ops->update(b, &u), 0);
    }
    ops->close(b);
}

static double check_line(const char *backend, const char *run_name, const char *line, const struct arenas *a)
{
    double want[6], squares = 0, dot = 0, worst;
    const float *x;
    char kind;
    int tensor;

    assert_int_equal(sscanf(line, "%d %c %lf %lf %lf %lf %lf %lf", &tensor, &kind, &want[0], &want[1],
                            &want[2], &want[3], &want[4], &want[5]),
                     8);
    assert_in_range(tensor, 0, TENSORS - 1);
    x = (kind == 'w' ? a->w : kind == 'm' ? a->m : a->v) + spans[tensor].first;
    for (size_t i = 0; i < sizes[tensor]; i++) {
        squares += (double)x[i] * (double)x[i];
        dot += (double)x[i] * draw(DRAW_DOT_STREAM, (uint32_t)i);
    }
    worst = fmax(fabs(sqrt(squares) - want[0]), fabs(dot - want[1])) / want[0];
    for (int i = 0; i < 4; i++)
        worst = fmax(worst, fabs((double)x[i] - want[2 + i]) / want[0]);
    if (!(worst <= (strcmp(run_name, "muon-bf16") == 0 ? 2e-3 : 2e-6)))
        fail_msg("%s, %s: tensor %d, %c: relative error %.2g", run_name, backend, tensor, kind, worst);
    return worst;
}

static void against_pytorch(const struct tr_backend_ops *ops)
{
    FILE *file = fopen(golden_path, "r");
    struct arenas *a = malloc(sizeof *a);
    char line[400], name[32] = "";
    double worst = 0;
    int compared = 0;

    assert_non_null(file);
    assert_non_null(a);
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "run %31s", name) == 1) {
            run(ops, 2, name, 1, a);
        } else if (name[0]) {
            const double error = check_line(ops->name, name, line, a);

            worst = strcmp(name, "muon-bf16") == 0 ? worst : fmax(worst, error);
            compared++;
        }
    }
    fclose(file);
    free(a);
    print_message("%s: %d tensors, worst relative error %.2g\n", ops->name, compared, worst);
    assert_int_equal(compared, 4 * (2 + 2 + 3 + 2 + 2 + 3) + 2 * 10 + 2 * 8);
}

static void reference_is_pytorchs_and_timms(void **state)
{
    (void)state;
    against_pytorch(&tr_backend_ref);
}

static void onednn_is_pytorchs_and_timms(void **state)
{
    (void)state;
    against_pytorch(&tr_backend_onednn);
}

static const char *const names[] = {"sgd",  "sgd-nesterov", "adamw",    "lars",      "lars-nesterov",
                                    "lamb", "muon-adamw",   "muon-sgd", "muon-fixed"};

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    struct arenas *one = malloc(sizeof *one), *three = malloc(sizeof *three);

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        run(&tr_backend_onednn, 1, names[i], 1, one);
        run(&tr_backend_onednn, 3, names[i], 1, three);
        assert_memory_equal(one, three, sizeof *one);
    }
    free(one);
    free(three);
}

/* A power of two shifts the gradient and back without loss. */
static void scaled_gradients_are_unscaled_exactly(void **state)
{
    struct arenas *plain = malloc(sizeof *plain), *scaled = malloc(sizeof *scaled);

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        run(&tr_backend_onednn, 2, names[i], 1, plain);
        run(&tr_backend_onednn, 2, names[i], 65536, scaled);
        assert_memory_equal(plain->w, scaled->w, sizeof plain->w);
        assert_memory_equal(plain->v, scaled->v, sizeof plain->v);
    }
    free(plain);
    free(scaled);
}

/* Padding counts in a span's norms as nothing only while it is zero. */
static void gaps_between_tensors_stay_zero(void **state)
{
    struct arenas *a = malloc(sizeof *a);

    (void)state;
    for (size_t i = 0; i < IM_COUNT(names); i++) {
        run(&tr_backend_onednn, 2, names[i], 1, a);
        for (size_t k = 0; k < TENSORS; k++)
            for (size_t j = sizes[k]; j < spans[k].count; j++)
                assert_true(a->w[spans[k].first + j] == 0);
    }
    free(a);
}

static void gradient_norm_is_pytorchs(void **state)
{
    const struct tr_backend_ops *both[] = {&tr_backend_ref, &tr_backend_onednn};
    FILE *file = fopen(golden_path, "r");
    struct arenas *a = calloc(1, sizeof *a);
    double norm, clip;

    (void)state;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "norm %lf clip %lf", &norm, &clip), 2);
    fclose(file);
    fill_gradients(a, 0);
    for (int k = 0; k < 4; k++) {
        struct tr_backend *b;
        double sum = 0;

        assert_int_equal(both[k % 2]->open(1 + k / 2, &b, NULL), 0);
        assert_int_equal(both[k % 2]->sum_squares(b, a->g, FLOATS, &sum), 0);
        assert_true(fabs(sqrt(sum) - norm) < 1e-6 * norm);
        assert_true(fabs(fmin(1, 1 / (sqrt(sum) + 1e-6)) - clip) < 1e-6 * clip);
        a->g[FLOATS - 50] = NAN;
        assert_int_equal(both[k % 2]->sum_squares(b, a->g, FLOATS, &sum), 0);
        assert_true(!isfinite(sum));
        a->g[FLOATS - 50] = 3e38f; /* whose square float does not hold */
        assert_int_equal(both[k % 2]->sum_squares(b, a->g, FLOATS, &sum), 0);
        assert_true(isfinite(sum));
        a->g[FLOATS - 50] = 0;
        fill_gradients(a, 0);
        both[k % 2]->close(b);
    }
    free(a);
}

static void lerp_of_one_copies_even_over_nan(void **state)
{
    const struct tr_backend_ops *both[] = {&tr_backend_ref, &tr_backend_onednn};

    (void)state;
    for (int k = 0; k < 2; k++) {
        float y[3] = {NAN, INFINITY, 1}, z[3] = {1, 1, 1};
        const float x[3] = {2, 3, 4};
        struct tr_backend *b;

        assert_int_equal(both[k]->open(1, &b, NULL), 0);
        assert_int_equal(both[k]->lerp(b, y, x, 1, 3), 0);
        assert_memory_equal(y, x, sizeof y);
        assert_int_equal(both[k]->lerp(b, z, x, 0.25, 3), 0);
        assert_true(z[0] == 1.25f && z[1] == 1.5f && z[2] == 1.75f);
        assert_int_equal(both[k]->add(b, z, x, 3), 0);
        assert_true(z[0] == 3.25f && z[1] == 4.5f && z[2] == 5.75f);
        both[k]->close(b);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_is_pytorchs_and_timms),
        cmocka_unit_test(onednn_is_pytorchs_and_timms),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(scaled_gradients_are_unscaled_exactly),
        cmocka_unit_test(gaps_between_tensors_stay_zero),
        cmocka_unit_test(gradient_norm_is_pytorchs),
        cmocka_unit_test(lerp_of_one_copies_even_over_nan),
    };

    if (argc != 2)
        return 2;
    golden_path = argv[1];
    return cmocka_run_group_tests(tests, NULL, NULL);
}
