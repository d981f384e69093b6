/* Plans a model, places its values in memory, runs it.
 *
 * Time: layer i runs forward at time i and backward at time 2L - 1 - i, with L layers. Each value, each op's
 * saved state and each gradient is a block with a first and a last time; arena.c places them. An op that may
 * run in place takes over its input's block if the input has no later reader. A fork of the network gives its
 * value two gradients; the op that made the value reads both (tr_exec.dy[1]) and may destroy the first, so
 * the first contribution never has another reader.
 *
 * Gradients of weights that are made apart (tr_op.dw_apart) read x and dy until TR_DW_BEHIND more convolutions have begun
 * their backward pass, which waits for them, or to the end of all. So long both blocks live.
 *
 * Not here: fast loops (the backend), when to step (the trainer). Activations are never recomputed. */
#include "trainer/network/graph.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"
#include "ipc/base/rng.h"
#include "trainer/backends/step.h"
#include "trainer/network/arena.h"
#include "trainer/network/fuse.h"

struct node {
    struct tr_op op;
    struct tr_op_plan *plan;
    struct tr_plan_info info;
    int value;    /* block of the output; -1: none */
    int save;     /* block of the saved state; -1: none */
    int dy[2];    /* blocks of the gradient of the output; -1: none */
    int dx, dx2;  /* blocks of the gradients of the inputs; -1: none; of an ADD's both, dx */
    int dw;       /* block of a gradient that nothing uses: of constant weights; -1: none */
    int last;     /* last time the output is read */
    float *scale; /* DROPPATH in training: of each sample in this step; in tr_graph.scales */
};

struct tr_graph {
    struct tr_graph_config config;
    struct tr_fused *layers; /* [count], as this backend runs them */
    struct node *nodes;
    int count;
    struct tr_block *blocks;
    int block_count;
    float *scales; /* of all drop paths, [n] each */
    size_t scale_count;
    size_t bytes;
};

static int out_size(int in, const struct tr_layer *l)
{
    return (in + 2 * l->pad - l->kernel) / l->stride + 1;
}

/* Whether the gradient of a value is needed. */
static bool has_gradient(const struct tr_graph *g, int value)
{
    return value >= 0 && g->config.training && g->layers[value].backward;
}

/* The op of layer i, once its inputs are planned. */
static void describe_op(struct tr_graph *g, int i)
{
    const struct tr_graph_config *c = &g->config;
    const struct tr_fused *fused = &g->layers[i];
    const struct tr_layer *l = &fused->layer;
    /* Below what is trained an op is that of an evaluation, but stochastic depth draws on. */
    const bool training = c->training && (fused->backward || l->kind == TR_OP_DROPPATH);
    struct tr_op *op = &g->nodes[i].op;
    int n = c->n;

    *op = (struct tr_op){.kind = l->kind,
                         .precision = c->precision,
                         .kernel = l->kernel,
                         .stride = l->stride,
                         .pad = l->pad,
                         .relu = l->relu,
                         .biased = l->kind == TR_OP_GELU && l->tensor >= 0,
                         .adds = fused->adds,
                         .pools = fused->pools,
                         .sums_dx = fused->sums_dx,
                         .reflect = l->reflect,
                         .training = training,
                         .frozen = training && fused->frozen,
                         .synced = training && c->bn_sync && tr_fused_syncs(fused),
                         .dw_apart = training && c->dw_apart && fused->feeds_norm && !fused->frozen,
                         .weight_id = l->tensor};
    if (l->kind == TR_OP_LOSS && (c->training || c->loss.sets))
        op->loss = c->loss;
    if (l->kind == TR_OP_INPUT) {
        op->x = op->y = (struct tr_shape){n, 3, c->size, c->size};
        for (int k = 0; k < 3; k++) {
            op->mean[k] = c->mean[k];
            op->std[k] = c->std[k];
        }
        return;
    }
    op->x = g->nodes[l->in[0]].op.y;
    op->x_layout = g->nodes[l->in[0]].info.y_layout;
    op->y = (struct tr_shape){n, l->channels, op->x.h, op->x.w};
    op->needs_dx = has_gradient(g, l->in[0]) || has_gradient(g, l->in[1]);
    if (l->kind == TR_OP_CONV || l->kind == TR_OP_MAXPOOL || l->kind == TR_OP_BLUR || op->pools) {
        op->y.h = op->y.w = out_size(op->x.h, l);
    } else if (l->kind == TR_OP_GAP) {
        op->y.h = op->y.w = 1;
    }
}

static int check_config(const struct tr_graph_config *c, struct im_text *text)
{
    if (c->size >= c->model->stride)
        return 0;
    return im_fail(text, -EINVAL, "images of %d x %d are smaller than the stride of %s, %d pixels%s", c->size,
                   c->size, c->model->name, c->model->stride,
                   c->model->stem == TR_STEM_IMAGENET ? " (a quarter of that with --stem small)" : "");
}

static int plan_all(struct tr_graph *g, struct im_text *text)
{
    const struct tr_graph_config *c = &g->config;

    for (int i = 0; i < g->count; i++) {
        struct node *node = &g->nodes[i];
        int second = g->layers[i].layer.in[1];
        int err;

        if (g->layers[i].absorbed)
            continue;
        describe_op(g, i);
        if (second >= 0 && g->nodes[second].info.y_layout != node->op.x_layout)
            return im_fail(text, -ENOTSUP,
                           "backend %s gives the two branches of layer %d of %s different layouts",
                           c->ops->name, i, c->model->name);
        err = c->only_measure ? c->ops->measure(c->backend, &node->op, &node->info)
                              : c->ops->plan(c->backend, &node->op, &node->plan, &node->info, text);
        if (err < 0)
            return err;
    }
    return 0;
}

static int add_block(struct tr_graph *g, size_t bytes, int first, int last)
{
    g->blocks[g->block_count] = (struct tr_block){.bytes = bytes, .first = first, .last = last};
    return g->block_count++;
}

static int backward_time(const struct tr_graph *g, int i)
{
    return 2 * g->count - 1 - i;
}

static int later(int a, int b)
{
    return a > b ? a : b;
}

/* The last time at which the backward pass of op i reads its input and the gradient of its output. */
static int read_until(const struct tr_graph *g, int i)
{
    int begun = 0;

    if (!g->nodes[i].op.dw_apart)
        return backward_time(g, i);
    for (int k = i - 1; k > 0; k--)
        if (g->nodes[k].op.dw_apart && ++begun == TR_DW_BEHIND)
            return backward_time(g, k) - 1;
    return backward_time(g, 0);
}

/* The last time each value is read, forward or backward. */
static void find_last_reads(struct tr_graph *g)
{
    for (int i = 0; i < g->count; i++) {
        const struct tr_layer *l = &g->layers[i].layer;

        if (g->layers[i].absorbed)
            continue;
        g->nodes[i].last = g->nodes[i].info.keeps_y ? backward_time(g, i) : i;
        for (int k = 0; k < 2 && l->in[k] >= 0; k++) {
            struct node *source = &g->nodes[l->in[k]];

            source->last = later(source->last, k == 0 && g->nodes[i].info.keeps_x ? read_until(g, i) : i);
        }
    }
}

static void place_values(struct tr_graph *g)
{
    for (int i = 0; i < g->count; i++) {
        struct node *node = &g->nodes[i];
        int in = g->layers[i].layer.in[0];

        node->value = node->save = node->dx = node->dx2 = node->dw = node->dy[0] = node->dy[1] = -1;
        if (node->info.save_bytes > 0)
            node->save = add_block(g, node->info.save_bytes, i, backward_time(g, i));
        if (node->info.y_bytes == 0)
            continue;
        if (in >= 0 && node->info.y_may_be_x && g->nodes[in].last == i &&
            g->nodes[in].info.y_bytes == node->info.y_bytes) {
            node->value = g->nodes[in].value;
            g->blocks[node->value].last = later(g->blocks[node->value].last, node->last);
        } else {
            node->value = add_block(g, node->info.y_bytes, i, node->last);
        }
    }
}

/* Registers block `dx` as a gradient of value `in`. The first slot may be destroyed: it is for the block that
 * has no later reader. */
static void contribute(struct tr_graph *g, int in, int dx)
{
    struct node *source = &g->nodes[in];
    int now = backward_time(g, in);

    g->blocks[dx].last = later(g->blocks[dx].last, now);
    im_assert(source->dy[1] < 0);
    source->dy[1] = source->dy[0];
    source->dy[0] = dx;
}

/* Ops other than these write the gradient of their input whether it is needed or not. */
static bool writes_dx(const struct tr_graph *g, int i)
{
    const struct tr_op *op = &g->nodes[i].op;

    return g->layers[i].backward && !g->layers[i].absorbed &&
           (op->needs_dx || (op->kind != TR_OP_CONV && op->kind != TR_OP_FC));
}

/* Of a batch norm whose bias alone is trained. */
static bool wastes_dw(const struct tr_graph *g, int i)
{
    const struct tr_op *op = &g->nodes[i].op;

    return op->kind == TR_OP_BN && op->training && !op->frozen &&
           g->config.model->tensors[g->layers[i].layer.tensor].constant;
}

static void place_gradients(struct tr_graph *g)
{
    for (int i = g->count - 1; i > 0; i--) {
        struct node *node = &g->nodes[i];
        const struct tr_layer *l = &g->layers[i].layer;
        /* The loss makes its gradient in forward, at the end of it. */
        int now = node->op.kind == TR_OP_LOSS ? i : backward_time(g, i);

        im_assert(node->dy[1] < 0 || g->blocks[node->dy[0]].last == now);
        if (node->op.dw_apart) {
            im_assert(node->dy[1] < 0 && g->blocks[node->dy[0]].last == now);
            g->blocks[node->dy[0]].last = read_until(g, i);
        }
        if (wastes_dw(g, i))
            node->dw = add_block(g, (size_t)node->op.x.c * sizeof(float), now, now);
        if (!writes_dx(g, i))
            continue;
        if (node->op.sums_dx) {
            node->dx = g->nodes[l->in[0]].dy[0];
            im_assert(node->dx >= 0 && g->blocks[node->dx].bytes == node->info.x_bytes);
            continue;
        }
        if (node->dy[0] >= 0 && node->info.dx_may_be_dy && g->blocks[node->dy[0]].last == now &&
            g->blocks[node->dy[0]].bytes == node->info.x_bytes)
            node->dx = node->dy[0];
        else
            node->dx = add_block(g, node->info.x_bytes, now, now);
        if (node->op.adds)
            node->dx2 = add_block(g, node->info.x_bytes, now, now);
        for (int k = 0; k < 2 && l->in[k] >= 0; k++)
            if (has_gradient(g, l->in[k]))
                contribute(g, l->in[k], k == 1 && node->op.adds ? node->dx2 : node->dx);
    }
}

static int reserve_scales(struct tr_graph *g, struct im_text *text)
{
    const size_t n = (size_t)g->config.n;
    size_t paths = 0;

    for (int i = 0; i < g->count && g->config.training; i++)
        paths += g->nodes[i].op.kind == TR_OP_DROPPATH;
    if (paths == 0)
        return 0;
    g->scale_count = paths * n;
    g->scales = calloc(g->scale_count, sizeof *g->scales);
    if (!g->scales)
        return im_fail(text, -ENOMEM, "no memory for a graph");
    for (int i = g->count - 1; i > 0; i--)
        if (g->nodes[i].op.kind == TR_OP_DROPPATH)
            g->nodes[i].scale = g->scales + --paths * n;
    return 0;
}

int tr_graph_new(const struct tr_graph_config *config, struct tr_graph **ret_graph, struct im_text *text)
{
    struct tr_graph *g = calloc(1, sizeof *g);
    int count = config->model->layer_count;
    int err = -ENOMEM;

    if (!g)
        return im_fail(text, -ENOMEM, "no memory for a graph");
    g->config = *config;
    g->count = count;
    g->nodes = calloc((size_t)count, sizeof *g->nodes);
    g->blocks = calloc((size_t)count * 5, sizeof *g->blocks);
    if (!g->nodes || !g->blocks) {
        im_fail(text, -ENOMEM, "no memory for a graph");
        goto out;
    }
    err = check_config(config, text);
    if (err == 0 &&
        tr_fuse(config->model, config->groups, config->ops->fuses, config->training, &g->layers) < 0)
        err = im_fail(text, -ENOMEM, "no memory for a graph");
    if (err == 0)
        err = plan_all(g, text);
    if (err == 0)
        err = reserve_scales(g, text);
    if (err < 0)
        goto out;
    find_last_reads(g);
    place_values(g);
    if (config->training)
        place_gradients(g);
    err = tr_arena_place(g->blocks, g->block_count, &g->bytes);
    if (err < 0) {
        im_fail(text, err, "no memory for a graph");
        goto out;
    }
    *ret_graph = g;
    g = NULL;
out:
    tr_graph_free(g);
    return err;
}

void tr_graph_free(struct tr_graph *g)
{
    if (!g)
        return;
    for (int i = 0; g->nodes && i < g->count; i++) {
        if (g->nodes[i].plan)
            g->config.ops->plan_free(g->config.backend, g->nodes[i].plan);
    }
    free(g->scales);
    free(g->layers);
    free(g->nodes);
    free(g->blocks);
    free(g);
}

size_t tr_graph_bytes(const struct tr_graph *g)
{
    return g->bytes;
}

size_t tr_graph_own_bytes(const struct tr_graph *g)
{
    size_t bytes = 0;

    for (int i = 0; i < g->count; i++)
        bytes += g->nodes[i].info.own_bytes;
    return bytes;
}

size_t tr_graph_bytes_unshared(const struct tr_graph *g)
{
    size_t bytes = 0;

    for (int i = 0; i < g->block_count; i++)
        bytes += (g->blocks[i].bytes + TR_BLOCK_ALIGN - 1) / TR_BLOCK_ALIGN * TR_BLOCK_ALIGN;
    return bytes;
}

static void *at(const struct tr_graph *g, const struct tr_graph_memory *m, int block)
{
    return block < 0 ? NULL : m->arena + g->blocks[block].offset;
}

/* The arguments of the op of layer i. */
static struct tr_exec arguments(const struct tr_graph *g, const struct tr_graph_memory *m, int i)
{
    const struct tr_layer *l = &g->layers[i].layer;
    const struct tr_param_tensor *t = g->config.model->tensors + (l->tensor < 0 ? 0 : l->tensor);
    const struct node *node = &g->nodes[i];
    struct tr_exec e = {
        .x = l->in[0] < 0 ? NULL : at(g, m, g->nodes[l->in[0]].value),
        .x2 = l->in[1] < 0 ? NULL : at(g, m, g->nodes[l->in[1]].value),
        .y = at(g, m, node->value),
        .save = at(g, m, node->save),
        .dy = {at(g, m, node->dy[0]), at(g, m, node->dy[1])},
        .dx = at(g, m, node->dx),
        .dx2 = at(g, m, node->dx2),
        .scale = node->scale,
        .param_version = m->param_version,
    };

    if (l->tensor < 0)
        return e;
    if (l->kind == TR_OP_GELU) {
        e.b = m->params + t[0].offset;
        e.db = m->grads ? m->grads + t[0].offset : NULL;
        return e;
    }
    e.w = m->params + t[0].offset;
    e.dw = m->grads ? m->grads + t[0].offset : NULL;
    if (node->dw >= 0)
        e.dw = at(g, m, node->dw);
    if (l->kind == TR_OP_CONV)
        return e;
    e.b = m->params + t[1].offset;
    e.db = m->grads ? m->grads + t[1].offset : NULL;
    if (l->kind == TR_OP_BN) {
        e.run_mean = m->stats + t[2].offset;
        e.run_var = m->stats + t[3].offset;
        e.sync = g->config.bn_sync;
    }
    return e;
}

/* Stochastic depth as timm's DropPath: a sample keeps a block's branch with probability 1 - rate, and then it
 * counts 1 / (1 - rate). The random stream belongs to the sample's index in the step; its draw number b is
 * for block b. */
static void draw_scales(struct tr_graph *g, const struct tr_batch *batch)
{
    for (int n = 0; n < g->config.n; n++) {
        uint32_t place = batch->first + (uint32_t)n * (batch->stride ? batch->stride : 1);
        struct im_rng r = im_rng_at(g->config.seed, IM_RNG_DROPPATH, place, batch->step);
        int block = 0;

        for (int i = 0; i < g->count; i++) {
            const struct tr_layer *l = &g->config.model->layers[i];
            double unit;

            if (!g->nodes[i].scale)
                continue;
            do
                unit = im_rng_unit(&r);
            while (block++ < l->block);
            g->nodes[i].scale[n] = unit < l->drop_rate ? 0 : (float)(1 / (1 - l->drop_rate));
        }
    }
}

int tr_graph_stage(struct tr_graph *g, const struct tr_batch *batch, float smoothing, double divisor,
                   const struct imk_hyper *hyper, const struct tr_if_skipped *if_skipped)
{
    const struct tr_inputs in = {.pixels = batch->pixels,
                                 .pixel_bytes =
                                     (size_t)batch->n * (size_t)batch->size * (size_t)batch->size * 3,
                                 .labels = batch->labels,
                                 .valid = batch->valid,
                                 .n = batch->n,
                                 .mix = &batch->mix,
                                 .smoothing = smoothing,
                                 .divisor = divisor,
                                 .scales = g->scales,
                                 .scale_count = g->scale_count,
                                 .hyper = hyper,
                                 .if_skipped = if_skipped};

    im_assert(batch->n == g->config.n && batch->size == g->config.size);
    draw_scales(g, batch);
    return g->config.ops->step->stage(g->config.backend, &in);
}

/* Runs layer i in one direction; measures the time of its work, not of enqueuing it. */
static int run_layer(struct tr_graph *g, const struct tr_graph_memory *m, int i,
                     int (*op)(struct tr_backend *, struct tr_op_plan *, const struct tr_exec *),
                     uint64_t *ret_time)
{
    struct tr_exec e = arguments(g, m, i);
    const im_ns began = ret_time ? im_now() : 0;
    int err;

    if (g->layers[i].absorbed)
        return 0;
    e.staged = true;
    err = op(g->config.backend, g->nodes[i].plan, &e);
    if (err == 0 && ret_time && g->config.ops->sync)
        err = g->config.ops->sync(g->config.backend);
    if (ret_time)
        *ret_time += im_now() - began;
    return err;
}

int tr_graph_forward(struct tr_graph *g, const struct tr_graph_memory *m)
{
    int err = 0;

    for (int i = 0; i < g->count && err == 0; i++)
        err = run_layer(g, m, i, g->config.ops->forward, m->times ? &m->times->layers[i].forward : NULL);
    return err;
}

int tr_graph_backward(struct tr_graph *g, const struct tr_graph_memory *m,
                      int (*done)(void *context, int layer), void *context)
{
    int (*const await_dw)(struct tr_backend *, int) = g->config.ops->step->await_dw;
    int err = 0;

    im_assert(g->config.training && m->grads);
    for (int i = g->count - 2; i > 0 && err == 0; i--) {
        if (g->nodes[i].op.dw_apart)
            err = await_dw(g->config.backend, TR_DW_BEHIND - 1);
        if (err == 0 && g->layers[i].backward)
            err =
                run_layer(g, m, i, g->config.ops->backward, m->times ? &m->times->layers[i].backward : NULL);
        if (err == 0 && done)
            err = done(context, i);
    }
    return err == 0 && g->config.dw_apart ? await_dw(g->config.backend, 0) : err;
}

int tr_graph_logits(struct tr_graph *g, const struct tr_graph_memory *m, float *logits)
{
    const struct node *fc = &g->nodes[g->count - 2];

    return g->config.ops->copy_out(g->config.backend, logits, at(g, m, fc->value), fc->info.y_bytes);
}

struct tr_layer_size tr_graph_size(const struct tr_graph *g, int layer)
{
    const struct node *node = &g->nodes[layer];
    int in = g->layers[layer].layer.in[0];
    bool in_place = in >= 0 && node->value >= 0 && node->value == g->nodes[in].value;

    return (struct tr_layer_size){
        .y = node->op.y, .bytes = in_place ? 0 : node->info.y_bytes, .save_bytes = node->info.save_bytes};
}

static const char *kind_name(const struct tr_op *op)
{
    static const char *const kinds[] = {
        [TR_OP_INPUT] = "input", [TR_OP_CONV] = "conv",         [TR_OP_BN] = "bn",
        [TR_OP_ADD] = "add",     [TR_OP_MAXPOOL] = "maxpool",   [TR_OP_GAP] = "gap",
        [TR_OP_BLUR] = "blur",   [TR_OP_DROPPATH] = "droppath", [TR_OP_FC] = "fc",
        [TR_OP_GELU] = "gelu",   [TR_OP_LOSS] = "loss",
    };

    return op->adds ? "bn+add" : op->pools ? "bn+pool" : kinds[op->kind];
}

static const char *kernel_name(const struct tr_graph *g, const struct node *node)
{
    return g->config.ops->plan_kernel && node->plan ? g->config.ops->plan_kernel(node->plan) : "";
}

int tr_graph_layers(const struct tr_graph *g)
{
    return g->count;
}

struct tr_layer_work tr_graph_layer(const struct tr_graph *g, int layer)
{
    const struct node *node = &g->nodes[layer];
    const struct tr_op *op = &node->op;
    const struct tr_plan_info *info = &node->info;
    struct tr_layer_work f = {.name = kind_name(op), .kernel = kernel_name(g, node)};
    double taps = op->kind == TR_OP_CONV ? (double)op->kernel * op->kernel : op->kind == TR_OP_FC ? 1 : 0;
    double macs = taps * op->x.c * op->y.n * op->y.c * op->y.h * op->y.w;
    int n = snprintf(f.shape, sizeof f.shape, "%dx%dx%d -> %dx%dx%d", op->x.c, op->x.h, op->x.w, op->y.c,
                     op->y.h, op->y.w);

    if (g->layers[layer].absorbed)
        return (struct tr_layer_work){.name = "", .kernel = ""};
    if (op->kernel > 0 && (size_t)n < sizeof f.shape)
        snprintf(f.shape + n, sizeof f.shape - (size_t)n, " k%d s%d", op->kernel, op->stride);
    f.flop = 2 * macs * (op->training ? 2 - op->frozen + op->needs_dx : 1);
    f.bytes = (double)info->x_bytes * (op->kind == TR_OP_ADD || op->adds ? 2 : 1) + (double)info->y_bytes;
    if (op->training && op->kind != TR_OP_INPUT && op->kind != TR_OP_LOSS)
        f.bytes += (double)info->y_bytes * (1 + info->keeps_y) +
                   (double)info->x_bytes * (op->needs_dx + info->keeps_x + op->adds + op->sums_dx);
    return f;
}
