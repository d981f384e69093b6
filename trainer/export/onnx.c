/* A network's layers one after the other as nodes. Their values are called as the layers, weights as in the state_dict;
 * a weight with batch norm folded into it keeps its name and gets a bias of its own. */
#include "trainer/export/onnx.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/classes.h"
#include "trainer/export/onnx_model.h"
#include "trainer/export/onnx_preprocess.h"

#define IN(...)                                                                                              \
    (const char *const[])                                                                                    \
    {                                                                                                        \
        __VA_ARGS__, NULL                                                                                    \
    }

struct graph {
    const struct tr_source *s;
    const struct tr_model *m;
    struct tr_onnx *o;
    bool fold;
    const char **value; /* of each layer's output; NULL: it is made with the next layer's */
    int *uses;          /* how many layers take it */
};

/* ---- weights ---- */

static const float *values_of(const struct graph *g, const struct tr_param_tensor *t)
{
    return (tr_tensor_home(t) == TR_HOME_STATS ? g->s->stats : g->s->params) + t->offset;
}

/* A tensor of the state_dict as a constant, its first `rank` extents. */
static const char *constant(struct graph *g, const struct tr_param_tensor *t, const float *values,
                            size_t rank)
{
    int64_t shape[4];

    for (int d = 0; d < 4; d++)
        shape[d] = t->shape[d];
    return tr_onnx_floats(g->o, t->name, shape, rank, values);
}

static const char *constant_of(struct graph *g, int tensor)
{
    const struct tr_param_tensor *t = &g->m->tensors[tensor];

    return constant(g, t, values_of(g, t), t->kind == TR_TENSOR_FC_WEIGHT ? 2 : (size_t)t->rank);
}

/* Batch norm is y = x * scale + shift of each channel. */
static void channel_of(const struct graph *g, const struct tr_layer *bn, int c, double *ret_scale,
                       double *ret_shift)
{
    const struct tr_param_tensor *t = &g->m->tensors[bn->tensor];
    const double weight = (double)values_of(g, &t[0])[c], bias = (double)values_of(g, &t[1])[c];
    const double mean = (double)values_of(g, &t[2])[c], var = (double)values_of(g, &t[3])[c];

    *ret_scale = weight / sqrt(var + (double)TR_BN_EPS);
    *ret_shift = bias - mean * *ret_scale;
}

/* ---- nodes ---- */

/* A convolution, or the blur, which is one in each channel. */
static void set_window(struct graph *g, struct tr_onnx_node *node, const struct tr_layer *l, int64_t pad)
{
    tr_onnx_set_ints(g->o, node, "kernel_shape", (const int64_t[]){l->kernel, l->kernel}, 2);
    tr_onnx_set_ints(g->o, node, "pads", (const int64_t[]){pad, pad, pad, pad}, 4);
    tr_onnx_set_ints(g->o, node, "strides", (const int64_t[]){l->stride, l->stride}, 2);
}

/* The ReLU behind a value, where there is one. */
static const char *finish(struct graph *g, const char *value, const struct tr_layer *l)
{
    const char *name;

    if (!l->relu)
        return value;
    name = tr_onnx_text(g->o, "%s.relu", l->name);
    if (name)
        tr_onnx_add(g->o, "Relu", name, IN(value));
    return name;
}

static void add_conv(struct graph *g, const struct tr_layer *l, const char *output, const char *weight,
                     const char *bias)
{
    struct tr_onnx_node *node = tr_onnx_add(
        g->o, "Conv", output, bias ? IN(g->value[l->in[0]], weight, bias) : IN(g->value[l->in[0]], weight));

    set_window(g, node, l, l->pad);
}

/* A convolution and the batch norm behind it as one convolution. */
static const char *add_folded(struct graph *g, const struct tr_layer *conv, const struct tr_layer *bn)
{
    const struct tr_param_tensor *t = &g->m->tensors[conv->tensor];
    const size_t row = t->count / (size_t)conv->channels;
    const float *from = values_of(g, t);
    float *weight = tr_onnx_alloc(g->o, t->count * sizeof *weight);
    float *bias = tr_onnx_alloc(g->o, (size_t)conv->channels * sizeof *bias);
    const char *bias_name = tr_onnx_text(g->o, "%s.bias", conv->name);

    if (!weight || !bias || !bias_name)
        return "";
    for (int c = 0; c < conv->channels; c++) {
        double scale, shift;

        channel_of(g, bn, c, &scale, &shift);
        for (size_t i = (size_t)c * row; i < ((size_t)c + 1) * row; i++)
            weight[i] = (float)((double)from[i] * scale);
        bias[c] = (float)shift;
    }
    tr_onnx_floats(g->o, bias_name, (const int64_t[]){conv->channels}, 1, bias);
    add_conv(g, conv, bn->name, constant(g, t, weight, 4), bias_name);
    return finish(g, bn->name, bn);
}

static const char *add_bn(struct graph *g, const struct tr_layer *l)
{
    const struct tr_layer *before = &g->m->layers[l->in[0]];
    struct tr_onnx_node *node;

    if (!g->value[l->in[0]])
        return add_folded(g, before, l);
    node = tr_onnx_add(g->o, "BatchNormalization", l->name,
                       IN(g->value[l->in[0]], constant_of(g, l->tensor), constant_of(g, l->tensor + 1),
                          constant_of(g, l->tensor + 2), constant_of(g, l->tensor + 3)));
    tr_onnx_set_float(g->o, node, "epsilon", TR_BN_EPS);
    return finish(g, l->name, l);
}

/* The filter of all blurs of so many channels. */
static const char *filter_of(struct graph *g, int channels)
{
    static const float row[3] = {0.25F, 0.5F, 0.25F};
    const char *name = tr_onnx_text(g->o, "blur.%d", channels);
    float *filter = tr_onnx_alloc(g->o, (size_t)channels * 9 * sizeof *filter);

    for (int i = 0; filter && i < channels * 9; i++)
        filter[i] = row[i / 3 % 3] * row[i % 3];
    if (name && filter)
        tr_onnx_floats(g->o, name, (const int64_t[]){channels, 1, 3, 3}, 4, filter);
    return name;
}

/* Each number of channels has one filter, made at its first layer. */
static bool is_first_of_its_channels(const struct graph *g, const struct tr_layer *l)
{
    for (const struct tr_layer *before = g->m->layers; before < l; before++)
        if (before->kind == TR_OP_BLUR && before->channels == l->channels)
            return false;
    return true;
}

static const char *add_blur(struct graph *g, const struct tr_layer *l)
{
    const char *in = g->value[l->in[0]], *filter, *padded;
    struct tr_onnx_node *node;

    filter = is_first_of_its_channels(g, l) ? filter_of(g, l->channels)
                                            : tr_onnx_text(g->o, "blur.%d", l->channels);
    padded = tr_onnx_text(g->o, "%s.pad", l->name);
    if (!filter || !padded)
        return "";
    if (l->reflect) {
        const char *pads = tr_onnx_text(g->o, "%s.pads", l->name);

        if (!pads)
            return "";
        tr_onnx_ints(g->o, pads, (const int64_t[]){0, 0, l->pad, l->pad, 0, 0, l->pad, l->pad}, 8);
        node = tr_onnx_add(g->o, "Pad", padded, IN(in, pads));
        tr_onnx_set_text(g->o, node, "mode", "reflect");
        in = padded;
    }
    node = tr_onnx_add(g->o, "Conv", l->name, IN(in, filter));
    set_window(g, node, l, l->reflect ? 0 : l->pad);
    tr_onnx_set_int(g->o, node, "group", l->channels);
    return l->name;
}

static const char *text_of(struct graph *g, const struct tr_layer *l, const char *leaf)
{
    const char *name = tr_onnx_text(g->o, "%s.%s", l->name, leaf);

    return name ? name : "";
}

/* x (1 + erf(x / sqrt(2))) / 2: the operator Gelu is younger than the operators used here. */
static const char *add_gelu(struct graph *g, const struct tr_layer *l)
{
    const char *x = g->value[l->in[0]], *scaled = text_of(g, l, "scaled"), *erf = text_of(g, l, "erf");
    const char *above = text_of(g, l, "above"), *share = text_of(g, l, "share");
    static const float numbers[] = {0.70710678118654752F, 1, 0.5F};
    const char *const names[] = {text_of(g, l, "root"), text_of(g, l, "one"), text_of(g, l, "half")};

    for (int i = 0; i < 3; i++)
        tr_onnx_floats(g->o, names[i], (const int64_t[]){1}, 1, &numbers[i]);
    if (l->tensor >= 0) {
        const struct tr_param_tensor *t = &g->m->tensors[l->tensor];
        const char *biased = text_of(g, l, "biased");

        tr_onnx_floats(g->o, t->name, (const int64_t[]){1, t->shape[0], 1, 1}, 4, values_of(g, t));
        tr_onnx_add(g->o, "Add", biased, IN(x, t->name));
        x = biased;
    }
    tr_onnx_add(g->o, "Mul", scaled, IN(x, names[0]));
    tr_onnx_add(g->o, "Erf", erf, IN(scaled));
    tr_onnx_add(g->o, "Add", above, IN(erf, names[1]));
    tr_onnx_add(g->o, "Mul", share, IN(above, names[2]));
    tr_onnx_add(g->o, "Mul", l->name, IN(x, share));
    return l->name;
}

static const char *add_fc(struct graph *g, const struct tr_layer *l)
{
    const char *flat = tr_onnx_text(g->o, "%s.flat", l->name);
    struct tr_onnx_node *node;

    if (!flat)
        return "";
    tr_onnx_set_int(g->o, tr_onnx_add(g->o, "Flatten", flat, IN(g->value[l->in[0]])), "axis", 1);
    node = tr_onnx_add(g->o, "Gemm", "logits",
                       IN(flat, constant_of(g, l->tensor), constant_of(g, l->tensor + 1)));
    tr_onnx_set_int(g->o, node, "transB", 1);
    return "logits";
}

/* A convolution whose one reader is batch norm is made with it. */
static bool is_folded(const struct graph *g, int i)
{
    if (!g->fold || g->uses[i] != 1)
        return false;
    for (int k = i + 1; k < g->m->layer_count; k++)
        if (g->m->layers[k].in[0] == i || g->m->layers[k].in[1] == i)
            return g->m->layers[k].kind == TR_OP_BN;
    return false;
}

static const char *add_layer(struct graph *g, int i)
{
    const struct tr_layer *l = &g->m->layers[i];
    struct tr_onnx_node *node;

    switch (l->kind) {
    case TR_OP_INPUT:
        return g->value[i];
    case TR_OP_CONV:
        if (is_folded(g, i))
            return NULL;
        add_conv(g, l, l->name, constant_of(g, l->tensor), NULL);
        return l->name;
    case TR_OP_BN:
        return add_bn(g, l);
    case TR_OP_ADD:
        tr_onnx_add(g->o, "Add", l->name, IN(g->value[l->in[0]], g->value[l->in[1]]));
        return finish(g, l->name, l);
    case TR_OP_MAXPOOL:
        node = tr_onnx_add(g->o, "MaxPool", l->name, IN(g->value[l->in[0]]));
        set_window(g, node, l, l->pad);
        return l->name;
    case TR_OP_GAP:
        tr_onnx_add(g->o, "GlobalAveragePool", l->name, IN(g->value[l->in[0]]));
        return l->name;
    case TR_OP_GELU:
        return add_gelu(g, l);
    case TR_OP_FC:
        return add_fc(g, l);
    case TR_OP_BLUR:
        return add_blur(g, l);
    case TR_OP_DROPPATH: /* all pass */
        return g->value[l->in[0]];
    case TR_OP_LOSS:
        node = tr_onnx_add(g->o, g->s->conf.multi_label ? "Sigmoid" : "Softmax", "probabilities",
                           IN(g->value[l->in[0]]));
        if (!g->s->conf.multi_label)
            tr_onnx_set_int(g->o, node, "axis", 1);
        return "probabilities";
    }
    return NULL;
}

/* ---- the model ---- */

static void add_ends(struct graph *g, enum tr_onnx_start start)
{
    const struct tr_onnx_extent batch = {"batch", 0}, side = {NULL, g->s->size};
    const struct tr_onnx_extent pixels[] = {batch, {"height", 0}, {"width", 0}, {NULL, 3}};
    const struct tr_onnx_extent planes[] = {batch, {NULL, 3}, side, side};
    const struct tr_onnx_extent classes[] = {batch, {NULL, g->m->classes}};

    if (start == TR_ONNX_PIXELS) {
        tr_onnx_input(g->o, "image", TR_ONNX_UINT8, pixels, 4);
        g->value[0] = tr_onnx_preprocess(g->o, g->s, "image");
    } else {
        tr_onnx_input(g->o, "input", TR_ONNX_FLOAT, planes, 4);
        g->value[0] = "input";
    }
    tr_onnx_output(g->o, "probabilities", TR_ONNX_FLOAT, classes, 2);
    tr_onnx_output(g->o, "logits", TR_ONNX_FLOAT, classes, 2);
}

static void add_metadata(struct graph *g, enum tr_onnx_start start)
{
    const struct tr_source *s = g->s;
    char *classes = s->classes ? im_json_dump(s->classes) : NULL, number[16];

    tr_onnx_metadata(g->o, "model", g->m->name);
    tr_onnx_metadata(g->o, "stem", im_conf_choice(IM_KEY_stem, (int32_t)g->m->stem));
    tr_onnx_metadata(g->o, "head", im_conf_choice(IM_KEY_head, (int32_t)g->m->head));
    tr_onnx_metadata(g->o, "blurpool", im_conf_choice(IM_KEY_blurpool, (int32_t)g->m->blurpool));
    tr_onnx_metadata(g->o, "mean", s->conf.mean);
    tr_onnx_metadata(g->o, "std", s->conf.std);
    snprintf(number, sizeof number, "%u", s->size);
    tr_onnx_metadata(g->o, "eval-image-size", number);
    snprintf(number, sizeof number, "%u", s->resize);
    tr_onnx_metadata(g->o, "eval-resize", number);
    tr_onnx_metadata(g->o, "input", start == TR_ONNX_PIXELS ? "uint8" : "float");
    tr_onnx_metadata(g->o, "fold-bn", g->fold ? "true" : "false");
    if (s->conf.multi_label) {
        tr_onnx_metadata(g->o, im_conf_name(IM_KEY_multi_label), "true");
        tr_onnx_metadata(g->o, "probabilities", "sigmoid: each class by itself");
    }
    if (classes)
        tr_onnx_metadata(g->o, TR_CLASSES_KEY, classes);
    free(classes);
}

int tr_onnx_export(const char *path, const struct tr_source *s, enum tr_onnx_start start, bool fold,
                   struct im_text *text)
{
    const struct tr_model *m = s->model;
    struct graph g = {.s = s, .m = m, .o = tr_onnx_new(m->name), .fold = fold};
    int err = -ENOMEM;

    g.value = calloc((size_t)m->layer_count, sizeof *g.value);
    g.uses = calloc((size_t)m->layer_count, sizeof *g.uses);
    if (!g.o || !g.value || !g.uses) {
        im_fail(text, err, "cannot write %.300s: out of memory", path);
        goto out;
    }
    for (int i = 0; i < m->layer_count; i++)
        for (int k = 0; k < 2; k++)
            if (m->layers[i].in[k] >= 0)
                g.uses[m->layers[i].in[k]]++;
    add_ends(&g, start);
    add_metadata(&g, start);
    for (int i = 0; i < m->layer_count; i++)
        g.value[i] = add_layer(&g, i);
    err = tr_onnx_write(g.o, path, text);
out:
    tr_onnx_free(&g.o);
    free(g.value);
    free(g.uses);
    return err;
}
