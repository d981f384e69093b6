#include "tests/unit/trainer/export/onnx_run.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <onnx.pb-c.h>

#include "ipc/base/count.h"
#include "ipc/base/file.h"
#include "tests/unit/ipc/base/unit.h"

enum { VALUES_MAX = 4096 };

struct value {
    const char *name;
    int64_t d[4];
    float *x;
    int64_t *i; /* of integers */
    size_t n;
};

struct onnx_run {
    Onnx__ModelProto *model;
    struct value values[VALUES_MAX];
    size_t count, constants;
};

static struct value *find(struct onnx_run *r, const char *name)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->values[i].name, name) == 0)
            return &r->values[i];
    return NULL;
}

static struct value *need(struct onnx_run *r, const char *name)
{
    struct value *v = find(r, name);

    if (!v)
        fail_msg("%s is used before it is made", name);
    return v;
}

static struct value *make(struct onnx_run *r, const char *name, int64_t n, int64_t c, int64_t h, int64_t w)
{
    struct value *v = &r->values[r->count];

    if (find(r, name))
        fail_msg("%s is made twice", name);
    assert_true(r->count++ < VALUES_MAX);
    *v = (struct value){.name = name, .d = {n, c, h, w}, .n = (size_t)(n * c * h * w)};
    v->x = calloc(v->n, sizeof *v->x);
    assert_non_null(v->x);
    return v;
}

static void add_constant(struct onnx_run *r, const Onnx__TensorProto *t)
{
    struct value *v;
    int64_t d[4] = {1, 1, 1, 1};

    for (size_t i = 0; i < t->n_dims; i++)
        d[i] = t->dims[i];
    v = make(r, t->name, d[0], d[1], d[2], d[3]);
    assert_true(t->has_raw_data);
    if (t->data_type == 1) {
        assert_int_equal(t->raw_data.len, v->n * sizeof *v->x);
        memcpy(v->x, t->raw_data.data, t->raw_data.len);
        return;
    }
    assert_int_equal(t->data_type, 7);
    assert_int_equal(t->raw_data.len, v->n * sizeof *v->i);
    v->i = calloc(v->n + 1, sizeof *v->i);
    memcpy(v->i, t->raw_data.data, t->raw_data.len);
}

/* The attributes that opset 18 gives these operators, of those that are written here. Others take none; a runtime refuses what
 * an operator does not know. */
static const struct {
    const char *op, *attributes;
} known[] = {{"BatchNormalization", "epsilon "},
             {"Concat", "axis "},
             {"Conv", "dilations group kernel_shape pads strides "},
             {"Flatten", "axis "},
             {"Gemm", "alpha beta transA transB "},
             {"MaxPool", "kernel_shape pads strides "},
             {"Mod", "fmod "},
             {"Pad", "mode "},
             {"ReduceMin", "keepdims "},
             {"Resize",
              "antialias axes coordinate_transformation_mode exclude_outside keep_aspect_ratio_policy mode "},
             {"Shape", "start end "},
             {"Softmax", "axis "},
             {"Transpose", "perm "},
             {"Cast", "to "}};

static void check_attributes(const Onnx__NodeProto *n)
{
    const char *attributes = "";

    for (size_t i = 0; i < IM_COUNT(known); i++)
        if (strcmp(known[i].op, n->op_type) == 0)
            attributes = known[i].attributes;
    for (size_t i = 0; i < n->n_attribute; i++) {
        char word[64];

        snprintf(word, sizeof word, "%.60s ", n->attribute[i]->name);
        if (!strstr(attributes, word))
            fail_msg("%s: %s has no attribute %s", n->name, n->op_type, n->attribute[i]->name);
    }
}

struct onnx_run *onnx_run_open(const char *path)
{
    struct onnx_run *r = calloc(1, sizeof *r);
    struct im_text text = {""};
    char *bytes;
    size_t n;

    if (im_read_file(path, (size_t)1 << 30, &bytes, &n, &text) < 0)
        fail_msg("%s", text.s);
    r->model = onnx__model_proto__unpack(NULL, n, (const uint8_t *)bytes);
    free(bytes);
    assert_non_null(r->model);
    assert_int_equal(r->model->ir_version, 8);
    assert_int_equal(r->model->opset_import[0]->version, 18);
    for (size_t i = 0; i < r->model->graph->n_node; i++)
        check_attributes(r->model->graph->node[i]);
    for (size_t i = 0; i < r->model->graph->n_initializer; i++)
        add_constant(r, r->model->graph->initializer[i]);
    r->constants = r->count;
    return r;
}

static void forget(struct onnx_run *r, size_t from)
{
    for (size_t i = from; i < r->count; i++) {
        free(r->values[i].x);
        free(r->values[i].i);
    }
    r->count = from;
}

void onnx_run_close(struct onnx_run *r)
{
    forget(r, 0);
    onnx__model_proto__free_unpacked(r->model, NULL);
    free(r);
}

size_t onnx_run_count(const struct onnx_run *r, const char *op)
{
    size_t n = 0;

    for (size_t i = 0; i < r->model->graph->n_node; i++)
        n += strcmp(r->model->graph->node[i]->op_type, op) == 0;
    return n;
}

const char *onnx_run_metadata(const struct onnx_run *r, const char *key)
{
    for (size_t i = 0; i < r->model->n_metadata_props; i++)
        if (strcmp(r->model->metadata_props[i]->key, key) == 0)
            return r->model->metadata_props[i]->value;
    return NULL;
}

/* ---- operators ---- */

static const Onnx__AttributeProto *attribute(const Onnx__NodeProto *n, const char *name)
{
    for (size_t i = 0; i < n->n_attribute; i++)
        if (strcmp(n->attribute[i]->name, name) == 0)
            return n->attribute[i];
    fail_msg("%s has no %s", n->name, name);
    return NULL;
}

/* What lies under one place of a window: its sum of products, or its maximum where there are no weights. */
static float window(const struct value *x, const float *plane, const float *w, int64_t k, int64_t top,
                    int64_t left)
{
    double sum = 0;
    float most = -INFINITY;

    for (int64_t a = 0; a < k; a++) {
        for (int64_t b = 0; b < k; b++) {
            const int64_t h = top + a, v = left + b;

            if (h < 0 || v < 0 || h >= x->d[2] || v >= x->d[3])
                continue;
            if (w)
                sum += (double)w[a * k + b] * (double)plane[h * x->d[3] + v];
            else
                most = fmaxf(most, plane[h * x->d[3] + v]);
        }
    }
    return w ? (float)sum : most;
}

/* Conv with weights, MaxPool without. */
static void slide(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]), *w = n->n_input > 1 ? need(r, n->input[1]) : NULL;
    const struct value *bias = n->n_input > 2 ? need(r, n->input[2]) : NULL;
    const int64_t k = attribute(n, "kernel_shape")->ints[0], s = attribute(n, "strides")->ints[0];
    const int64_t pad = attribute(n, "pads")->ints[0], deep = w ? w->d[1] : 1,
                  channels = w ? w->d[0] : x.d[1];
    const int64_t rows = (x.d[2] + 2 * pad - k) / s + 1, columns = (x.d[3] + 2 * pad - k) / s + 1;
    const bool apart = deep == 1; /* each channel by itself */
    struct value *y = make(r, n->output[0], 1, channels, rows, columns);

    assert_true(apart || deep == x.d[1]);
    for (int64_t i = 0; i < (int64_t)y->n; i++) {
        const int64_t c = i / (rows * columns), top = i / columns % rows * s - pad,
                      left = i % columns * s - pad;
        double sum = bias ? (double)bias->x[c] : 0;

        for (int64_t d = 0; d < deep; d++)
            sum += (double)window(&x, x.x + (apart ? c : d) * x.d[2] * x.d[3],
                                  w ? w->x + (c * deep + d) * k * k : NULL, k, top, left);
        y->x[i] = (float)sum;
    }
}

static void reflect(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]);
    const int64_t pad = need(r, n->input[1])->i[2], rows = x.d[2] + 2 * pad, columns = x.d[3] + 2 * pad;
    struct value *y = make(r, n->output[0], 1, x.d[1], rows, columns);

    for (int64_t i = 0; i < (int64_t)y->n; i++) {
        int64_t h = llabs(i / columns % rows - pad), v = llabs(i % columns - pad);

        h = h < x.d[2] ? h : 2 * x.d[2] - 2 - h;
        v = v < x.d[3] ? v : 2 * x.d[3] - 2 - v;
        y->x[i] = x.x[(i / (rows * columns) * x.d[2] + h) * x.d[3] + v];
    }
}

static void normalise(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]), *w = need(r, n->input[1]), *b = need(r, n->input[2]);
    const struct value *mean = need(r, n->input[3]), *var = need(r, n->input[4]);
    const double eps = (double)attribute(n, "epsilon")->f;
    struct value *y = make(r, n->output[0], 1, x.d[1], x.d[2], x.d[3]);

    for (size_t i = 0; i < y->n; i++) {
        const size_t c = i / (size_t)(x.d[2] * x.d[3]);

        y->x[i] =
            (float)(((double)x.x[i] - (double)mean->x[c]) / sqrt((double)var->x[c] + eps) * (double)w->x[c] +
                    (double)b->x[c]);
    }
}

static void average(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]);
    struct value *y = make(r, n->output[0], 1, x.d[1], 1, 1);
    const size_t places = (size_t)(x.d[2] * x.d[3]);

    for (size_t c = 0; c < y->n; c++) {
        double sum = 0;

        for (size_t i = 0; i < places; i++)
            sum += (double)x.x[c * places + i];
        y->x[c] = (float)(sum / (double)places);
    }
}

static void multiply(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]), *w = need(r, n->input[1]), *b = need(r, n->input[2]);
    struct value *y = make(r, n->output[0], 1, w->d[0], 1, 1);

    assert_int_equal(attribute(n, "transB")->i, 1);
    assert_int_equal(w->d[1], x.n);
    for (size_t c = 0; c < y->n; c++) {
        double sum = (double)b->x[c];

        for (size_t i = 0; i < x.n; i++)
            sum += (double)x.x[i] * (double)w->x[c * x.n + i];
        y->x[c] = (float)sum;
    }
}

static void pointwise(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]), *x2 = n->n_input > 1 ? need(r, n->input[1]) : NULL;
    struct value *y = make(r, n->output[0], 1, x.d[1], x.d[2], x.d[3]);

    for (size_t i = 0; i < y->n; i++) {
        const size_t channel = i / ((size_t)x.d[2] * (size_t)x.d[3]);
        const float b = !x2 ? 0 : x2->x[x2->n == 1 ? 0 : x2->n == (size_t)x.d[1] ? channel : i];

        y->x[i] = strcmp(n->op_type, "Relu") == 0  ? fmaxf(x.x[i], 0)
                  : strcmp(n->op_type, "Erf") == 0 ? erff(x.x[i])
                  : strcmp(n->op_type, "Mul") == 0 ? x.x[i] * b
                                                   : x.x[i] + b;
    }
}

static void softmax(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]);
    struct value *y = make(r, n->output[0], 1, x.d[1], 1, 1);
    double sum = 0;

    for (size_t i = 0; i < y->n; i++)
        sum += exp((double)x.x[i]);
    for (size_t i = 0; i < y->n; i++)
        y->x[i] = (float)(exp((double)x.x[i]) / sum);
}

static void sigmoid(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]);
    struct value *y = make(r, n->output[0], 1, x.d[1], 1, 1);

    for (size_t i = 0; i < y->n; i++)
        y->x[i] = (float)(1 / (1 + exp(-(double)x.x[i])));
}

static void flatten(struct onnx_run *r, const Onnx__NodeProto *n)
{
    const struct value x = *need(r, n->input[0]);

    memcpy(make(r, n->output[0], 1, (int64_t)x.n, 1, 1)->x, x.x, x.n * sizeof *x.x);
}

static const struct {
    const char *op;
    void (*run)(struct onnx_run *, const Onnx__NodeProto *);
} operators[] = {
    {"Conv", slide},
    {"MaxPool", slide},
    {"BatchNormalization", normalise},
    {"GlobalAveragePool", average},
    {"Pad", reflect},
    {"Add", pointwise},
    {"Relu", pointwise},
    {"Mul", pointwise},
    {"Erf", pointwise},
    {"Flatten", flatten},
    {"Gemm", multiply},
    {"Softmax", softmax},
    {"Sigmoid", sigmoid},
};

const float *onnx_run(struct onnx_run *r, const char *input, const float *values, int size,
                      const char *output, size_t n)
{
    const Onnx__GraphProto *g = r->model->graph;
    struct value *answer;

    forget(r, r->constants);
    assert_string_equal(g->input[0]->name, input);
    answer = make(r, g->input[0]->name, 1, 3, size, size);
    memcpy(answer->x, values, answer->n * sizeof *values);
    for (size_t i = 0; i < g->n_node; i++) {
        size_t k = 0;

        while (k < IM_COUNT(operators) && strcmp(operators[k].op, g->node[i]->op_type) != 0)
            k++;
        if (k == IM_COUNT(operators))
            fail_msg("operator %s", g->node[i]->op_type);
        operators[k].run(r, g->node[i]);
    }
    answer = need(r, output);
    assert_int_equal(answer->n, n);
    return answer->x;
}
