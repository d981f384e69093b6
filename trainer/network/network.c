/* Holds the arenas, checks labels, and steps: on the host's word, one operation after another.
 * graphs.c has the graphs of batches, trainer/network/step.c whole steps on devices that take them. */
#include "trainer/network/network.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/network/impl.h"

static int init_arenas(struct tr_network *net, uint64_t seed, struct im_text *text)
{
    float *params = calloc(net->model->param_floats, sizeof(*params));
    float *stats = calloc(net->model->stat_floats, sizeof(*stats));
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
        err = tr_network_average(net, 0);
    if (err == 0)
        err = tr_model_spans(net->model, &net->spans, &net->span_count);
    free(params);
    free(stats);
    return err < 0 ? im_fail(text, err, "no memory for the parameters of %s", net->model->name) : 0;
}

static int check_backend(const struct tr_backend_ops *ops, enum tr_precision precision, struct im_text *text)
{
    static const char *const names[] = {"none", "bf16", "fp16"};

    im_assert(ops->version == TR_BACKEND_VERSION);
    if (ops->precisions >> precision & 1)
        return 0;
    return im_fail(text, -EINVAL, "the %s backend does not compute in %s: use another --amp", ops->name,
                   names[precision]);
}

int tr_network_new(const struct tr_network_config *config, struct tr_network **ret_network,
                   struct im_text *text)
{
    struct tr_network *net = calloc(1, sizeof(*net));
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
    net->optimizer = config->optimizer;
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
    err = net->ops->open_device ? net->ops->open_device(&config->device, &net->backend, text)
                                : net->ops->open(config->threads, &net->backend, text);
    if (err < 0)
        goto out;
    if (net->ops->step && config->rank_sum)
        net->ops->step->set_ranks(net->backend, config->rank_sum);
    err = init_arenas(net, config->seed, text);
    if (err == 0 && tr_network_buckets(net) < 0)
        err = im_fail(text, -ENOMEM, "no memory for a network");
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
        tr_entry_forget(net, &net->graphs[i]);
        tr_graph_free(net->graphs[i].graph);
    }
    if (net->backend) {
        for (int i = 0; i < TR_ARENA_COUNT; i++)
            if (net->arenas[i])
                net->ops->buffer_free(net->backend, net->arenas[i],
                                      tr_network_floats(net, (enum tr_arena)i) * sizeof(float));
        net->ops->buffer_free(net->backend, net->values, net->value_bytes);
        net->ops->close(net->backend);
    }
    free(net->buckets);
    free(net->spans);
    tr_model_free(net->model);
    free(net);
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
    for (int i = 0; i < batch->n; i++) {
        bool valid = !batch->valid || batch->valid[i];

        if (valid && (batch->labels[i] < 0 || batch->labels[i] >= net->model->classes))
            return im_fail(text, -EINVAL, "label %d of sample %d is outside the model's %d classes",
                           batch->labels[i], i, net->model->classes);
    }
    return 0;
}

int tr_network_failed(struct tr_network *net, int err, const char *what, struct im_text *text)
{
    struct im_text why = {{0}};

    if (net->ops->trouble && net->ops->trouble(net->backend, &why) < 0 && why.s[0])
        return im_fail(text, err, "the %s backend failed in the %s: %s", net->ops->name, what, why.s);
    return im_fail(text, err, "the %s backend failed in the %s", net->ops->name, what);
}

static int finish(struct tr_network *net, int err, const char *what, struct im_text *text)
{
    if (err == 0 && net->ops->sync)
        err = net->ops->sync(net->backend);
    return err < 0 ? tr_network_failed(net, err, what, text) : 0;
}

/* One arena into another of its size. */
int tr_network_copy(struct tr_network *net, enum tr_arena to, enum tr_arena from)
{
    return net->ops->lerp(net->backend, net->arenas[to], net->arenas[from], 1, tr_network_floats(net, to));
}

int tr_network_gradients(struct tr_network *net, const struct tr_batch *batch, float label_smoothing,
                         double divisor, struct tr_tally *ret_tally, struct im_text *text)
{
    struct tr_graph_memory m;
    struct tr_graph *graph = NULL;
    int err = tr_network_check_labels(net, batch, text);

    if (err == 0)
        err = tr_network_graph(net, batch->n, batch->size, true, &graph, text);
    if (err < 0)
        return err;
    m = tr_network_memory(net);
    err = tr_network_copy(net, TR_ARENA_STATS_BEFORE, TR_ARENA_STATS);
    if (err == 0)
        err = tr_graph_forward(graph, &m, batch, label_smoothing, divisor, ret_tally);
    if (err == 0)
        err = tr_graph_backward(graph, &m);
    if (err == 0 && isfinite(ret_tally->loss_sum))
        net->tracked++;
    else if (err == 0)
        err = tr_network_copy(net, TR_ARENA_STATS, TR_ARENA_STATS_BEFORE);
    return finish(net, err, "training step", text);
}

/* Batch norm's part of a step on a rank without samples: nothing, said at the right moments. */
static int sync_nothing(const struct tr_network *net)
{
    const struct tr_bn_sync *sync = net->bn_sync;
    const struct tr_model *m = net->model;
    const size_t bytes = m->stat_floats * sizeof(float); /* at least two numbers a channel */
    float *none[2] = {malloc(bytes), malloc(bytes)};
    int err = none[0] && none[1] ? 0 : -ENOMEM;

    for (int i = 0; i < 2 * m->layer_count && err == 0; i++) {
        bool forward = i < m->layer_count;
        const struct tr_layer *l = &m->layers[forward ? i : 2 * m->layer_count - 1 - i];
        double count = 0;

        if (l->kind != TR_OP_BN)
            continue;
        memset(none[0], 0, bytes); /* what the last layer got lies there */
        memset(none[1], 0, bytes);
        err = forward ? sync->moments(sync->context, l->channels, &count, none[0], none[1])
                      : sync->sums(sync->context, l->channels, none[0], none[1]);
    }
    free(none[0]);
    free(none[1]);
    return err;
}

int tr_network_no_gradients(struct tr_network *net, struct im_text *text)
{
    static const float zeros[4096];
    const size_t count = tr_network_floats(net, TR_ARENA_GRADS), chunk = sizeof zeros / sizeof *zeros;
    int err;

    im_assert(!net->ops->step || !net->bn_sync); /* steps of the device know about ranks without samples */
    err = net->bn_sync ? sync_nothing(net) : 0;

    for (size_t i = 0; i < count && err == 0; i += chunk)
        err = net->ops->copy_in(net->backend, net->arenas[TR_ARENA_GRADS] + i, zeros,
                                (count - i < chunk ? count - i : chunk) * sizeof *zeros);
    return finish(net, err, "training step", text);
}

int tr_network_accumulate(struct tr_network *net, bool first, bool last)
{
    const size_t count = tr_network_floats(net, TR_ARENA_GRADS);
    float *sum = net->arenas[TR_ARENA_SUM], *grads = net->arenas[TR_ARENA_GRADS];

    if (first && last)
        return 0;
    im_assert(net->accumulates);
    if (first)
        return tr_network_copy(net, TR_ARENA_SUM, TR_ARENA_GRADS);
    return last ? net->ops->add(net->backend, grads, sum, count)
                : net->ops->add(net->backend, sum, grads, count);
}

int tr_network_gradient_norm(struct tr_network *net, double *ret_norm)
{
    double squares = 0;
    int err = net->ops->sum_squares(net->backend, net->arenas[TR_ARENA_GRADS],
                                    tr_network_floats(net, TR_ARENA_GRADS), &squares);

    *ret_norm = sqrt(squares);
    return err;
}

int tr_network_update(struct tr_network *net, const struct tr_hyper *hyper, double grad_scale)
{
    const struct tr_update update = {
        .kind = net->optimizer,
        .w = net->arenas[TR_ARENA_PARAMS],
        .m = net->arenas[TR_ARENA_MOMENTUM],
        .v = net->arenas[TR_ARENA_SECOND],
        .g = net->arenas[TR_ARENA_GRADS],
        .spans = net->spans,
        .span_count = net->span_count,
        .grad_scale = grad_scale,
        .lr = hyper->lr,
        .momentum = hyper->momentum,
        .beta2 = hyper->beta2,
        .eps = hyper->eps,
        .weight_decay = hyper->weight_decay,
        .trust = hyper->trust,
        .nesterov = hyper->nesterov,
        .step = hyper->step,
    };

    im_assert(!update.v || hyper->step > 0);
    net->param_version++;
    return net->ops->update(net->backend, &update);
}

int tr_network_average(struct tr_network *net, double decay)
{
    int err = net->ops->lerp(net->backend, net->arenas[TR_ARENA_EMA], net->arenas[TR_ARENA_PARAMS], 1 - decay,
                             tr_network_floats(net, TR_ARENA_EMA));

    if (err == 0)
        err = net->ops->lerp(net->backend, net->arenas[TR_ARENA_EMA_STATS], net->arenas[TR_ARENA_STATS],
                             1 - decay, tr_network_floats(net, TR_ARENA_EMA_STATS));
    net->param_version++;
    return err;
}

static int evaluate(struct tr_network *net, const struct tr_batch *batch, bool averaged, float *logits,
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
        m.params = net->arenas[TR_ARENA_EMA];
        m.stats = net->arenas[TR_ARENA_EMA_STATS];
    }
    err = tr_graph_forward(graph, &m, batch, 0, 0, ret_tally);
    if (err == 0 && logits)
        err = tr_graph_logits(graph, &m, logits);
    return finish(net, err, "evaluation step", text);
}

int tr_network_eval_step(struct tr_network *net, const struct tr_batch *batch, float *logits,
                         struct tr_tally *ret_tally, struct im_text *text)
{
    return evaluate(net, batch, false, logits, ret_tally, text);
}

int tr_network_eval_average(struct tr_network *net, const struct tr_batch *batch, float *logits,
                            struct tr_tally *ret_tally, struct im_text *text)
{
    im_assert(net->averages);
    return evaluate(net, batch, true, logits, ret_tally, text);
}

enum tr_optimizer tr_network_optimizer(const struct tr_network *net)
{
    return net->optimizer;
}

const struct tr_model *tr_network_model(const struct tr_network *net)
{
    return net->model;
}

size_t tr_network_floats(const struct tr_network *net, enum tr_arena arena)
{
    const bool second = net->optimizer == TR_OPTIMIZER_ADAMW || net->optimizer == TR_OPTIMIZER_LAMB;
    const size_t params = net->model->param_floats, stats = net->model->stat_floats;

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
        return net->accumulates ? params : 0;
    case TR_ARENA_EMA:
        return net->averages ? params : 0;
    case TR_ARENA_EMA_STATS:
        return net->averages ? stats : 0;
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

int tr_network_lock_host(struct tr_network *net, void *memory, size_t bytes, struct im_text *text)
{
    return net->ops->host_lock ? net->ops->host_lock(net->backend, memory, bytes, text) : 0;
}

void tr_network_unlock_host(struct tr_network *net, void *memory)
{
    if (net->ops->host_unlock)
        net->ops->host_unlock(net->backend, memory);
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
                                     .apart = net->apart_bytes,
                                     .backend = net->ops->private_bytes(net->backend)};
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

const char *tr_network_caution(const struct tr_network *net)
{
    return net->ops->caution ? net->ops->caution(net->backend, net->precision) : NULL;
}
