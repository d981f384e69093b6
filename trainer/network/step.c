/* The steps of training and of evaluation: what is enqueued, in which order, and what is captured.
 *
 * If the backend supports capture, the first step of its kind runs as it is enqueued: libraries load code
 * then, and plans record what they need. The second one is captured; from then on it is replayed. A kind is
 * the batch's shape and its position in its window. Steps without samples, which only occur with several
 * ranks, are rare and never captured. */
#include <errno.h>
#include <stdlib.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "trainer/network/fuse.h"
#include "trainer/network/impl.h"

int tr_network_failed(struct tr_network *net, int err, const char *what, struct im_text *text)
{
    struct im_text why = {{0}};

    if (net->ops->last_error && net->ops->last_error(net->backend, &why) < 0 && why.s[0])
        return im_fail(text, err, "the %s backend failed in the %s: %s", net->ops->name, what, why.s);
    return im_fail(text, err, "the %s backend failed in the %s", net->ops->name, what);
}

static int check_labels(const struct tr_network *net, const struct tr_batch *batch, struct im_text *text)
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

static struct tr_graph_memory memory_of(const struct tr_network *net)
{
    return (struct tr_graph_memory){
        .arena = net->values,
        .params = net->arenas[TR_ARENA_PARAMS],
        .grads = net->arenas[TR_ARENA_GRADS],
        .stats = net->arenas[TR_ARENA_STATS],
        .param_version = net->param_version,
    };
}

/* ---- sums over the ranks ---- */

/* The step being enqueued. */
struct pass {
    struct tr_network *net;
    const struct tr_batch *batch; /* NULL: of a step that is captured, which none of it concerns */
    size_t shared;                /* buckets whose sum is enqueued */
};

/* The gradients are added when all are there, in the order of the ranks. */
static bool is_in_order(const struct pass *p)
{
    return p->batch && p->batch->ranks > 0;
}

static int sum_bucket(struct pass *p, int layer)
{
    struct tr_network *net = p->net;
    int err = 0;

    if (is_in_order(p))
        return 0;
    for (; err == 0 && p->shared < net->bucket_count && layer <= net->buckets[p->shared].layer; p->shared++)
        err = net->ops->step->sum(net->backend, net->arenas[TR_ARENA_GRADS] + net->buckets[p->shared].first,
                                  net->buckets[p->shared].count);
    return err;
}

static int layer_done(void *context, int layer)
{
    return sum_bucket(context, layer);
}

/* ---- a rank without samples ---- */

static int empty_norm(struct tr_network *net, const struct tr_fused *layer, bool forward)
{
    if (!net->bn_sync || !tr_fused_syncs(layer))
        return 0;
    return net->ops->step->empty_norm(net->backend, net->bn_sync, layer->layer.channels, forward);
}

/* Enqueues its part of the collective work, in the order of the other ranks. */
static int enqueue_empty(struct pass *p)
{
    struct tr_network *net = p->net;
    const int count = net->model->layer_count;
    struct tr_fused *layers = NULL;
    int err = tr_fuse(net->model, &net->groups, net->ops->fuses, true, &layers);

    if (err == 0)
        err = net->ops->step->empty_batch(net->backend, net->arenas[TR_ARENA_GRADS],
                                          net->floats[TR_ARENA_GRADS]);
    for (int i = 0; i < count && err == 0; i++)
        err = empty_norm(net, &layers[i], true);
    for (int i = count - 2; i > 0 && err == 0; i--) {
        err = empty_norm(net, &layers[i], false);
        if (err == 0)
            err = sum_bucket(p, i);
    }
    free(layers);
    return err;
}

/* ---- parts of a step ---- */

/* Batch norm's statistics as they are before a batch that keeps them, and back. */
static int keep_statistics(struct tr_network *net, bool back)
{
    const size_t bytes = net->floats[TR_ARENA_STATS] * sizeof(float);
    float *stats = net->arenas[TR_ARENA_STATS];

    if (!net->kept_stats)
        net->kept_stats = malloc(bytes + 1);
    if (!net->kept_stats)
        return -ENOMEM;
    return back ? net->ops->copy_in(net->backend, stats, net->kept_stats, bytes)
                : net->ops->copy_out(net->backend, net->kept_stats, stats, bytes);
}

static int gradients(struct pass *p, struct tr_graph *graph, bool first, bool keeps)
{
    struct tr_network *net = p->net;
    struct tr_graph_memory m = memory_of(net);
    int err = first ? tr_network_copy(net, TR_ARENA_STATS_BEFORE, TR_ARENA_STATS) : 0;

    m.times = net->times;
    if (err == 0 && keeps)
        err = keep_statistics(net, false);
    if (err == 0 && !graph)
        err = enqueue_empty(p);
    if (err == 0 && graph)
        err = tr_graph_forward(graph, &m);
    if (err == 0 && graph)
        err = tr_graph_backward(graph, &m, layer_done, p);
    if (err == 0 && keeps)
        err = keep_statistics(net, true);
    if (err == 0 && is_in_order(p) && p->batch->statistics_from >= 0)
        err = net->ops->step->take(net->backend, net->arenas[TR_ARENA_STATS], net->floats[TR_ARENA_STATS],
                                   p->batch->statistics_from);
    return err == 0 ? sum_bucket(p, 0) : err;
}

/* The window's first gradients are stored, later ones added to them; the last batch leaves the sum of all in
 * the gradient arena. A window of one batch needs no copy. */
static int accumulate(struct tr_network *net, bool first, bool last)
{
    const size_t count = net->floats[TR_ARENA_GRADS];
    float *sum = net->arenas[TR_ARENA_SUM], *grads = net->arenas[TR_ARENA_GRADS];

    if (first && last)
        return 0;
    im_assert(net->accumulates);
    if (first)
        return tr_network_copy(net, TR_ARENA_SUM, TR_ARENA_GRADS);
    return last ? net->ops->add(net->backend, grads, sum, count)
                : net->ops->add(net->backend, sum, grads, count);
}

/* The same bits as if this rank had accumulated the batches of all, one after the other. */
static int accumulate_in_order(const struct pass *p, bool first, bool last)
{
    struct tr_network *net = p->net;
    float *sum = net->arenas[TR_ARENA_SUM], *grads = net->arenas[TR_ARENA_GRADS];
    int err = net->ops->step->sum_in_order(net->backend, grads, first ? NULL : sum,
                                           net->floats[TR_ARENA_GRADS], p->batch->ranks);

    im_assert(net->accumulates || (first && last));
    return err || last ? err : tr_network_copy(net, TR_ARENA_SUM, TR_ARENA_GRADS);
}

static int update_weights(struct tr_network *net)
{
    const struct tr_step_ops *ops = net->ops->step;
    const struct tr_update u = {.kind = net->optimizer,
                                .muon = net->muon,
                                .muon_fixed_norm = net->muon_fixed_norm,
                                .w = net->arenas[TR_ARENA_PARAMS],
                                .m = net->arenas[TR_ARENA_MOMENTUM],
                                .v = net->arenas[TR_ARENA_SECOND],
                                .g = net->arenas[TR_ARENA_GRADS],
                                .spans = net->spans,
                                .span_count = net->span_count};
    const struct tr_averages a = {.params = net->arenas[TR_ARENA_EMA],
                                  .stats = net->arenas[TR_ARENA_EMA_STATS],
                                  .from_stats = net->arenas[TR_ARENA_STATS],
                                  .param_count = net->floats[TR_ARENA_EMA],
                                  .stat_count = net->floats[TR_ARENA_EMA_STATS]};
    int err =
        ops->decide(net->backend, u.g, net->floats[TR_ARENA_GRADS], net->optimizer == IM_OPTIMIZER_LAMB);

    if (err == 0)
        err = ops->update(net->backend, &u, &a);
    return err < 0 ? err
                   : ops->restore(net->backend, net->arenas[TR_ARENA_STATS],
                                  net->arenas[TR_ARENA_STATS_BEFORE], net->floats[TR_ARENA_STATS]);
}

static int timed_update(struct tr_network *net)
{
    struct tr_step_times *times = net->times;
    const im_ns began = times ? im_now() : 0;
    int err = update_weights(net);

    if (err == 0 && times && net->ops->sync)
        err = net->ops->sync(net->backend);
    if (times)
        times->update += im_now() - began;
    return err;
}

/* batch: NULL where the step is captured. */
static int enqueue(struct tr_network *net, struct tr_graph *graph, const struct tr_step *step,
                   const struct tr_batch *batch)
{
    const struct tr_step_ops *ops = net->ops->step;
    struct pass p = {.net = net, .batch = batch};
    const bool first = step->number == 1, keeps = graph && batch && batch->keeps_statistics;
    int err = gradients(&p, graph, first, keeps);

    if (err == 0)
        err = ops->sum_tally(net->backend);
    if (err == 0)
        err =
            is_in_order(&p) ? accumulate_in_order(&p, first, step->last) : accumulate(net, first, step->last);
    if (err == 0 && step->last)
        err = timed_update(net);
    return err;
}

/* ---- capture ---- */

enum { WHOLE_WINDOW = 3 }; /* the kind of a step that begins and ends its window */

static int record(struct tr_network *net, struct tr_graph *graph, const struct tr_step *step,
                  struct tr_captured_graph **ret)
{
    const struct tr_step_ops *ops = net->ops->step;
    int err = ops->capture_begin(net->backend), ended;

    if (err < 0)
        return err;
    err = enqueue(net, graph, step, NULL);
    ended = ops->capture_end(net->backend, ret);
    return err < 0 ? err : ended;
}

static int run_step(struct tr_network *net, struct tr_graph_entry *e, const struct tr_step *step)
{
    const struct tr_step_ops *ops = net->ops->step;
    const int kind = (step->number == 1) | step->last << 1; /* below TR_STEP_KINDS */
    struct tr_captured_graph **r = &e->recordings[kind];
    int err = -ESTALE;

    if (!ops->capture_begin || net->plain_steps)
        return enqueue(net, e->graph, step, NULL);
    im_assert(!net->times); /* no host wait during capture */
    if (*r)
        err = ops->replay(net->backend, *r);
    if (err != -ESTALE)
        return err;
    ops->captured_graph_free(net->backend, *r);
    *r = NULL;
    if (!e->has_run[kind]) {
        e->has_run[kind] = true;
        return enqueue(net, e->graph, step, NULL);
    }
    err = record(net, e->graph, step, r);
    if (err == -ESTALE) /* memory has moved: runs uncaptured */
        return enqueue(net, e->graph, step, NULL);
    return err < 0 ? err : ops->replay(net->backend, *r);
}

/* One that keeps the statistics goes through host memory: it is not captured. */
static int run_and_report(struct tr_network *net, struct tr_graph_entry *e, const struct tr_step *step,
                          const struct tr_batch *batch)
{
    const struct tr_step_ops *ops = net->ops->step;
    const bool plain = e && !batch->keeps_statistics && batch->ranks == 0;
    int err = plain ? run_step(net, e, step) : enqueue(net, e ? e->graph : NULL, step, batch);

    net->replayed = err == 0 && e && step->number == 1 && step->last ? e->recordings[WHOLE_WINDOW] : NULL;
    return err == 0 && ops->outcome ? ops->outcome(net->backend) : err;
}

/* ---- steps ---- */

int tr_network_step_begin(struct tr_network *net, const struct tr_batch *batch, const struct tr_step *step,
                          struct im_text *text)
{
    const struct tr_step_ops *ops = net->ops->step;
    struct tr_graph_entry *e = NULL;
    int err = batch->n > 0 ? check_labels(net, batch, text) : 0;

    if (err == 0 && batch->n > 0)
        err = tr_network_entry(net, batch->n, batch->size, true, &e, text);
    if (err < 0)
        return err;
    if (ops->refresh)
        err = ops->refresh(net->backend, net->arenas[TR_ARENA_PARAMS], net->floats[TR_ARENA_PARAMS],
                           net->param_version);
    if (err == 0 && !e)
        err = ops->stage(net->backend, &(struct tr_inputs){.hyper = &step->hyper});
    if (err == 0 && e)
        err = tr_graph_stage(e->graph, batch, step->label_smoothing, step->divisor, &step->hyper,
                             step->if_skipped);
    if (err == 0)
        err = run_and_report(net, e, step, batch);
    net->param_version += step->last && !ops->refresh;
    if (!step->if_skipped)
        net->begun = net->ended; /* the step before may have failed */
    net->moved =
        (step->number == 1 || net->begun == 0 ? step->number - 1 : net->moved) + !batch->keeps_statistics;
    net->ending[net->begun++ % IM_COUNT(net->ending)] = step->last ? net->moved : 0;
    return err < 0 ? tr_network_failed(net, err, "training step", text) : err;
}

bool tr_network_goes_ahead(struct tr_network *net, const struct tr_batch *batch)
{
    const struct tr_graph_entry *e;

    if (!net->ops->step->goes_ahead || !net->replayed || batch->n == 0)
        return false;
    e = tr_network_find(net, batch->n, batch->size, true);
    return e && e->recordings[WHOLE_WINDOW] == net->replayed;
}

int tr_network_step_end(struct tr_network *net, struct tr_outcome *ret_outcome, struct im_text *text)
{
    int err = net->ops->step->wait(net->backend, ret_outcome);

    if (err > 0)
        return err;
    if (err < 0)
        return tr_network_failed(net, err, "training step", text);
    if (!ret_outcome->skipped && net->trains_norms)
        net->tracked += net->ending[net->ended % IM_COUNT(net->ending)];
    net->ended++;
    return 0;
}

int tr_network_prefetch(struct tr_network *net, const struct tr_batch *batch, struct im_text *text)
{
    const size_t bytes = (size_t)batch->n * (size_t)batch->size * (size_t)batch->size * 3;
    int err = net->ops->step->prefetch ? net->ops->step->prefetch(net->backend, batch->pixels, bytes) : 0;

    return err < 0 ? tr_network_failed(net, err, "training step", text) : 0;
}

bool tr_network_input_consumed(struct tr_network *net)
{
    /* _end() reports errors of the device */
    return net->ops->step->input_consumed && net->ops->step->input_consumed(net->backend) > 0;
}

/* ---- evaluation ---- */

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
    int err = check_labels(net, batch, text);

    if (err == 0)
        err = tr_network_graph(net, batch->n, batch->size, false, &graph, text);
    if (err < 0)
        return err;
    m = memory_of(net);
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
