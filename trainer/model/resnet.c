/* Builds residual networks from a few numbers per network. Tensors are listed in the order in which
 * torchvision's and timm's modules register themselves, which is the state_dict's and the arenas'; layers in
 * the order in which they run.
 *
 * Sources: torchvision/models/resnet.py; timm/models/resnetv2.py (PreActBasic, PreActBottleneck, ResNetV2),
 * timm/models/resnet.py (where aa_layer goes, the linear drop path rates); ffcv-imagenet/train_imagenet.py
 * (apply_blurpool, BlurPoolConv2d). timm's resnetv2 has no blur: here it has it at the same positions as the
 * other family. */
#include "trainer/model/build.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/config/models.h"

enum {
    BLUR_CHANNELS_MIN = 16, /* FFCV: convolutions of fewer input channels, such as the stem, are left alone */
};

struct family {
    const char *name;
    bool preact;
    enum tr_stem stem;
    int expansion;
    int width;
    int stages;
    int blocks[IM_MODEL_STAGES_MAX];
};

/* ipc/config/models.h explains the columns. */
static const struct family families[] = {
#define FAMILY(X, constant, name, preact, small, expansion, width, stages, ...)                              \
    {name, preact, (small) ? TR_STEM_SMALL : TR_STEM_IMAGENET, expansion, width, stages, {__VA_ARGS__}},
    IM_MODEL_TABLE(FAMILY, )
#undef FAMILY
};

/* The model under construction. */
struct builder {
    struct tr_model *m;
    const struct family *f;
    double drop_path_rate;
    bool zero_init_residual;
    int block;           /* the residual block that is being built */
    int stage, depth;    /* of what is appended now */
    int tensors, layers; /* those before have theirs */
};

/* All that was appended since the last call belongs to the current stage and depth. */
static void assign(struct builder *b)
{
    for (; b->tensors < b->m->tensor_count; b->tensors++) {
        b->m->tensors[b->tensors].stage = b->stage;
        b->m->tensors[b->tensors].depth = b->depth;
    }
    for (; b->layers < b->m->layer_count; b->layers++)
        b->m->layers[b->layers].stage = b->stage;
    b->m->stages = b->stage + 1;
    b->m->depths = b->depth + 1;
}

/* "layer1.0" + "conv1" */
struct path {
    char s[TR_TENSOR_NAME_MAX];
};

static struct path join_name(const char *block, const char *module, int number)
{
    struct path p;
    int n = number < 0 ? snprintf(p.s, sizeof p.s, "%s.%s", block, module)
                       : snprintf(p.s, sizeof p.s, "%s.%s%d", block, module, number);

    im_assert(n < (int)sizeof p.s);
    return p;
}

/* ---- layers ---- */

static const struct tr_init zeros = {TR_INIT_CONSTANT, 0};

/* kaiming_normal_(mode="fan_out", nonlinearity="relu") */
static int conv_tensor(struct builder *b, const char *name, int in_channels, int channels, int kernel)
{
    struct tr_init kaiming = {TR_INIT_NORMAL, sqrt(2 / ((double)channels * kernel * kernel))};

    return tr_model_tensor(b->m, name, "weight", TR_TENSOR_CONV_WEIGHT,
                           (int[4]){channels, in_channels, kernel, kernel}, kaiming);
}

static int blur(struct builder *b, int in, const char *name, int stride, bool reflect)
{
    return tr_model_layer(b->m,
                          (struct tr_layer){.kind = TR_OP_BLUR,
                                            .in = {in, -1},
                                            .channels = b->m->layers[in].channels,
                                            .kernel = 3,
                                            .stride = stride,
                                            .pad = 1,
                                            .reflect = reflect,
                                            .tensor = -1},
                          name);
}

/* Appends the layer of an existing weight; in FFCV's placement with the blur before it. */
static int conv_layer(struct builder *b, int in, const char *name, int tensor, int stride)
{
    const int *shape = b->m->tensors[tensor].shape;

    if (b->m->blurpool == TR_BLURPOOL_FFCV && stride > 1 && shape[1] >= BLUR_CHANNELS_MIN)
        in = blur(b, in, join_name(name, "blur", -1).s, 1, false);
    return tr_model_layer(b->m,
                          (struct tr_layer){.kind = TR_OP_CONV,
                                            .in = {in, -1},
                                            .channels = shape[0],
                                            .kernel = shape[2],
                                            .stride = stride,
                                            .pad = shape[2] / 2,
                                            .tensor = tensor},
                          name);
}

static int conv(struct builder *b, int in, const char *name, int channels, int kernel, int stride)
{
    int tensor = conv_tensor(b, name, b->m->layers[in].channels, channels, kernel);

    return conv_layer(b, in, name, tensor, stride);
}

/* Stochastic depth of this block's residual branch, at a rate that grows with depth. */
static int drop_path(struct builder *b, int in, const char *block)
{
    double rate = b->m->blocks > 1 ? b->drop_path_rate * b->block / (b->m->blocks - 1) : 0;

    if (rate <= 0)
        return in;
    return tr_model_layer(b->m,
                          (struct tr_layer){.kind = TR_OP_DROPPATH,
                                            .in = {in, -1},
                                            .channels = b->m->layers[in].channels,
                                            .tensor = -1,
                                            .block = b->block,
                                            .drop_rate = rate},
                          join_name(block, "drop_path", -1).s);
}

static int add_layer(struct builder *b, int branch, int shortcut, const char *block, bool relu)
{
    return tr_model_layer(b->m,
                          (struct tr_layer){.kind = TR_OP_ADD,
                                            .in = {branch, shortcut},
                                            .channels = b->m->layers[branch].channels,
                                            .relu = relu,
                                            .tensor = -1},
                          join_name(block, "add", -1).s);
}

/* ---- blocks ---- */

/* The convolutions of a block behind value `in`. Basic: 3x3 (stride), 3x3. Bottleneck: 1x1, 3x3 (stride), 1x1
 * to four times the channels. */
struct shape {
    int convs, strided;  /* their number; which of them, from 1, has the stride */
    int width, channels; /* of the first ones, of the last */
    int stride;
    bool changes; /* the shortcut needs a projection */
};

static struct shape shape_of(const struct builder *b, int in, int width, int stride)
{
    bool bottleneck = b->f->expansion == 4;
    int channels = width * b->f->expansion;

    return (struct shape){
        .convs = bottleneck ? 3 : 2,
        .strided = bottleneck ? 2 : 1,
        .width = width,
        .channels = channels,
        .stride = stride,
        .changes = stride != 1 || b->m->layers[in].channels != channels,
    };
}

static int kernel_of(const struct shape *s, int i)
{
    return s->convs == 3 && i != 2 ? 1 : 3;
}

static int channels_of(const struct shape *s, int i)
{
    return i == s->convs ? s->channels : s->width;
}

/* The stride of convolution i; in Zhang's placement a later blur has it instead. */
static int stride_of(const struct builder *b, const struct shape *s, int i)
{
    return i == s->strided && b->m->blurpool != TR_BLURPOOL_ZHANG ? s->stride : 1;
}

static int blur_behind(struct builder *b, const struct shape *s, int v, int i, const char *block)
{
    if (b->m->blurpool != TR_BLURPOOL_ZHANG || i != s->strided || s->stride == 1)
        return v;
    return blur(b, v, join_name(block, "aa", -1).s, s->stride, true);
}

/* With --zero-init-residual a block begins as the identity. */
static void end_branch(struct builder *b, int v)
{
    struct tr_param_tensor *last = &b->m->tensors[b->m->layers[v].tensor];

    if (!b->zero_init_residual)
        return;
    last->init = zeros.kind;
    last->init_value = zeros.value;
}

/* conv, norm, ReLU, ..., conv, norm; plus the shortcut; ReLU. */
static int post_block(struct builder *b, int in, const char *name, int width, int stride)
{
    struct shape s = shape_of(b, in, width, stride);
    int v = in, shortcut = in;

    for (int i = 1; i <= s.convs; i++) {
        v = conv(b, v, join_name(name, "conv", i).s, channels_of(&s, i), kernel_of(&s, i),
                 stride_of(b, &s, i));
        v = tr_model_batch_norm(b->m, v, join_name(name, "bn", i).s, i != s.convs);
        v = blur_behind(b, &s, v, i, name);
    }
    end_branch(b, v);
    v = drop_path(b, v, name);
    if (s.changes) {
        shortcut = conv(b, in, join_name(name, "downsample.", 0).s, s.channels, 1, stride);
        shortcut = tr_model_batch_norm(b->m, shortcut, join_name(name, "downsample.", 1).s, false);
    }
    return add_layer(b, v, shortcut, name, true);
}

/* norm, ReLU, conv, ..., norm, ReLU, conv; plus the shortcut, which is the block's input or a
 * projection of the first ReLU's output. timm projects in every first bottleneck of a stage, which is
 * where the channels change. */
static int pre_block(struct builder *b, int in, const char *name, int width, int stride)
{
    struct shape s = shape_of(b, in, width, stride);
    struct path down = join_name(name, "downsample.conv", -1);
    int tensor = s.changes ? conv_tensor(b, down.s, b->m->layers[in].channels, s.channels, 1) : -1;
    int v = in, active = in;

    for (int i = 1; i <= s.convs; i++) {
        v = tr_model_batch_norm(b->m, v, join_name(name, "norm", i).s, true);
        if (i == 1)
            active = v;
        v = blur_behind(b, &s, v, i - 1, name);
        v = conv(b, v, join_name(name, "conv", i).s, channels_of(&s, i), kernel_of(&s, i),
                 stride_of(b, &s, i));
    }
    end_branch(b, v);
    v = drop_path(b, v, name);
    return add_layer(b, v, s.changes ? conv_layer(b, active, down.s, tensor, stride) : in, name, false);
}

/* ---- networks ---- */

static int stem(struct builder *b)
{
    bool small = b->m->stem == TR_STEM_SMALL, zhang = b->m->blurpool == TR_BLURPOOL_ZHANG;
    const char *name = b->f->preact ? "stem.conv" : "conv1", *pool = b->f->preact ? "stem.pool" : "maxpool";
    int v = tr_model_layer(
        b->m, (struct tr_layer){.kind = TR_OP_INPUT, .in = {-1, -1}, .channels = 3, .tensor = -1}, "input");

    v = conv(b, v, name, b->f->width, small ? 3 : 7, small ? 1 : 2);
    if (!b->f->preact)
        v = tr_model_batch_norm(b->m, v, "bn1", true);
    if (small)
        return v;
    v = tr_model_layer(b->m,
                       (struct tr_layer){.kind = TR_OP_MAXPOOL,
                                         .in = {v, -1},
                                         .channels = b->f->width,
                                         .kernel = 3,
                                         .stride = zhang ? 1 : 2,
                                         .pad = 1,
                                         .tensor = -1},
                       pool);
    return zhang ? blur(b, v, join_name(pool, "aa", -1).s, 2, true) : v;
}

static int stages(struct builder *b, int v)
{
    assign(b);
    for (int stage = 0; stage < b->f->stages; stage++) {
        b->stage++;
        for (int i = 0; i < b->f->blocks[stage]; i++, b->block++) {
            int width = b->f->width << stage, stride = stage > 0 && i == 0 ? 2 : 1;
            struct path name;

            if (b->f->preact) {
                im_assert(snprintf(name.s, sizeof name.s, "stages.%d.blocks.%d", stage, i) > 0);
                v = pre_block(b, v, name.s, width, stride);
            } else {
                im_assert(snprintf(name.s, sizeof name.s, "layer%d.%d", stage + 1, i) > 0);
                v = post_block(b, v, name.s, width, stride);
            }
            b->depth++;
            assign(b);
        }
    }
    return v;
}

/* Global average, classifier, loss. */
static void add_head(struct builder *b, int v)
{
    int channels = b->m->layers[v].channels;
    struct tr_init linear = {TR_INIT_UNIFORM, 1 / sqrt(channels)}, small = {TR_INIT_NORMAL, 0.01};

    v = tr_model_layer(
        b->m, (struct tr_layer){.kind = TR_OP_GAP, .in = {v, -1}, .channels = channels, .tensor = -1},
        b->f->preact ? "head.global_pool" : "avgpool");
    tr_model_classifier(b->m, v, b->f->preact ? "head.fc" : "fc", b->f->preact ? small : linear,
                        b->f->preact ? zeros : linear);
}

int tr_resnet_build(struct tr_model *m, const struct tr_model_config *config)
{
    struct builder b = {
        .m = m, .drop_path_rate = config->drop_path_rate, .zero_init_residual = config->zero_init_residual};
    int v;

    for (size_t i = 0; i < IM_COUNT(families); i++)
        if (strcmp(families[i].name, config->name) == 0)
            b.f = &families[i];
    if (!b.f)
        return -EINVAL;
    snprintf(m->name, sizeof m->name, "%s", b.f->name);
    m->classes = config->classes;
    m->blurpool = config->blurpool;
    m->stem = config->stem == TR_STEM_AUTO ? b.f->stem : config->stem;
    m->head = config->head != TR_HEAD_AUTO ? config->head : b.f->preact ? TR_HEAD_CONV : TR_HEAD_FC;
    m->stride = (m->stem == TR_STEM_SMALL ? 1 : 4) << (b.f->stages - 1);
    for (int i = 0; i < b.f->stages; i++)
        m->blocks += b.f->blocks[i];
    v = stages(&b, stem(&b));
    if (b.f->preact) {
        v = tr_model_batch_norm(m, v, "norm", true);
        assign(&b);
    }
    b.stage++;
    b.depth++;
    add_head(&b, v);
    assign(&b);
    return 0;
}
