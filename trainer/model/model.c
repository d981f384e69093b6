/* The tables of a model: tensors with their offsets in the arenas, layers, initial values. The networks
 * themselves are in resnet.c and airbench.c. */
#include "trainer/model/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "ipc/config/models.h"
#include "trainer/model/build.h"

enum { CLASSES_MAX = 1 << 20 };

enum tr_tensor_home tr_tensor_home(const struct tr_param_tensor *t)
{
    if (t->kind == TR_TENSOR_BN_COUNT)
        return TR_HOME_COUNTER;
    return t->kind == TR_TENSOR_BN_MEAN || t->kind == TR_TENSOR_BN_VAR ? TR_HOME_STATS : TR_HOME_PARAMS;
}

bool tr_tensor_decays(const struct tr_param_tensor *t)
{
    return t->kind == TR_TENSOR_CONV_WEIGHT || t->kind == TR_TENSOR_FC_WEIGHT;
}

bool tr_tensor_is_hidden_matrix(const struct tr_model *m, const struct tr_param_tensor *t)
{
    return t->kind == TR_TENSOR_CONV_WEIGHT && t->stage > 0 && t->stage < m->stages - 1;
}

int tr_model_tensor(struct tr_model *m, const char *prefix, const char *leaf, enum tr_tensor_kind kind,
                    const int shape[4], struct tr_init init)
{
    struct tr_param_tensor *t = &m->tensors[m->tensor_count];
    size_t *end;

    im_assert(m->tensor_count < TR_TENSORS_MAX);
    *t = (struct tr_param_tensor){.kind = kind, .count = 1, .init = init.kind, .init_value = init.value};
    im_assert(snprintf(t->name, sizeof t->name, "%s.%s", prefix, leaf) < (int)sizeof t->name);
    while (t->rank < 4 && shape[t->rank] > 0) {
        t->shape[t->rank] = shape[t->rank];
        t->count *= (size_t)shape[t->rank++];
    }
    if (tr_tensor_home(t) != TR_HOME_COUNTER) {
        end = tr_tensor_home(t) == TR_HOME_PARAMS ? &m->param_floats : &m->stat_floats;
        t->offset = *end;
        *end += (t->count + TR_ARENA_ALIGN - 1) / TR_ARENA_ALIGN * TR_ARENA_ALIGN;
    }
    if (tr_tensor_home(t) == TR_HOME_PARAMS)
        m->param_count += t->count;
    return m->tensor_count++;
}

int tr_model_layer(struct tr_model *m, struct tr_layer layer, const char *name)
{
    struct tr_layer *l = &m->layers[m->layer_count];

    im_assert(m->layer_count < TR_LAYERS_MAX);
    *l = layer;
    im_assert(snprintf(l->name, sizeof l->name, "%s", name) < (int)sizeof l->name);
    return m->layer_count++;
}

static const struct tr_init zeros = {TR_INIT_CONSTANT, 0}, ones = {TR_INIT_CONSTANT, 1};

int tr_model_batch_norm(struct tr_model *m, int in, const char *name, bool relu)
{
    int channels = m->layers[in].channels, shape[4] = {channels}, scalar[4] = {0};
    int first = tr_model_tensor(m, name, "weight", TR_TENSOR_BN_WEIGHT, shape, ones);

    tr_model_tensor(m, name, "bias", TR_TENSOR_BN_BIAS, shape, zeros);
    tr_model_tensor(m, name, "running_mean", TR_TENSOR_BN_MEAN, shape, zeros);
    tr_model_tensor(m, name, "running_var", TR_TENSOR_BN_VAR, shape, ones);
    tr_model_tensor(m, name, "num_batches_tracked", TR_TENSOR_BN_COUNT, scalar, zeros);
    return tr_model_layer(
        m,
        (struct tr_layer){
            .kind = TR_OP_BN, .in = {in, -1}, .channels = channels, .relu = relu, .tensor = first},
        name);
}

void tr_model_classifier(struct tr_model *m, int in, const char *name, struct tr_init weight,
                         struct tr_init bias)
{
    const int one = m->head == TR_HEAD_CONV ? 1 : 0;
    const int shape[4] = {m->classes, m->layers[in].channels, one, one}, classes[4] = {m->classes};
    const int first = tr_model_tensor(m, name, "weight", TR_TENSOR_FC_WEIGHT, shape, weight);
    int v;

    tr_model_tensor(m, name, "bias", TR_TENSOR_FC_BIAS, classes, bias);
    v = tr_model_layer(
        m, (struct tr_layer){.kind = TR_OP_FC, .in = {in, -1}, .channels = m->classes, .tensor = first},
        name);
    tr_model_layer(m,
                   (struct tr_layer){.kind = TR_OP_LOSS, .in = {v, -1}, .channels = m->classes, .tensor = -1},
                   "loss");
}

static int check_config(const struct tr_model_config *c, struct im_text *text)
{
    if (c->classes < 1 || c->classes > CLASSES_MAX)
        return im_fail(text, -EINVAL, "a model needs 1 to %d classes, not %d", CLASSES_MAX, c->classes);
    if (!(c->drop_path_rate >= 0 && c->drop_path_rate < 1))
        return im_fail(text, -EINVAL, "the drop path rate must be from 0 to below 1, not %g",
                       c->drop_path_rate);
    return 0;
}

int tr_model_new(const struct tr_model_config *config, struct tr_model **ret_model, struct im_text *text)
{
    int err = check_config(config, text);
    struct tr_model *m;

    if (err < 0)
        return err;
    m = calloc(1, sizeof *m);
    if (m) {
        m->tensors = calloc(TR_TENSORS_MAX, sizeof *m->tensors);
        m->layers = calloc(TR_LAYERS_MAX, sizeof *m->layers);
    }
    if (!m || !m->tensors || !m->layers) {
        tr_model_free(m);
        return im_fail(text, -ENOMEM, "no memory for the description of %s", config->name);
    }
    err = tr_resnet_build(m, config);
    if (err == -EINVAL)
        err = tr_airbench_build(m, config);
    if (err < 0) {
        char names[512];

        tr_model_free(m);
        tr_model_names(names, sizeof names);
        return im_fail(text, err, "there is no model \"%s\"; choose one of %s", config->name, names);
    }
    *ret_model = m;
    return 0;
}

void tr_model_free(struct tr_model *m)
{
    if (!m)
        return;
    free(m->tensors);
    free(m->layers);
    free(m);
}

/* Whether element i belongs to a filter that passes an input channel. */
static bool is_identity(const struct tr_param_tensor *t, size_t i, float *ret)
{
    const size_t taps = (size_t)t->shape[2] * (size_t)t->shape[3], row = (size_t)t->shape[1] * taps;
    const size_t middle = (size_t)(t->shape[2] / 2) * (size_t)t->shape[3] + (size_t)(t->shape[3] / 2);
    const size_t filter = i / row;

    *ret = i % row == filter * taps + middle ? 1 : 0;
    return filter < (size_t)t->shape[1];
}

static void init_tensor(const struct tr_param_tensor *t, struct im_rng r, float *values)
{
    for (size_t i = 0; i < t->count; i++) {
        switch (t->init) {
        case TR_INIT_CONSTANT:
            values[i] = (float)t->init_value;
            break;
        case TR_INIT_NORMAL:
            values[i] = (float)(im_rng_normal(&r) * t->init_value);
            break;
        case TR_INIT_UNIFORM:
            values[i] = (float)im_rng_uniform(&r, -t->init_value, t->init_value);
            break;
        case TR_INIT_IDENTITY:
            if (!is_identity(t, i, &values[i]))
                values[i] = (float)im_rng_uniform(&r, -t->init_value, t->init_value);
            break;
        }
    }
}

void tr_model_init(const struct tr_model *m, uint64_t seed, float *params, float *stats)
{
    memset(params, 0, m->param_floats * sizeof *params);
    memset(stats, 0, m->stat_floats * sizeof *stats);
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        enum tr_tensor_home home = tr_tensor_home(t);

        if (home != TR_HOME_COUNTER)
            init_tensor(t, im_rng_at(seed, IM_RNG_INIT, 0, (uint64_t)i),
                        (home == TR_HOME_PARAMS ? params : stats) + t->offset);
    }
}

void tr_model_names(char *names, size_t size)
{
    static const char *const all[] = {
#define NAME(constant, word) word,
        IM_MODELS(NAME)
#undef NAME
    };
    size_t used = 0;

    for (size_t i = 0; i < IM_COUNT(all) && used < size; i++)
        used += (size_t)snprintf(names + used, size - used, "%s%s", i ? ", " : "", all[i]);
}
