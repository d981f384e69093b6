/* The tensor tables against torchvision's numbers, and the initial values. */
#include <errno.h>
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
#include "ipc/config/conf.h"
#include "trainer/model/groups.h"

static struct tr_model *make(const char *name, enum tr_stem stem, int classes)
{
    struct tr_model *m = NULL;
    struct im_text text = {{0}};

    assert_int_equal(
        tr_model_new(&(struct tr_model_config){.name = name, .stem = stem, .classes = classes}, &m, &text),
        0);
    return m;
}

static const struct tr_param_tensor *named(const struct tr_model *m, const char *name)
{
    for (int i = 0; i < m->tensor_count; i++)
        if (strcmp(m->tensors[i].name, name) == 0)
            return &m->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void parameter_counts_are_torchvisions_and_timms(void **state)
{
    static const struct {
        const char *name;
        int classes;
        size_t params;
        int tensors;
    } rows[] = {
        {"resnet18", 1000, 11689512, 122},
        {"resnet34", 1000, 21797672, 218},
        {"resnet50", 1000, 25557032, 320},
        {"resnet101", 1000, 44549160, 626},
        {"resnet152", 1000, 60192808, 932},
        {"resnetv2_18", 1000, 11687720, 107},
        {"resnetv2_34", 1000, 21795880, 203},
        {"resnetv2_50", 1000, 25549352, 300},
        {"resnetv2_101", 1000, 44541480, 606},
        {"resnetv2_152", 1000, 60185128, 912},
        {"resnet20", 10, 272474,
         19 * 6 + 2 * 6 + 2}, /* 19 convolutions and 2 projections, each with its batch norm; fc */
        {"resnet32", 10, 466906, 31 * 6 + 2 * 6 + 2},
        {"resnet44", 10, 661338, 43 * 6 + 2 * 6 + 2},
        {"resnet56", 10, 855770, 55 * 6 + 2 * 6 + 2},
        {"airbench94", 10, 1972802, 2 + 6 * 6 + 2}, /* Jordan's, and the classifier's bias */
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(rows); i++) {
        struct tr_model *m = make(rows[i].name, TR_STEM_AUTO, rows[i].classes);

        assert_int_equal(m->param_count, rows[i].params);
        assert_int_equal(m->tensor_count, rows[i].tensors);
        tr_model_free(m);
    }
}

static void names_and_order_are_torchvisions(void **state)
{
    struct tr_model *m = make("resnet50", TR_STEM_AUTO, 1000);
    static const char *const head[] = {
        "conv1.weight",          "bn1.weight",          "bn1.bias",
        "bn1.running_mean",      "bn1.running_var",     "bn1.num_batches_tracked",
        "layer1.0.conv1.weight", "layer1.0.bn1.weight",
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(head); i++)
        assert_string_equal(m->tensors[i].name, head[i]);
    assert_string_equal(m->tensors[24].name, "layer1.0.downsample.0.weight");
    assert_string_equal(m->tensors[25].name, "layer1.0.downsample.1.weight");
    assert_string_equal(m->tensors[317].name, "layer4.2.bn3.num_batches_tracked");
    assert_string_equal(m->tensors[318].name, "fc.weight");
    assert_string_equal(m->tensors[319].name, "fc.bias");
    tr_model_free(m);
}

static void shapes_are_torchvisions(void **state)
{
    struct tr_model *m = make("resnet50", TR_STEM_AUTO, 1000);
    const struct tr_param_tensor *t = named(m, "conv1.weight");

    (void)state;
    assert_int_equal(t->rank, 4);
    assert_memory_equal(t->shape, ((int[4]){64, 3, 7, 7}), sizeof t->shape);
    assert_memory_equal(named(m, "layer2.0.conv2.weight")->shape, ((int[4]){128, 128, 3, 3}),
                        sizeof t->shape);
    assert_memory_equal(named(m, "layer2.0.downsample.0.weight")->shape, ((int[4]){512, 256, 1, 1}),
                        sizeof t->shape);
    assert_memory_equal(named(m, "fc.weight")->shape, ((int[4]){1000, 2048, 0, 0}), sizeof t->shape);
    t = named(m, "bn1.num_batches_tracked");
    assert_int_equal(t->rank, 0);
    assert_int_equal(t->count, 1);
    tr_model_free(m);
}

/* What the option check refuses is what the network cannot take. */
static void the_options_know_each_networks_stride(void **state)
{
    (void)state;
    for (int32_t model = 0; im_conf_choice(IM_KEY_model, model); model++) {
        for (int32_t stem = 0; im_conf_choice(IM_KEY_stem, stem); stem++) {
            struct tr_model *m = make(im_conf_choice(IM_KEY_model, model), (enum tr_stem)stem, 10);
            struct im_conf conf;

            im_conf_defaults(&conf);
            conf.model = model;
            conf.stem = stem;
            assert_int_equal(im_conf_stride(&conf), m->stride);
            tr_model_free(m);
        }
    }
}

static void bottleneck_strides_on_the_3x3(void **state)
{
    struct tr_model *m = make("resnet50", TR_STEM_AUTO, 10);
    ptrdiff_t tensor = named(m, "layer2.0.conv2.weight") - m->tensors;

    (void)state;
    for (int i = 0; i < m->layer_count; i++) {
        if (m->layers[i].kind != TR_OP_CONV || m->layers[i].kernel != 1 || m->layers[i].stride != 2)
            continue;
        assert_non_null(strstr(m->tensors[m->layers[i].tensor].name, "downsample"));
    }
    for (int i = 0; i < m->layer_count; i++)
        if (m->layers[i].tensor == tensor)
            assert_int_equal(m->layers[i].stride, 2);
    tr_model_free(m);
}

static void small_stem_has_no_pool(void **state)
{
    struct tr_model *m = make("resnet18", TR_STEM_SMALL, 10);

    (void)state;
    assert_memory_equal(named(m, "conv1.weight")->shape, ((int[4]){64, 3, 3, 3}), 4 * sizeof(int));
    for (int i = 0; i < m->layer_count; i++)
        assert_int_not_equal(m->layers[i].kind, TR_OP_MAXPOOL);
    tr_model_free(m);
}

static void arenas_hold_each_tensor_once(void **state)
{
    struct tr_model *m = make("resnet18", TR_STEM_AUTO, 7);
    char *used = calloc(m->param_floats, 1);

    (void)state;
    assert_non_null(used);
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];

        assert_int_equal(t->offset % TR_ARENA_ALIGN, 0);
        if (tr_tensor_home(t) != TR_HOME_PARAMS)
            continue;
        assert_true(t->offset + t->count <= m->param_floats);
        for (size_t j = 0; j < t->count; j++)
            assert_int_equal(used[t->offset + j]++, 0);
    }
    free(used);
    tr_model_free(m);
}

static void only_weights_of_conv_and_fc_decay(void **state)
{
    struct tr_model *m = make("resnet20", TR_STEM_AUTO, 10);
    struct tr_span *spans = NULL;
    size_t count = 0, end = 0;

    (void)state;
    assert_int_equal(tr_groups_spans(m, NULL, &spans, &count), 0);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spans[i].first, end);
        end += spans[i].count;
        for (int k = 0; k < m->tensor_count; k++) {
            const struct tr_param_tensor *t = &m->tensors[k];
            size_t length = strlen(t->name);
            bool weight = t->rank >= 2 && strcmp(t->name + length - 7, ".weight") == 0;

            if (tr_tensor_home(t) == TR_HOME_PARAMS && t->offset >= spans[i].first && t->offset < end)
                assert_int_equal(spans[i].decays, weight);
        }
    }
    assert_int_equal(end, m->param_floats);
    free(spans);
    tr_model_free(m);
}

/* Muon's: [out][in kh kw] of all convolutions but the stem's and, in resnetv2, the classifier. */
static void hidden_filters_are_matrices(void **state)
{
    static const char *const models[] = {"resnet20", "resnet50", "resnetv2_50"};
    const struct tr_groups groups = {.rest_rate = 0.25};

    (void)state;
    for (size_t k = 0; k < IM_COUNT(models); k++) {
        struct tr_model *m = make(models[k], TR_STEM_AUTO, 10);
        struct tr_span *spans = NULL;
        size_t count = 0, matrices = 0, hidden = 0;

        assert_int_equal(tr_groups_spans(m, &groups, &spans, &count), 0);
        for (size_t i = 0; i < count; i++) {
            const bool matrix = spans[i].rows > 0;

            assert_true(spans[i].rate == (matrix ? 1 : 0.25));
            assert_true((size_t)spans[i].rows * (size_t)spans[i].columns <= spans[i].count);
            matrices += matrix;
        }
        for (int i = 0; i < m->tensor_count; i++) {
            const struct tr_param_tensor *t = &m->tensors[i];
            const bool outer = strncmp(t->name, "conv1", 5) == 0 || strncmp(t->name, "stem", 4) == 0 ||
                               strncmp(t->name, "head", 4) == 0 || strncmp(t->name, "fc", 2) == 0;

            assert_int_equal(tr_tensor_is_hidden_matrix(m, t), t->rank == 4 && !outer);
            hidden += t->rank == 4 && !outer;
        }
        assert_int_equal(matrices, hidden);
        free(spans);
        tr_model_free(m);
    }
}

static void initial_values_have_the_right_spread(void **state)
{
    struct tr_model *m = make("resnet18", TR_STEM_AUTO, 100);
    float *params = calloc(m->param_floats, sizeof *params), *stats = calloc(m->stat_floats, sizeof *stats);
    const struct tr_param_tensor *conv = named(m, "layer3.0.conv1.weight"), *fc = named(m, "fc.weight");
    double sum = 0, squares = 0, top = 0;

    (void)state;
    tr_model_init(m, 7, params, stats);
    for (size_t i = 0; i < conv->count; i++) {
        double v = (double)params[conv->offset + i];

        sum += v;
        squares += v * v;
    }
    /* 294,912 draws: the standard error of the deviation is 0.13 %. */
    assert_true(fabs(sqrt(squares / (double)conv->count) / sqrt(2.0 / (9 * 256)) - 1) < 0.01);
    assert_true(fabs(sum / (double)conv->count) < 0.001);
    for (size_t i = 0; i < fc->count; i++)
        top = fmax(top, fabs((double)params[fc->offset + i]));
    assert_true(top <= 1 / sqrt(512) && top > 0.999 / sqrt(512));
    assert_true(params[named(m, "bn1.weight")->offset + 63] == 1 &&
                params[named(m, "bn1.bias")->offset] == 0);
    assert_true(stats[named(m, "bn1.running_var")->offset + 63] == 1 &&
                stats[named(m, "bn1.running_mean")->offset] == 0);
    free(params);
    free(stats);
    tr_model_free(m);
}

/* The names of Jordan's state_dict, and what of them is never trained: no span covers it. */
static void airbench_is_jordans(void **state)
{
    static const char *const head[] = {"whiten.weight",
                                       "whiten.bias",
                                       "layers.1.conv1.weight",
                                       "layers.1.norm1.weight",
                                       "layers.1.norm1.bias",
                                       "layers.1.norm1.running_mean",
                                       "layers.1.norm1.running_var",
                                       "layers.1.norm1.num_batches_tracked",
                                       "layers.1.conv2.weight"};
    const struct tr_groups groups = {.rest_rate = 0.5, .norm_rate = 16};
    struct tr_model *m = make("airbench94", TR_STEM_AUTO, 10);
    struct tr_span *spans = NULL;
    size_t count = 0;

    (void)state;
    for (size_t i = 0; i < IM_COUNT(head); i++)
        assert_string_equal(m->tensors[i].name, head[i]);
    assert_string_equal(m->layers[m->whitens].name, "whiten");
    assert_int_equal(tr_groups_trained_from(m, NULL), named(m, "whiten.bias")->offset);
    assert_int_equal(tr_groups_spans(m, &groups, &spans, &count), 0);
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const bool constant = strcmp(t->name, "whiten.weight") == 0 || t->kind == TR_TENSOR_BN_WEIGHT;
        const bool fast = t->kind == TR_TENSOR_BN_BIAS || strcmp(t->name, "whiten.bias") == 0;
        const struct tr_span *of = NULL;

        for (size_t k = 0; k < count; k++)
            if (t->offset >= spans[k].first && t->offset < spans[k].first + spans[k].count)
                of = &spans[k];
        if (tr_tensor_home(t) != TR_HOME_PARAMS)
            continue;
        assert_int_equal(t->constant, constant);
        assert_int_equal(of == NULL, constant);
        if (of)
            assert_true(of->rate == (fast ? 8 : of->rows > 0 ? 1 : 0.5) && of->decays == (t->rank >= 2));
    }
    free(spans);
    tr_model_free(m);
}

/* The first filters pass the input channels; the others are drawn as torch's Conv2d draws. */
static void its_convolutions_begin_as_the_identity(void **state)
{
    struct tr_model *m = make("airbench94", TR_STEM_AUTO, 10);
    float *params = calloc(m->param_floats, sizeof *params), *stats = calloc(m->stat_floats, sizeof *stats);
    const struct tr_param_tensor *conv = named(m, "layers.1.conv1.weight"), *fc = named(m, "head.weight");
    double top = 0, squares = 0;

    (void)state;
    tr_model_init(m, 7, params, stats);
    for (size_t k = 0; k < 64; k++)
        for (size_t c = 0; c < 24; c++)
            for (size_t i = 0; i < 9; i++) {
                const float v = params[conv->offset + (k * 24 + c) * 9 + i];

                if (k < 24)
                    assert_true(v == (k == c && i == 4 ? 1 : 0));
                else
                    top = fmax(top, fabs((double)v));
            }
    assert_true(top <= 1 / sqrt(216) && top > 0.99 / sqrt(216));
    for (size_t i = 0; i < fc->count; i++)
        squares += (double)params[fc->offset + i] * (double)params[fc->offset + i];
    assert_true(fabs(sqrt(squares / (double)fc->count) * 256 - 1) < 0.05);
    free(params);
    free(stats);
    tr_model_free(m);
}

static void initial_values_follow_the_seed(void **state)
{
    struct tr_model *m = make("resnet20", TR_STEM_AUTO, 10);
    size_t bytes = m->param_floats * sizeof(float);
    float *a = calloc(1, bytes), *b = calloc(1, bytes), *stats = calloc(m->stat_floats, sizeof *stats);

    (void)state;
    tr_model_init(m, 1, a, stats);
    tr_model_init(m, 1, b, stats);
    assert_memory_equal(a, b, bytes);
    tr_model_init(m, 2, b, stats);
    assert_true(memcmp(a, b, bytes) != 0);
    free(a);
    free(b);
    free(stats);
    tr_model_free(m);
}

static void unknown_names_are_refused_with_a_sentence(void **state)
{
    struct tr_model *m = NULL;
    struct im_text text = {{0}};

    (void)state;
    assert_int_equal(tr_model_new(&(struct tr_model_config){.name = "resnet51", .classes = 10}, &m, &text),
                     -EINVAL);
    assert_non_null(strstr(text.s, "resnet51"));
    assert_non_null(strstr(text.s, "resnet56"));
    assert_int_equal(tr_model_new(&(struct tr_model_config){.name = "resnet50"}, &m, &text), -EINVAL);
    assert_int_equal(
        tr_model_new(&(struct tr_model_config){.name = "resnet50", .classes = 9, .drop_path_rate = 1}, &m,
                     &text),
        -EINVAL);
}

static struct tr_model *configured(const struct tr_model_config *config)
{
    struct tr_model *m = NULL;

    assert_int_equal(tr_model_new(config, &m, NULL), 0);
    return m;
}

static void every_model_of_the_command_line_exists(void **state)
{
    const char *name;

    (void)state;
    for (int32_t i = 0; (name = im_conf_choice(IM_KEY_model, i)); i++)
        tr_model_free(make(name, TR_STEM_AUTO, 10));
}

static void names_of_pre_activation_are_timms(void **state)
{
    struct tr_model *m = make("resnetv2_50", TR_STEM_AUTO, 1000);
    static const char *const head[] = {
        "stem.conv.weight",
        "stages.0.blocks.0.downsample.conv.weight",
        "stages.0.blocks.0.norm1.weight",
        "stages.0.blocks.0.norm1.bias",
        "stages.0.blocks.0.norm1.running_mean",
        "stages.0.blocks.0.norm1.running_var",
        "stages.0.blocks.0.norm1.num_batches_tracked",
        "stages.0.blocks.0.conv1.weight",
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(head); i++)
        assert_string_equal(m->tensors[i].name, head[i]);
    assert_string_equal(m->tensors[292].name, "stages.3.blocks.2.conv3.weight");
    assert_string_equal(m->tensors[293].name, "norm.weight");
    assert_string_equal(m->tensors[298].name, "head.fc.weight");
    assert_memory_equal(m->tensors[298].shape, ((int[4]){1000, 2048, 1, 1}), sizeof m->tensors[0].shape);
    tr_model_free(m);
}

static void no_relu_lies_on_the_shortcuts_of_pre_activation(void **state)
{
    struct tr_model *m = make("resnetv2_18", TR_STEM_AUTO, 10);

    (void)state;
    for (int i = 0; i < m->layer_count; i++)
        if (m->layers[i].kind == TR_OP_ADD)
            assert_false(m->layers[i].relu);
    tr_model_free(m);
}

static void the_head_has_the_shape_asked_for(void **state)
{
    struct tr_model *conv =
        configured(&(struct tr_model_config){.name = "resnet18", .classes = 7, .head = TR_HEAD_CONV});
    struct tr_model *fc =
        configured(&(struct tr_model_config){.name = "resnetv2_18", .classes = 7, .head = TR_HEAD_FC});

    (void)state;
    assert_int_equal(named(conv, "fc.weight")->rank, 4);
    assert_memory_equal(named(conv, "fc.weight")->shape, ((int[4]){7, 512, 1, 1}), 4 * sizeof(int));
    assert_int_equal(named(fc, "head.fc.weight")->rank, 2);
    tr_model_free(conv);
    tr_model_free(fc);
}

/* How many blurs, and the strides of what lies in front of and behind each. */
static int count_kind(const struct tr_model *m, enum tr_op_kind kind)
{
    int count = 0;

    for (int i = 0; i < m->layer_count; i++)
        count += m->layers[i].kind == kind;
    return count;
}

static void zhang_blurs_behind_the_pool_and_three_blocks(void **state)
{
    struct tr_model *m = configured(
        &(struct tr_model_config){.name = "resnet50", .classes = 7, .blurpool = TR_BLURPOOL_ZHANG});

    (void)state;
    assert_int_equal(count_kind(m, TR_OP_BLUR), 4);
    for (int i = 0; i < m->layer_count; i++) {
        const struct tr_layer *l = &m->layers[i];

        if (l->kind == TR_OP_BLUR)
            assert_true(l->stride == 2 && l->reflect);
        if (l->kind == TR_OP_MAXPOOL || (l->kind == TR_OP_CONV && l->kernel == 3))
            assert_int_equal(l->stride, 1);
    }
    assert_int_equal(m->tensor_count, 320);
    tr_model_free(m);
}

static void ffcv_blurs_in_front_of_what_strides(void **state)
{
    struct tr_model *m =
        configured(&(struct tr_model_config){.name = "resnet50", .classes = 7, .blurpool = TR_BLURPOOL_FFCV});

    (void)state;
    assert_int_equal(count_kind(m, TR_OP_BLUR), 6);
    for (int i = 0; i < m->layer_count; i++) {
        const struct tr_layer *l = &m->layers[i];

        if (l->kind == TR_OP_BLUR)
            assert_true(l->stride == 1 && !l->reflect);
        if (l->kind == TR_OP_CONV && l->stride == 2 && l->channels != 64)
            assert_int_equal(m->layers[l->in[0]].kind, TR_OP_BLUR);
    }
    tr_model_free(m);
}

static void drop_path_rises_linearly_over_the_blocks(void **state)
{
    struct tr_model *m =
        configured(&(struct tr_model_config){.name = "resnet50", .classes = 7, .drop_path_rate = 0.3});

    (void)state;
    assert_int_equal(m->blocks, 16);
    assert_int_equal(count_kind(m, TR_OP_DROPPATH), 15);
    for (int i = 0; i < m->layer_count; i++)
        if (m->layers[i].kind == TR_OP_DROPPATH)
            assert_true(fabs(m->layers[i].drop_rate - 0.3 * m->layers[i].block / 15) < 1e-12);
    tr_model_free(m);
}

static void zero_init_makes_blocks_start_as_the_identity(void **state)
{
    struct tr_model *post =
        configured(&(struct tr_model_config){.name = "resnet50", .classes = 7, .zero_init_residual = true});
    struct tr_model *pre = configured(
        &(struct tr_model_config){.name = "resnetv2_18", .classes = 7, .zero_init_residual = true});
    struct tr_model *all[] = {post, pre};
    const char *last[] = {"layer1.1.bn3.weight", "stages.1.blocks.1.conv2.weight"};
    const char *other[] = {"layer1.1.bn2.weight", "stages.1.blocks.1.conv1.weight"};

    (void)state;
    for (int k = 0; k < 2; k++) {
        float *params = calloc(all[k]->param_floats, sizeof(float));
        float *stats = calloc(all[k]->stat_floats, sizeof(float));

        tr_model_init(all[k], 1, params, stats);
        assert_true(params[named(all[k], last[k])->offset] == 0);
        assert_true(params[named(all[k], other[k])->offset] != 0);
        free(params);
        free(stats);
        tr_model_free(all[k]);
    }
}

static void the_classifier_of_pre_activation_starts_small(void **state)
{
    struct tr_model *m = make("resnetv2_50", TR_STEM_AUTO, 100);
    float *params = calloc(m->param_floats, sizeof(float)), *stats = calloc(m->stat_floats, sizeof(float));
    const struct tr_param_tensor *t = named(m, "head.fc.weight");
    double squares = 0;

    (void)state;
    tr_model_init(m, 1, params, stats);
    for (size_t i = 0; i < t->count; i++)
        squares += (double)params[t->offset + i] * (double)params[t->offset + i];
    assert_true(fabs(sqrt(squares / (double)t->count) - 0.01) < 1e-4);
    assert_true(params[named(m, "head.fc.bias")->offset] == 0);
    free(params);
    free(stats);
    tr_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameter_counts_are_torchvisions_and_timms),
        cmocka_unit_test(names_and_order_are_torchvisions),
        cmocka_unit_test(shapes_are_torchvisions),
        cmocka_unit_test(the_options_know_each_networks_stride),
        cmocka_unit_test(bottleneck_strides_on_the_3x3),
        cmocka_unit_test(small_stem_has_no_pool),
        cmocka_unit_test(arenas_hold_each_tensor_once),
        cmocka_unit_test(only_weights_of_conv_and_fc_decay),
        cmocka_unit_test(hidden_filters_are_matrices),
        cmocka_unit_test(initial_values_have_the_right_spread),
        cmocka_unit_test(airbench_is_jordans),
        cmocka_unit_test(its_convolutions_begin_as_the_identity),
        cmocka_unit_test(initial_values_follow_the_seed),
        cmocka_unit_test(unknown_names_are_refused_with_a_sentence),
        cmocka_unit_test(every_model_of_the_command_line_exists),
        cmocka_unit_test(names_of_pre_activation_are_timms),
        cmocka_unit_test(no_relu_lies_on_the_shortcuts_of_pre_activation),
        cmocka_unit_test(the_head_has_the_shape_asked_for),
        cmocka_unit_test(zhang_blurs_behind_the_pool_and_three_blocks),
        cmocka_unit_test(ffcv_blurs_in_front_of_what_strides),
        cmocka_unit_test(drop_path_rises_linearly_over_the_blocks),
        cmocka_unit_test(zero_init_makes_blocks_start_as_the_identity),
        cmocka_unit_test(the_classifier_of_pre_activation_starts_small),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
