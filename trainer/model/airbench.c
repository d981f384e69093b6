/* airbench94 (K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498; the Muon variant of
 * 2024-11):
 *
 *     2x2 convolution without padding to 24 channels, its filters constant and made of the images (whiten.h), a bias,
 *     GELU; three groups; the maximum of windows of 3 x 3; the classifier
 *     group: 3x3 convolution, maximum of 2 x 2, batch norm, GELU, 3x3 convolution, batch norm, GELU
 *
 * Batch norm's weights are constants, 1. A group's convolutions begin as the identity on as many channels as they take.
 * Names are those of his state_dict. What differs: the classifier has a bias, which begins at 0, so that it is a
 * classifier as that of other networks; what he divides the logits by, the channels, is in its initial weights, N(0,
 * 1 / channels^2), instead, so that its rate is his over the square of it; batch norm has the eps and momentum of all
 * networks here (his: 1e-12, 0.4). Larger images leave several places at the end, whose mean counts. */
#include "trainer/model/build.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/config/models.h"

enum { PATCH = 2, WHITENED = 2 * 3 * PATCH * PATCH };

struct family {
    const char *name;
    int channels[IM_AIRBENCH_GROUPS];
};

static const struct family families[] = {
#define FAMILY(X, constant, name, ...) {name, {__VA_ARGS__}},
    IM_AIRBENCH_TABLE(FAMILY, )
#undef FAMILY
};

/* All that was appended since the last call belongs to this stage, which is also its depth. */
struct marks {
    int tensors, layers;
};

static void assign(struct tr_model *m, struct marks *done, int stage)
{
    for (; done->tensors < m->tensor_count; done->tensors++)
        m->tensors[done->tensors].stage = m->tensors[done->tensors].depth = stage;
    for (; done->layers < m->layer_count; done->layers++)
        m->layers[done->layers].stage = stage;
    m->stages = m->depths = stage + 1;
}

static int layer(struct tr_model *m, struct tr_layer l, const char *prefix, const char *leaf)
{
    char name[TR_TENSOR_NAME_MAX];

    im_assert(snprintf(name, sizeof name, "%s.%s", prefix, leaf) < (int)sizeof name);
    if (l.channels == 0)
        l.channels = m->layers[l.in[0]].channels;
    return tr_model_layer(m, l, name);
}

static int gelu(struct tr_model *m, int in, const char *prefix, const char *leaf, int bias)
{
    return layer(m, (struct tr_layer){.kind = TR_OP_GELU, .in = {in, -1}, .tensor = bias}, prefix, leaf);
}

static int maximum(struct tr_model *m, int in, int side, const char *prefix, const char *leaf)
{
    return layer(m,
                 (struct tr_layer){
                     .kind = TR_OP_MAXPOOL, .in = {in, -1}, .kernel = side, .stride = side, .tensor = -1},
                 prefix, leaf);
}

static int first_layer(struct tr_model *m)
{
    const struct tr_init drawn = {TR_INIT_NORMAL, sqrt(2.0 / (WHITENED * PATCH * PATCH))};
    const struct tr_init zeros = {TR_INIT_CONSTANT, 0};
    const int weight = tr_model_tensor(m, "whiten", "weight", TR_TENSOR_CONV_WEIGHT,
                                       (int[4]){WHITENED, 3, PATCH, PATCH}, drawn);
    const int bias = tr_model_tensor(m, "whiten", "bias", TR_TENSOR_CONV_BIAS, (int[4]){WHITENED}, zeros);
    int v = tr_model_layer(
        m, (struct tr_layer){.kind = TR_OP_INPUT, .in = {-1, -1}, .channels = 3, .tensor = -1}, "input");

    m->tensors[weight].constant = true;
    v = tr_model_layer(m,
                       (struct tr_layer){.kind = TR_OP_CONV,
                                         .in = {v, -1},
                                         .channels = WHITENED,
                                         .kernel = PATCH,
                                         .stride = 1,
                                         .tensor = weight,
                                         .constant = true},
                       "whiten");
    m->whitens = v;
    return gelu(m, v, "layers", "0", bias);
}

static int conv(struct tr_model *m, int in, const char *prefix, const char *leaf, int channels)
{
    const int inputs = m->layers[in].channels;
    const struct tr_init identity = {TR_INIT_IDENTITY, 1 / sqrt(9.0 * inputs)};
    char name[TR_TENSOR_NAME_MAX];
    int tensor;

    im_assert(snprintf(name, sizeof name, "%s.%s", prefix, leaf) < (int)sizeof name);
    tensor =
        tr_model_tensor(m, name, "weight", TR_TENSOR_CONV_WEIGHT, (int[4]){channels, inputs, 3, 3}, identity);
    return tr_model_layer(m,
                          (struct tr_layer){.kind = TR_OP_CONV,
                                            .in = {in, -1},
                                            .channels = channels,
                                            .kernel = 3,
                                            .stride = 1,
                                            .pad = 1,
                                            .tensor = tensor},
                          name);
}

static int norm(struct tr_model *m, int in, const char *prefix, const char *leaf)
{
    char name[TR_TENSOR_NAME_MAX];
    int v;

    im_assert(snprintf(name, sizeof name, "%s.%s", prefix, leaf) < (int)sizeof name);
    v = tr_model_batch_norm(m, in, name, false);
    m->tensors[m->layers[v].tensor].constant = true;
    return v;
}

static int group(struct tr_model *m, int v, int number, int channels)
{
    char name[TR_TENSOR_NAME_MAX];

    snprintf(name, sizeof name, "layers.%d", number);
    v = conv(m, v, name, "conv1", channels);
    v = maximum(m, v, 2, name, "pool");
    v = norm(m, v, name, "norm1");
    v = gelu(m, v, name, "activ1", -1);
    v = conv(m, v, name, "conv2", channels);
    v = norm(m, v, name, "norm2");
    return gelu(m, v, name, "activ2", -1);
}

int tr_airbench_build(struct tr_model *m, const struct tr_model_config *config)
{
    const struct tr_init zeros = {TR_INIT_CONSTANT, 0};
    const struct family *f = NULL;
    struct marks done = {0};
    int v;

    for (size_t i = 0; i < IM_COUNT(families); i++)
        if (strcmp(families[i].name, config->name) == 0)
            f = &families[i];
    if (!f)
        return -EINVAL;
    snprintf(m->name, sizeof m->name, "%s", f->name);
    m->classes = config->classes;
    m->stem = TR_STEM_SMALL;
    m->head = config->head == TR_HEAD_CONV ? TR_HEAD_CONV : TR_HEAD_FC;
    m->stride = IM_AIRBENCH_SIDE_MIN;
    v = first_layer(m);
    assign(m, &done, 0);
    for (int i = 0; i < IM_AIRBENCH_GROUPS; i++) {
        v = group(m, v, i + 1, f->channels[i]);
        assign(m, &done, i + 1);
    }
    v = maximum(m, v, 3, "layers", "4");
    v = layer(m, (struct tr_layer){.kind = TR_OP_GAP, .in = {v, -1}, .tensor = -1}, "head", "global_pool");
    tr_model_classifier(m, v, "head", (struct tr_init){TR_INIT_NORMAL, 1.0 / m->layers[v].channels}, zeros);
    assign(m, &done, IM_AIRBENCH_GROUPS + 1);
    return 0;
}
