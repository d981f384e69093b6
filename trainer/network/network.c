/* Opens and closes a network, and owns its arenas: reads and writes them, and copies them for snapshots. graphs.c has
 * the graphs of batches, step.c the steps. */
#include "trainer/network/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/backends/shadow.h"
#include "trainer/network/impl.h"

static int init_arenas(struct tr_network *net, uint64_t seed, struct im_text *text)
{
    float *params = calloc(net->model->param_floats, sizeof *params);
    float *stats = calloc(net->model->stat_floats, sizeof *stats);
    const struct tr_arena_use use = {net->optimizer, net->accumulates, net->averages};
    int err = params && stats ? 0 : -ENOMEM;

    for (int i = 0; err == 0 && i < TR_ARENA_COUNT; i++) {
        net->floats[i] = tr_arena_floats(net->model, &use, (enum tr_arena)i);
        if (net->floats[i] > 0)
            err =
                net->ops->buffer_new(net->backend, net->floats[i] * sizeof(float), (void **)&net->arenas[i]);
        net->arena_bytes += net->floats[i] * sizeof(float);
    }
    if (err == 0) {
        tr_model_init(net->model, seed, params, stats);
        err = tr_network_write(net, TR_ARENA_PARAMS, params);
    }
    if (err == 0)
        err = tr_network_write(net, TR_ARENA_STATS, stats);
    if (err == 0 && net->averages)
        err = tr_network_reset_averages(net);
    free(params);
    free(stats);
    return err < 0 ? im_fail(text, err, "no memory for the parameters of %s", net->model->name) : 0;
}

static int check_backend(const struct tr_backend_ops *ops, enum imk_dtype precision, struct im_text *text)
{
    static const char *const names[] = {"none", "bf16", "fp16"};

    im_assert(ops->version == TR_BACKEND_VERSION);
    if (ops->precisions >> precision & 1)
        return 0;
    return im_fail(text, -EINVAL, "the %s backend does not compute in %s: use another --amp", ops->name,
                   names[precision]);
}

static size_t class_weights_bytes(const struct tr_network *net)
{
    return (size_t)net->model->classes * sizeof(float);
}

/* Into the backend's memory. */
static int copy_class_weights(struct tr_network *net, const float *weights, struct im_text *text)
{
    void *buffer = NULL;
    int err = net->ops->buffer_new(net->backend, class_weights_bytes(net), &buffer);

    net->class_weights = buffer;
    if (err == 0)
        err = net->ops->copy_in(net->backend, buffer, weights, class_weights_bytes(net));
    net->loss.weights = net->class_weights;
    return err < 0 ? im_fail(text, err, "no memory for the weights of the classes") : 0;
}

static size_t label_sets_bytes(const struct tr_network *net)
{
    return (size_t)net->loss.set_count * (size_t)net->loss.set_words * sizeof(uint32_t);
}

static int copy_label_sets(struct tr_network *net, const uint32_t *sets, struct im_text *text)
{
    void *buffer = NULL;
    int err = net->ops->buffer_new(net->backend, label_sets_bytes(net), &buffer);

    net->label_sets = buffer;
    if (err == 0)
        err = net->ops->copy_in(net->backend, buffer, sets, label_sets_bytes(net));
    net->loss.sets = net->label_sets;
    return err < 0 ? im_fail(text, err, "no memory for the sets of labels") : 0;
}

int tr_network_new(const struct tr_network_config *config, struct tr_network **ret_network,
                   struct im_text *text)
{
    struct tr_network *net = calloc(1, sizeof *net);
    struct tr_device_config device = config->device;
    int err;

    if (!net)
        return im_fail(text, -ENOMEM, "no memory for a network");
    for (int c = 0; c < 3; c++) {
        if (!(config->std[c] > 0)) {
            err = im_fail(text, -EINVAL, "the standard deviation of channel %d must be positive, not %g", c,
                          (double)config->std[c]);
            goto out;
        }
        net->mean[c] = config->mean[c];
        net->std[c] = config->std[c];
    }
    net->loss = config->loss;
    net->loss.weights = NULL;
    net->loss.sets = NULL;
    net->optimizer = config->optimizer;
    net->muon = config->muon;
    net->muon_fixed_norm = config->muon_fixed_norm;
    net->accumulates = config->accumulates;
    net->averages = config->averages;
    net->bn_sync = config->bn_sync;
    net->seed = config->seed;
    net->memory_max = config->memory_max;
    net->precision = config->precision;
    net->plain_steps = config->plain_steps;
    net->ops = config->ops;
    err = net->ops ? 0 : tr_backend_find(config->backend, &net->ops, text);
    device.dw_apart &= err == 0 && net->ops->step->await_dw;
    net->dw_apart = device.dw_apart;
    if (err == 0)
        err = check_backend(net->ops, config->precision, text);
    if (err < 0)
        goto out;
    err = tr_model_new(&(struct tr_model_config){.name = config->model,
                                                 .stem = config->stem,
                                                 .head = config->head,
                                                 .blurpool = config->blurpool,
                                                 .classes = config->classes,
                                                 .drop_path_rate = config->drop_path_rate,
                                                 .zero_init_residual = config->zero_init_residual},
                       &net->model, text);
    if (err < 0)
        goto out;
    device.precision = config->precision;
    err = net->ops->open_device ? net->ops->open_device(&device, &net->backend, text)
                                : net->ops->open(config->threads, &net->backend, text);
    if (err < 0)
        goto out;
    if (config->rank_sum)
        net->ops->step->set_ranks(net->backend, config->rank_sum);
    err = init_arenas(net, config->seed, text);
    if (err == 0 && config->loss.weights)
        err = copy_class_weights(net, config->loss.weights, text);
    if (err == 0 && config->loss.sets)
        err = copy_label_sets(net, config->loss.sets, text);
    if (err == 0)
        err = tr_network_train(net, &config->groups, text);
    if (err < 0)
        goto out;
    *ret_network = net;
    net = NULL;
out:
    tr_network_free(net);
    return err;
}

void tr_network_free(struct tr_network *net)
{
    if (!net)
        return;
    if (net->backend && net->ops->sync)
        net->ops->sync(net->backend);
    tr_network_drop_graphs(net, false);
    if (net->backend) {
        tr_network_shadow_close(net);
        for (int i = 0; i < TR_ARENA_COUNT; i++)
            if (net->arenas[i])
                net->ops->buffer_free(net->backend, net->arenas[i], net->floats[i] * sizeof(float));
        net->ops->buffer_free(net->backend, net->values, net->value_bytes);
        net->ops->buffer_free(net->backend, net->class_weights, class_weights_bytes(net));
        net->ops->buffer_free(net->backend, net->label_sets, label_sets_bytes(net));
        net->ops->close(net->backend);
    }
    free(net->kept_stats);
    free(net->buckets);
    free(net->spans);
    tr_model_free(net->model);
    free(net);
}

/* The first layer, in forward order, of those that own parameters from `from` on, up to `to`. */
static int owner(const struct tr_model *m, size_t from, size_t to)
{
    int first = m->layer_count;

    for (int i = m->layer_count - 1; i > 0; i--) {
        const struct tr_layer *l = &m->layers[i];
        const int tensors = l->kind == TR_OP_CONV ? 1 : 2;

        for (int k = 0; l->tensor >= 0 && k < tensors; k++) {
            const struct tr_param_tensor *t = &m->tensors[l->tensor + k];

            if (t->offset + t->count > from && t->offset < to)
                first = i;
        }
    }
    return first;
}

/* Ranks sum gradients in buckets, whose size the backend defines: runs of the arena from its end to the first trained
 * parameter, which is roughly the order in which backward fills it. All ranks have the same buckets in the same order,
 * whatever their batch's shape. */
static int make_buckets(struct tr_network *net)
{
    const size_t begin = tr_groups_trained_from(net->model, &net->groups);
    const size_t floats = net->model->param_floats - begin;
    const size_t most = net->ops->step->sum_floats ? net->ops->step->sum_floats : floats;
    const size_t count = (floats + most - 1) / most;
    size_t to = net->model->param_floats;

    free(net->buckets);
    net->buckets = calloc(count, sizeof *net->buckets);
    if (!net->buckets)
        return -ENOMEM;
    for (net->bucket_count = 0; to > begin; net->bucket_count++) {
        size_t from = to - begin > most ? to - most : begin;

        net->buckets[net->bucket_count] =
            (struct tr_bucket){.first = from, .count = to - from, .layer = owner(net->model, from, to)};
        to = from;
    }
    return 0;
}

int tr_network_train(struct tr_network *net, const struct tr_groups *groups, struct im_text *text)
{
    int err = net->ops->sync ? net->ops->sync(net->backend) : 0;

    if (err < 0)
        return tr_network_failed(net, err, "training step", text);
    tr_network_drop_graphs(net, true);
    free(net->spans);
    net->spans = NULL;
    net->groups = *groups;
    net->trains_norms = tr_groups_train_norms(net->model, groups);
    if (tr_groups_spans(net->model, groups, &net->spans, &net->span_count) < 0 || make_buckets(net) < 0)
        return im_fail(text, -ENOMEM, "no memory for a network");
    return 0;
}

const struct tr_groups *tr_network_groups(const struct tr_network *net)
{
    return &net->groups;
}

int tr_network_reset_averages(struct tr_network *net)
{
    int err = tr_network_copy(net, TR_ARENA_EMA, TR_ARENA_PARAMS);

    net->param_version++;
    return err < 0 ? err : tr_network_copy(net, TR_ARENA_EMA_STATS, TR_ARENA_STATS);
}

void tr_network_time(struct tr_network *net, struct tr_step_times *times)
{
    net->times = times;
}

enum im_optimizer tr_network_optimizer(const struct tr_network *net)
{
    return net->optimizer;
}

bool tr_network_has_muon(const struct tr_network *net)
{
    return net->muon;
}

const struct tr_model *tr_network_model(const struct tr_network *net)
{
    return net->model;
}

size_t tr_network_floats(const struct tr_network *net, enum tr_arena arena)
{
    return net->floats[arena];
}

size_t tr_arena_floats(const struct tr_model *model, const struct tr_arena_use *use, enum tr_arena arena)
{
    const bool second = im_optimizer_is_adaptive(use->optimizer);
    const size_t params = model->param_floats, stats = model->stat_floats;

    switch (arena) {
    case TR_ARENA_PARAMS:
    case TR_ARENA_GRADS:
    case TR_ARENA_MOMENTUM:
        return params;
    case TR_ARENA_STATS:
    case TR_ARENA_STATS_BEFORE:
        return stats;
    case TR_ARENA_SECOND:
        return second ? params : 0;
    case TR_ARENA_SUM:
        return use->accumulates ? params : 0;
    case TR_ARENA_EMA:
        return use->averages ? params : 0;
    case TR_ARENA_EMA_STATS:
        return use->averages ? stats : 0;
    }
    return 0;
}

int tr_network_read(struct tr_network *net, enum tr_arena arena, float *host)
{
    return net->ops->copy_out(net->backend, host, net->arenas[arena], net->floats[arena] * sizeof(float));
}

int tr_network_write(struct tr_network *net, enum tr_arena arena, const float *host)
{
    net->param_version++;
    return net->ops->copy_in(net->backend, net->arenas[arena], host, net->floats[arena] * sizeof(float));
}

float *tr_network_arena(struct tr_network *net, enum tr_arena arena)
{
    return net->arenas[arena];
}

int tr_network_pin_host(struct tr_network *net, void *memory, size_t bytes, struct im_text *text)
{
    return net->ops->host_pin ? net->ops->host_pin(net->backend, memory, bytes, text) : 0;
}

void tr_network_unpin_host(struct tr_network *net, void *memory)
{
    if (net->ops->host_unpin)
        net->ops->host_unpin(net->backend, memory);
}

int64_t tr_network_tracked(const struct tr_network *net)
{
    return net->tracked;
}

void tr_network_set_tracked(struct tr_network *net, int64_t batches)
{
    net->tracked = batches;
}

struct tr_network_bytes tr_network_bytes(const struct tr_network *net)
{
    struct tr_network_bytes bytes = {.activations = net->value_bytes,
                                     .unshared = net->unshared_bytes,
                                     .backend = net->ops->private_bytes(net->backend),
                                     .arenas = net->arena_bytes,
                                     .shadow = net->shadow_bytes};
    size_t *const kinds[] = {
        [TR_ARENA_PARAMS] = &bytes.parameters,
        [TR_ARENA_GRADS] = &bytes.gradients,
        [TR_ARENA_MOMENTUM] = &bytes.optimizer,
        [TR_ARENA_STATS] = &bytes.statistics,
        [TR_ARENA_SECOND] = &bytes.optimizer,
        [TR_ARENA_SUM] = &bytes.gradients,
        [TR_ARENA_EMA] = &bytes.averages,
        [TR_ARENA_EMA_STATS] = &bytes.averages,
        [TR_ARENA_STATS_BEFORE] = &bytes.statistics,
    };

    for (int i = 0; i < TR_ARENA_COUNT; i++)
        *kinds[i] += net->floats[i] * sizeof(float);
    return bytes;
}

enum imk_dtype tr_network_precision(const struct tr_network *net)
{
    return net->precision;
}

const char *tr_network_precision_warning(const struct tr_network *net)
{
    return net->ops->precision_warning ? net->ops->precision_warning(net->backend, net->precision) : NULL;
}

/* ---- a copy of the arenas for a snapshot: one after the other, in a shadow of the backend ---- */

/* Bytes of the arenas before `end`. */
static size_t bytes_before(const struct tr_network *net, unsigned arenas, int end)
{
    size_t floats = 0;

    for (int i = 0; i < end; i++)
        if (arenas >> i & 1)
            floats += net->floats[i];
    return floats * sizeof(float);
}

int tr_network_shadow_open(struct tr_network *net, unsigned arenas, struct im_text *text)
{
    const size_t bytes = bytes_before(net, arenas, TR_ARENA_COUNT);
    int err;

    im_assert(!net->shadow);
    if (!net->ops->shadow)
        return -ENOTSUP;
    err = net->ops->shadow->open(net->backend, bytes, &net->shadow, text);
    net->shadow_arenas = arenas;
    net->shadow_bytes = err < 0 ? 0 : bytes;
    return err;
}

void tr_network_shadow_close(struct tr_network *net)
{
    if (net->shadow)
        net->ops->shadow->close(net->backend, net->shadow);
    net->shadow = NULL;
    net->shadow_bytes = 0;
}

float *tr_network_shadow_arena(struct tr_network *net, enum tr_arena arena)
{
    char *host;

    if (!net->shadow || !(net->shadow_arenas >> arena & 1))
        return NULL;
    host = net->ops->shadow->host(net->shadow);
    return (float *)(void *)(host + bytes_before(net, net->shadow_arenas, (int)arena));
}

int tr_network_shadow_take(struct tr_network *net, struct im_text *text)
{
    const struct tr_shadow_ops *ops = net->ops->shadow;
    int err = 0;

    for (int i = 0; i < TR_ARENA_COUNT && err == 0; i++)
        if (net->shadow_arenas >> i & 1)
            err = ops->add(net->backend, net->shadow, bytes_before(net, net->shadow_arenas, i),
                           net->arenas[i], net->floats[i] * sizeof(float));
    if (err == 0)
        err = ops->send(net->backend, net->shadow);
    return err < 0 ? tr_network_failed(net, err, "snapshot", text) : 0;
}

int tr_network_shadow_arrived(struct tr_network *net, bool wait, struct im_text *text)
{
    int arrived = net->ops->shadow->arrived(net->backend, net->shadow, wait);

    return arrived < 0 ? tr_network_failed(net, arrived, "snapshot", text) : arrived;
}
