/* Builds the tensor table and the layer list of a residual network from a few numbers per network, in the
 * order in which torchvision's modules register themselves; that order is the state_dict's and the arenas'.
 * Layers are listed in the order in which they run. */
#include "trainer/model.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "ipc/base/rng.h"

enum {
    STAGES_MAX = 4,
    TENSORS_MAX = 512, /* resnet50 has 320 */
    LAYERS_MAX = 256,  /* resnet50 has 126 */
    CLASSES_MAX = 1 << 20,
};

struct family {
    const char *name;
    int stages;
    int blocks[STAGES_MAX];
    int width;     /* channels of the stem and of the first stage's blocks; doubles with each stage */
    int expansion; /* a block's output channels are width * expansion; 4 means bottleneck */
    enum im_stem stem;
};

static const struct family families[] = {
    {"resnet18", 4, {2, 2, 2, 2}, 64, 1, IM_STEM_IMAGENET},
    {"resnet20", 3, {3, 3, 3}, 16, 1, IM_STEM_SMALL},
    {"resnet34", 4, {3, 4, 6, 3}, 64, 1, IM_STEM_IMAGENET},
    {"resnet50", 4, {3, 4, 6, 3}, 64, 4, IM_STEM_IMAGENET},
};

enum im_tensor_home im_tensor_home(const struct im_tensor *t)
{
    if (t->kind == IM_TENSOR_BN_COUNT)
        return IM_HOME_COUNTER;
    return t->kind == IM_TENSOR_BN_MEAN || t->kind == IM_TENSOR_BN_VAR ? IM_HOME_STATS : IM_HOME_PARAMS;
}

bool im_tensor_decays(const struct im_tensor *t)
{
    return t->kind == IM_TENSOR_CONV_WEIGHT || t->kind == IM_TENSOR_FC_WEIGHT;
}

/* Appends a tensor at the end of its arena. shape: up to the first 0. Returns its number. */
static int add_tensor(struct im_model *m, const char *prefix, const char *leaf, enum im_tensor_kind kind,
                      const int shape[4])
{
    struct im_tensor *t = &m->tensors[m->tensor_count];
    size_t *end;

    im_assert(m->tensor_count < TENSORS_MAX);
    *t = (struct im_tensor){.kind = kind, .count = 1};
    im_assert(snprintf(t->name, sizeof(t->name), "%s.%s", prefix, leaf) < (int)sizeof(t->name));
    while (t->rank < 4 && shape[t->rank] > 0) {
        t->shape[t->rank] = shape[t->rank];
        t->count *= (size_t)shape[t->rank++];
    }
    if (im_tensor_home(t) != IM_HOME_COUNTER) {
        end = im_tensor_home(t) == IM_HOME_PARAMS ? &m->param_floats : &m->stat_floats;
        t->offset = *end;
        *end += (t->count + IM_ARENA_ALIGN - 1) / IM_ARENA_ALIGN * IM_ARENA_ALIGN;
    }
    if (im_tensor_home(t) == IM_HOME_PARAMS)
        m->param_count += t->count;
    return m->tensor_count++;
}

static int add_layer(struct im_model *m, struct im_layer layer)
{
    im_assert(m->layer_count < LAYERS_MAX);
    m->layers[m->layer_count] = layer;
    return m->layer_count++;
}

static int conv(struct im_model *m, int in, const char *prefix, int channels, int kernel, int stride)
{
    int shape[4] = {channels, m->layers[in].channels, kernel, kernel};
    int tensor = add_tensor(m, prefix, "weight", IM_TENSOR_CONV_WEIGHT, shape);

    return add_layer(
        m, (struct im_layer){IM_OP_CONV, {in, -1}, channels, kernel, stride, kernel / 2, false, tensor});
}

static int batch_norm(struct im_model *m, int in, const char *prefix, bool relu)
{
    int channels = m->layers[in].channels;
    int shape[4] = {channels}, scalar[4] = {0};
    int first = add_tensor(m, prefix, "weight", IM_TENSOR_BN_WEIGHT, shape);

    add_tensor(m, prefix, "bias", IM_TENSOR_BN_BIAS, shape);
    add_tensor(m, prefix, "running_mean", IM_TENSOR_BN_MEAN, shape);
    add_tensor(m, prefix, "running_var", IM_TENSOR_BN_VAR, shape);
    add_tensor(m, prefix, "num_batches_tracked", IM_TENSOR_BN_COUNT, scalar);
    return add_layer(m, (struct im_layer){IM_OP_BN, {in, -1}, channels, 0, 0, 0, relu, first});
}

/* "layer1.0" + "conv1" */
struct path {
    char s[IM_TENSOR_NAME_MAX];
};

static struct path join(const char *block, const char *module, int number)
{
    struct path p;

    im_assert(snprintf(p.s, sizeof(p.s), "%s.%s%d", block, module, number) < (int)sizeof(p.s));
    return p;
}

/* One residual block behind value `in`. Basic: 3x3 (stride), 3x3. Bottleneck: 1x1, 3x3 (stride), 1x1 to four
 * times the channels. */
static int residual_block(struct im_model *m, const struct family *f, int in, const char *name, int width,
                          int stride)
{
    bool bottleneck = f->expansion == 4;
    int convs = bottleneck ? 3 : 2, channels = width * f->expansion;
    int v = in, shortcut = in;

    for (int i = 1; i <= convs; i++) {
        int kernel = bottleneck && i != 2 ? 1 : 3;
        int conv_stride = i == (bottleneck ? 2 : 1) ? stride : 1;

        v = conv(m, v, join(name, "conv", i).s, i == convs ? channels : width, kernel, conv_stride);
        v = batch_norm(m, v, join(name, "bn", i).s, i != convs);
    }
    if (stride != 1 || m->layers[in].channels != channels) {
        shortcut = conv(m, in, join(name, "downsample.", 0).s, channels, 1, stride);
        shortcut = batch_norm(m, shortcut, join(name, "downsample.", 1).s, false);
    }
    return add_layer(m, (struct im_layer){IM_OP_ADD, {v, shortcut}, channels, 0, 0, 0, true, -1});
}

static void build(struct im_model *m, const struct family *f)
{
    bool small = m->stem == IM_STEM_SMALL;
    int width = f->width;
    int v = add_layer(m, (struct im_layer){IM_OP_INPUT, {-1, -1}, 3, 0, 0, 0, false, -1});

    v = conv(m, v, "conv1", width, small ? 3 : 7, small ? 1 : 2);
    v = batch_norm(m, v, "bn1", true);
    if (!small)
        v = add_layer(m, (struct im_layer){IM_OP_MAXPOOL, {v, -1}, width, 3, 2, 1, false, -1});
    for (int stage = 0; stage < f->stages; stage++) {
        for (int i = 0; i < f->blocks[stage]; i++) {
            struct path name;

            im_assert(snprintf(name.s, sizeof(name.s), "layer%d.%d", stage + 1, i) < (int)sizeof(name.s));
            v = residual_block(m, f, v, name.s, width << stage, stage > 0 && i == 0 ? 2 : 1);
        }
    }
    v = add_layer(m, (struct im_layer){IM_OP_GAP, {v, -1}, m->layers[v].channels, 0, 0, 0, false, -1});
    {
        int weight[4] = {m->classes, m->layers[v].channels}, bias[4] = {m->classes};
        int first = add_tensor(m, "fc", "weight", IM_TENSOR_FC_WEIGHT, weight);

        add_tensor(m, "fc", "bias", IM_TENSOR_FC_BIAS, bias);
        v = add_layer(m, (struct im_layer){IM_OP_FC, {v, -1}, m->classes, 0, 0, 0, false, first});
    }
    add_layer(m, (struct im_layer){IM_OP_LOSS, {v, -1}, m->classes, 0, 0, 0, false, -1});
}

static const struct family *find_family(const char *name)
{
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

int im_model_new(const char *name, enum im_stem stem, int classes, struct im_model **ret_model,
                 struct im_text *text)
{
    const struct family *f = find_family(name);
    struct im_model *m;

    if (!f)
        return im_fail(text, -EINVAL,
                       "there is no model \"%s\"; known are resnet18, resnet20, resnet34 and resnet50", name);
    if (classes < 1 || classes > CLASSES_MAX)
        return im_fail(text, -EINVAL, "a model needs 1 to %d classes, not %d", CLASSES_MAX, classes);
    m = calloc(1, sizeof(*m));
    if (m) {
        m->tensors = calloc(TENSORS_MAX, sizeof(*m->tensors));
        m->layers = calloc(LAYERS_MAX, sizeof(*m->layers));
    }
    if (!m || !m->tensors || !m->layers) {
        im_model_free(m);
        return im_fail(text, -ENOMEM, "no memory for the description of %s", name);
    }
    snprintf(m->name, sizeof(m->name), "%s", f->name);
    m->stem = stem == IM_STEM_AUTO ? f->stem : stem;
    m->classes = classes;
    build(m, f);
    *ret_model = m;
    return 0;
}

void im_model_free(struct im_model *m)
{
    if (!m)
        return;
    free(m->tensors);
    free(m->layers);
    free(m);
}

static void init_tensor(const struct im_model *m, int index, uint64_t seed, float *params, float *stats)
{
    const struct im_tensor *t = &m->tensors[index];
    struct im_rng r = im_rng_at(seed, IM_RNG_INIT, 0, (uint64_t)index);
    double fan_out = (double)t->shape[0] * t->shape[2] * t->shape[3];
    double bound = 0;

    if (t->kind == IM_TENSOR_FC_WEIGHT)
        bound = 1 / sqrt(t->shape[1]);
    if (t->kind == IM_TENSOR_FC_BIAS)
        bound = 1 / sqrt(m->tensors[index - 1].shape[1]);
    for (size_t i = 0; i < t->count; i++) {
        switch (t->kind) {
        case IM_TENSOR_CONV_WEIGHT:
            params[t->offset + i] = (float)(im_rng_normal(&r) * sqrt(2 / fan_out));
            break;
        case IM_TENSOR_FC_WEIGHT:
        case IM_TENSOR_FC_BIAS:
            params[t->offset + i] = (float)im_rng_uniform(&r, -bound, bound);
            break;
        case IM_TENSOR_BN_WEIGHT:
            params[t->offset + i] = 1;
            break;
        case IM_TENSOR_BN_VAR:
            stats[t->offset + i] = 1;
            break;
        case IM_TENSOR_BN_BIAS:
        case IM_TENSOR_BN_MEAN:
        case IM_TENSOR_BN_COUNT:
            break;
        }
    }
}

void im_model_init(const struct im_model *m, uint64_t seed, float *params, float *stats)
{
    memset(params, 0, m->param_floats * sizeof(*params));
    memset(stats, 0, m->stat_floats * sizeof(*stats));
    for (int i = 0; i < m->tensor_count; i++)
        init_tensor(m, i, seed, params, stats);
}

int im_model_spans(const struct im_model *m, struct im_span **ret_spans, size_t *ret_count)
{
    struct im_span *spans = calloc((size_t)m->tensor_count, sizeof(*spans));
    size_t count = 0;

    if (!spans)
        return -ENOMEM;
    for (int i = 0; i < m->tensor_count; i++) {
        const struct im_tensor *t = &m->tensors[i];
        size_t size = (t->count + IM_ARENA_ALIGN - 1) / IM_ARENA_ALIGN * IM_ARENA_ALIGN;

        if (im_tensor_home(t) != IM_HOME_PARAMS)
            continue;
        if (count > 0 && !spans[count - 1].decays && !im_tensor_decays(t))
            spans[count - 1].count += size;
        else
            spans[count++] =
                (struct im_span){.first = t->offset, .count = size, .decays = im_tensor_decays(t)};
    }
    *ret_spans = spans;
    *ret_count = count;
    return 0;
}
