/* Owns the arenas, checks labels, and evaluates. graphs.c has the graphs of batches, step.c the training
 * step. */
#include "trainer/network/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/network/impl.h"

static int init_arenas(struct tr_network *net, uint64_t seed, struct im_text *text)
{
    float *params = calloc(net->model->param_floats, sizeof *params);
    float *stats = calloc(net->model->stat_floats, sizeof *stats);
    int err = params && stats ? 0 : -ENOMEM;

    for (int i = 0; err == 0 && i < TR_ARENA_COUNT; i++) {
        size_t floats = tr_network_floats(net, (enum tr_arena)i);

        if (floats > 0)
            err = net->ops->buffer_new(net->backend, floats * sizeof(float), (void **)&net->arenas[i]);
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
    net->accumulates = config->accumulates;
    net->averages = config->averages;
    net->bn_sync = config->bn_sync;
    net->seed = config->seed;
    net->memory_max = config->memory_max;
    net->precision = config->precision;
    net->plain_steps = config->plain_steps;
    net->ops = config->ops;
    err = net->ops ? 0 : tr_backend_find(config->backend, &net->ops, text);
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
    for (int i = 0; i < TR_GRAPHS_MAX; i++) {
        tr_entry_free_captured(net, &net->graphs[i]);
        tr_graph_free(net->graphs[i].graph);
    }
    if (net->backend) {
        tr_network_shadow_close(net);
        for (int i = 0; i < TR_ARENA_COUNT; i++)
            if (net->arenas[i])
                net->ops->buffer_free(net->backend, net->arenas[i],
                                      tr_network_floats(net, (enum tr_arena)i) * sizeof(float));
        net->ops->buffer_free(net->backend, net->values, net->value_bytes);
        net->ops->buffer_free(net->backend, net->class_weights, class_weights_bytes(net));
        net->ops->buffer_free(net->backend, net->label_sets, label_sets_bytes(net));
        net->ops->close(net->backend);
    }
    free(net->buckets);
    free(net->spans);
    tr_model_free(net->model);
    free(net);
}

int tr_network_train(struct tr_network *net, const struct tr_groups *groups, struct im_text *text)
{
    int err = net->ops->sync ? net->ops->sync(net->backend) : 0;

    if (err < 0)
        return tr_network_failed(net, err, "training step", text);
    tr_network_drop_training(net);
    free(net->spans);
    net->spans = NULL;
    net->groups = *groups;
    net->trains_norms = tr_groups_train_norms(net->model, groups);
    if (tr_groups_spans(net->model, groups, &net->spans, &net->span_count) < 0 || tr_network_buckets(net) < 0)
        return im_fail(text, -ENOMEM, "no memory for a network");
    return 0;
}

const struct tr_groups *tr_network_groups(const struct tr_network *net)
{
    return &net->groups;
}

struct tr_graph_memory tr_network_memory(const struct tr_network *net)
{
    return (struct tr_graph_memory){
        .arena = net->values,
        .params = net->arenas[TR_ARENA_PARAMS],
        .grads = net->arenas[TR_ARENA_GRADS],
        .stats = net->arenas[TR_ARENA_STATS],
        .param_version = net->param_version,
    };
}

int tr_network_check_labels(const struct tr_network *net, const struct tr_batch *batch, struct im_text *text)
{
    const int labels = net->loss.sets ? net->loss.set_count : net->model->classes;

    for (int i = 0; i < batch->n; i++) {
        bool valid = !batch->valid || batch->valid[i];

        if (valid && (batch->labels[i] < 0 || batch->labels[i] >= labels))
            return im_fail(text, -EINVAL, "label %d of sample %d is outside the model's %d %s",
                           batch->labels[i], i, labels, net->loss.sets ? "sets of classes" : "classes");
    }
    return 0;
}

int tr_network_failed(struct tr_network *net, int err, const char *what, struct im_text *text)
{
    struct im_text why = {{0}};

    if (net->ops->last_error && net->ops->last_error(net->backend, &why) < 0 && why.s[0])
        return im_fail(text, err, "the %s backend failed in the %s: %s", net->ops->name, what, why.s);
    return im_fail(text, err, "the %s backend failed in the %s", net->ops->name, what);
}

int tr_network_copy(struct tr_network *net, enum tr_arena to, enum tr_arena from)
{
    return net->ops->lerp(net->backend, net->arenas[to], net->arenas[from], 1, tr_network_floats(net, to));
}

int tr_network_reset_averages(struct tr_network *net)
{
    int err = tr_network_copy(net, TR_ARENA_EMA, TR_ARENA_PARAMS);

    net->param_version++;
    return err < 0 ? err : tr_network_copy(net, TR_ARENA_EMA_STATS, TR_ARENA_STATS);
}

/* Forward pass of the staged batch. */
static int forward_staged(struct tr_network *net, struct tr_graph *graph, const struct tr_graph_memory *m,
                          float *logits, struct tr_tally *ret_tally)
{
    struct tr_outcome outcome;
    int err = tr_graph_forward(graph, m);

    if (err == 0 && net->ops->step->outcome)
        err = net->ops->step->outcome(net->backend);
    if (err == 0 && logits)
        err = tr_graph_logits(graph, m, logits);
    if (err == 0)
        err = net->ops->step->wait(net->backend, &outcome);
    if (err == 0)
        *ret_tally = outcome.tally;
    return err;
}

int tr_network_evaluate(struct tr_network *net, const struct tr_batch *batch, bool averaged, float *logits,
                        struct tr_tally *ret_tally, struct im_text *text)
{
    struct tr_graph_memory m;
    struct tr_graph *graph = NULL;
    int err = tr_network_check_labels(net, batch, text);

    if (err == 0)
        err = tr_network_graph(net, batch->n, batch->size, false, &graph, text);
    if (err < 0)
        return err;
    m = tr_network_memory(net);
    if (averaged) {
        im_assert(net->averages);
        m.params = net->arenas[TR_ARENA_EMA];
        m.stats = net->arenas[TR_ARENA_EMA_STATS];
    }
    err = tr_graph_stage(graph, batch, 0, 0, NULL, NULL);
    if (err == 0)
        err = forward_staged(net, graph, &m, logits, ret_tally);
    return err < 0 ? tr_network_failed(net, err, "evaluation step", text) : err;
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
    const struct tr_arena_use use = {net->optimizer, net->accumulates, net->averages};

    return tr_arena_floats(net->model, &use, arena);
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
    return net->ops->copy_out(net->backend, host, net->arenas[arena],
                              tr_network_floats(net, arena) * sizeof(float));
}

int tr_network_write(struct tr_network *net, enum tr_arena arena, const float *host)
{
    net->param_version++;
    return net->ops->copy_in(net->backend, net->arenas[arena], host,
                             tr_network_floats(net, arena) * sizeof(float));
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
                                     .shadow = tr_network_shadow_bytes(net)};
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

    for (int i = 0; i < TR_ARENA_COUNT; i++) {
        size_t arena = tr_network_floats(net, (enum tr_arena)i) * sizeof(float);

        *kinds[i] += arena;
        bytes.arenas += arena;
    }
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
