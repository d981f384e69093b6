/* Fused ops against the ops that they are made of: a network with all fusions has the same logits and
 * gradients, fewer ops and less memory; and the places where fusing would be wrong are left alone.
 *
 * Tolerance: batch norm over the three values of a channel that these small images end with magnifies what
 * fp32 rounds; a gradient that goes the wrong way makes 1e-2 and more. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "trainer/backends/ref/ops.h"
#include "trainer/backends/step.h"
#include "trainer/network/fuse.h"
#include "trainer/network/graph.h"

enum { ALL = TR_FUSES_ADD | TR_FUSES_POOL | TR_FUSES_SUM };

struct made {
    struct tr_model *model;
    float *params, *grads, *stats, *logits;
    struct tr_tally tally;
    size_t bytes;
    int ops; /* that run */
};

static struct tr_model *model_of(const char *name, enum tr_stem stem, enum tr_blurpool blurpool, double drop)
{
    struct tr_model *m;
    struct im_text text = {{0}};
    const struct tr_model_config config = {
        .name = name, .stem = stem, .blurpool = blurpool, .classes = 5, .drop_path_rate = drop};

    if (tr_model_new(&config, &m, &text) < 0)
        fail_msg("%s", text.s);
    return m;
}

/* Random parameters: drawn ones would leave batch norm's at 1 and 0. */
static void draw(struct made *t)
{
    struct im_rng r = im_rng_at(1, IM_RNG_TEST, 9, 9);

    tr_model_init(t->model, 3, t->params, t->stats);
    for (int i = 0; i < t->model->tensor_count; i++) {
        const struct tr_param_tensor *at = &t->model->tensors[i];

        if (at->kind != TR_TENSOR_BN_WEIGHT && at->kind != TR_TENSOR_BN_BIAS)
            continue;
        for (size_t k = 0; k < at->count; k++)
            t->params[at->offset + k] += (float)im_rng_uniform(&r, -0.5, 0.5);
    }
}

static void run(struct made *t, struct tr_model *model, uint32_t fuses, bool training, enum imk_dtype p,
                int size)
{
    struct tr_backend_ops ops = tr_backend_ref;
    struct tr_graph_config config = {.ops = &ops,
                                     .model = model,
                                     .n = 3,
                                     .size = size,
                                     .training = training,
                                     .precision = p,
                                     .mean = {0.4f, 0.5f, 0.6f},
                                     .std = {0.2f, 0.2f, 0.2f},
                                     .seed = 4};
    uint8_t *pixels = malloc((size_t)(3 * size * size * 3));
    const int32_t labels[] = {3, 0, 4};
    struct tr_batch batch = {.pixels = pixels, .labels = labels, .n = 3, .size = size, .stride = 1};
    struct im_text text = {{0}};
    struct tr_outcome outcome;
    struct tr_graph *graph;
    void *arena;

    *t = (struct made){.model = model,
                       .params = calloc(model->param_floats, sizeof(float)),
                       .grads = calloc(model->param_floats, sizeof(float)),
                       .stats = calloc(model->stat_floats, sizeof(float)),
                       .logits = calloc(15, sizeof(float))};
    draw(t);
    for (int i = 0; i < 3 * size * size * 3; i++)
        pixels[i] = (uint8_t)((i * 7919) >> 3);
    ops.fuses = fuses;
    assert_int_equal(ops.open(1, &config.backend, NULL), 0);
    if (tr_graph_new(&config, &graph, &text) < 0)
        fail_msg("%s", text.s);
    t->bytes = tr_graph_bytes(graph);
    assert_int_equal(ops.buffer_new(config.backend, t->bytes, &arena), 0);
    struct tr_graph_memory m = {
        .arena = arena, .params = t->params, .grads = t->grads, .stats = t->stats, .param_version = 1};
    assert_int_equal(tr_graph_stage(graph, &batch, 0.1f, 0, NULL, NULL), 0);
    assert_int_equal(tr_graph_forward(graph, &m), 0);
    assert_int_equal(ops.step->wait(config.backend, &outcome), 0);
    t->tally = outcome.tally;
    assert_int_equal(tr_graph_logits(graph, &m, t->logits), 0);
    if (training)
        assert_int_equal(tr_graph_backward(graph, &m, NULL, NULL), 0);
    for (int i = 0; i < tr_graph_layers(graph); i++)
        t->ops += tr_graph_layer(graph, i).name[0] != 0;
    ops.buffer_free(config.backend, arena, t->bytes);
    tr_graph_free(graph);
    ops.close(config.backend);
    free(pixels);
}

static void release(struct made *t)
{
    free(t->params);
    free(t->grads);
    free(t->stats);
    free(t->logits);
}

static double nmse(const float *a, const float *b, size_t count)
{
    double error = 0, power = 1e-30;

    for (size_t i = 0; i < count; i++) {
        double d = (double)a[i] - (double)b[i];

        error += d * d;
        power += (double)b[i] * (double)b[i];
    }
    return error / power;
}

/* Both ways; returns how many ops fewer there are. */
static int same(const char *name, enum tr_stem stem, enum tr_blurpool blurpool, double drop, int size,
                uint32_t fuses, bool training)
{
    struct tr_model *model = model_of(name, stem, blurpool, drop);
    struct made plain, fused;
    int fewer;

    run(&plain, model, 0, training, IMK_F32, size);
    run(&fused, model, fuses, training, IMK_F32, size);
    assert_true(nmse(fused.logits, plain.logits, 15) < 1e-6);
    assert_true(nmse(fused.stats, plain.stats, model->stat_floats) < 1e-8);
    assert_true(fabs(fused.tally.loss_sum - plain.tally.loss_sum) < 1e-3);
    if (training && !(nmse(fused.grads, plain.grads, model->param_floats) < 1e-6))
        fail_msg("%s: gradients differ: NMSE %g", name, nmse(fused.grads, plain.grads, model->param_floats));
    assert_true(fused.bytes <= plain.bytes);
    fewer = plain.ops - fused.ops;
    release(&plain);
    release(&fused);
    tr_model_free(model);
    return fewer;
}

static void residual_networks_compute_the_same(void **state)
{
    (void)state;
    assert_int_equal(same("resnet20", TR_STEM_AUTO, TR_BLURPOOL_NONE, 0, 8, ALL, true), 9);
    assert_int_equal(same("resnet18", TR_STEM_IMAGENET, TR_BLURPOOL_NONE, 0, 32, TR_FUSES_POOL, true), 1);
    assert_int_equal(same("resnet18", TR_STEM_IMAGENET, TR_BLURPOOL_NONE, 0, 32, ALL, false), 8 + 1);
}

/* A drop path stands between batch norm and addition; in resnetv2 no batch norm is in front
 * of an addition. */
static void what_stands_apart_stays_apart(void **state)
{
    (void)state;
    assert_int_equal(same("resnet20", TR_STEM_AUTO, TR_BLURPOOL_NONE, 0.3, 8, ALL, true), 1);
    assert_int_equal(same("resnetv2_18", TR_STEM_SMALL, TR_BLURPOOL_NONE, 0, 8, ALL, true), 0);
    assert_int_equal(same("resnet18", TR_STEM_SMALL, TR_BLURPOOL_FFCV, 0, 8, ALL, false), 8);
}

static void narrow_types_stay_near(void **state)
{
    struct tr_model *model = model_of("resnet20", TR_STEM_AUTO, TR_BLURPOOL_NONE, 0);

    (void)state;
    for (int p = IMK_BF16; p <= IMK_F16; p++) {
        struct made plain, fused;

        run(&plain, model, 0, true, (enum imk_dtype)p, 8);
        run(&fused, model, ALL, true, (enum imk_dtype)p, 8);
        assert_true(nmse(fused.logits, plain.logits, 15) < 1e-2);
        assert_true(nmse(fused.grads, plain.grads, model->param_floats) < 0.1);
        release(&plain);
        release(&fused);
    }
    tr_model_free(model);
}

static void first_convolutions_of_blocks_add_to_what_lies_there(void **state)
{
    struct tr_model *model = model_of("resnet18", TR_STEM_IMAGENET, TR_BLURPOOL_NONE, 0);
    struct tr_fused *layers;
    int sums = 0;

    (void)state;
    assert_int_equal(tr_fuse(model, NULL, TR_FUSES_SUM, true, &layers), 0);
    for (int i = 0; i < model->layer_count; i++) {
        assert_false(layers[i].absorbed || layers[i].adds || layers[i].pools);
        sums += layers[i].sums_dx;
    }
    assert_int_equal(sums, 8); /* though ADD's gradient has two readers */
    free(layers);
    tr_model_free(model);
}

/* With pre-activation only the first of each block does: the others feed a pool or an addition, whose gradient is that of its other part, too. */
static void most_convolutions_feed_a_norm_alone(void **state)
{
    static const struct {
        const char *name;
        int convs, feed;
    } cases[] = {{"resnet18", 20, 20}, {"resnet50", 53, 53}, {"resnetv2_18", 20, 8}};

    (void)state;
    for (size_t k = 0; k < IM_COUNT(cases); k++) {
        struct tr_model *model = model_of(cases[k].name, TR_STEM_IMAGENET, TR_BLURPOOL_NONE, 0);
        struct tr_fused *layers;
        int convs = 0, feed = 0;

        assert_int_equal(tr_fuse(model, NULL, ALL, true, &layers), 0);
        for (int i = 0; i < model->layer_count; i++) {
            convs += layers[i].layer.kind == TR_OP_CONV;
            feed += layers[i].feeds_norm;
        }
        print_message("%s: %d of %d\n", cases[k].name, feed, convs);
        assert_int_equal(convs, cases[k].convs);
        assert_int_equal(feed, cases[k].feed);
        free(layers);
        tr_model_free(model);
    }
}

static float number(uint16_t half)
{
    double m = half & 0x3ff, e = (half >> 10) & 31;
    double v = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, (int)e - 25);

    return (float)(half >> 15 ? -v : v);
}

/* All finite fp16 numbers are their own rounding; between neighbours the nearer one wins, ties the even one;
 * 65520 and above are infinite. */
static void fp16_rounds_to_the_nearest_even(void **state)
{
    (void)state;
    for (uint16_t h = 0; h < 0x7bff; h++) {
        float low = number(h), high = number((uint16_t)(h + 1));
        float middle = (float)(((double)low + (double)high) / 2);
        float cases[] = {low, middle, nextafterf(middle, 0), nextafterf(middle, INFINITY), -middle};
        float want[] = {low, h % 2 ? high : low, low, high, h % 2 ? -high : -low};

        tr_ref_round(IMK_F16, cases, 5);
        assert_memory_equal(cases, want, sizeof want);
    }
    for (int sign = -1; sign <= 1; sign += 2) {
        float cases[] = {(float)sign * 65519.0f, (float)sign * 65520.0f, (float)sign * 1e30f};

        tr_ref_round(IMK_F16, cases, 3);
        assert_true(cases[0] == (float)sign * 65504.0f && isinf(cases[1]) && isinf(cases[2]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(residual_networks_compute_the_same),
        cmocka_unit_test(what_stands_apart_stays_apart),
        cmocka_unit_test(narrow_types_stay_near),
        cmocka_unit_test(first_convolutions_of_blocks_add_to_what_lies_there),
        cmocka_unit_test(most_convolutions_feed_a_norm_alone),
        cmocka_unit_test(fp16_rounds_to_the_nearest_even),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
