#include "trainer/model/groups.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool tr_groups_equal(const struct tr_groups *a, const struct tr_groups *b)
{
    return a->frozen == b->frozen && a->norms_since == b->norms_since &&
           !(a->layer_decay < b->layer_decay || a->layer_decay > b->layer_decay) &&
           !(a->rest_rate < b->rest_rate || a->rest_rate > b->rest_rate) &&
           !(a->norm_rate < b->norm_rate || a->norm_rate > b->norm_rate) &&
           memcmp(a->since, b->since, sizeof a->since) == 0;
}

static bool is_norm(const struct tr_param_tensor *t)
{
    return t->kind == TR_TENSOR_BN_WEIGHT || t->kind == TR_TENSOR_BN_BIAS;
}

static bool is_frozen(const struct tr_groups *g, int stage, bool norm)
{
    return g && (g->frozen >> stage & 1 || (norm && g->frozen & TR_FROZEN_NORMS));
}

static bool is_trained(const struct tr_groups *g, const struct tr_param_tensor *t)
{
    return tr_tensor_home(t) == TR_HOME_PARAMS && !t->constant && !is_frozen(g, t->stage, is_norm(t));
}

bool tr_layer_is_frozen(const struct tr_groups *g, const struct tr_layer *l)
{
    return l->tensor >= 0 && (l->constant || is_frozen(g, l->stage, l->kind == TR_OP_BN));
}

void tr_groups_backward(const struct tr_model *m, const struct tr_groups *g, bool *ret)
{
    for (int i = 0; i < m->layer_count; i++) {
        const struct tr_layer *l = &m->layers[i];

        ret[i] = l->tensor >= 0 && !tr_layer_is_frozen(g, l);
        for (int k = 0; k < 2; k++)
            ret[i] |= l->in[k] >= 0 && ret[l->in[k]];
    }
}

bool tr_groups_train_norms(const struct tr_model *m, const struct tr_groups *g)
{
    for (int i = 0; i < m->layer_count; i++)
        if (m->layers[i].kind == TR_OP_BN && !tr_layer_is_frozen(g, &m->layers[i]))
            return true;
    return false;
}

size_t tr_groups_trained_from(const struct tr_model *m, const struct tr_groups *g)
{
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];

        if (is_trained(g, t))
            return t->offset;
    }
    return m->param_floats;
}

static double rate_of(const struct tr_model *m, const struct tr_groups *g, const struct tr_param_tensor *t)
{
    const bool fast = g && g->norm_rate > 0 && (is_norm(t) || t->kind == TR_TENSOR_CONV_BIAS);
    const double rest = g && g->rest_rate > 0 && !tr_tensor_is_hidden_matrix(m, t) ? g->rest_rate : 1;
    const double own = fast ? rest * g->norm_rate : rest;

    return g && g->layer_decay > 0 ? own * pow(g->layer_decay, m->depths - 1 - t->depth) : own;
}

static uint64_t since_of(const struct tr_groups *g, int stage, bool norm)
{
    if (!g)
        return 0;
    return norm && g->norms_since > g->since[stage] ? g->norms_since : g->since[stage];
}

/* Whether `b` only continues `a`. */
static bool continues(const struct tr_span *a, const struct tr_span *b)
{
    return !a->decays && !b->decays && a->first + a->count == b->first && a->since == b->since &&
           !(a->rate < b->rate || a->rate > b->rate);
}

int tr_groups_spans(const struct tr_model *m, const struct tr_groups *g, struct tr_span **ret_spans,
                    size_t *ret_count)
{
    struct tr_span *spans = calloc((size_t)m->tensor_count, sizeof *spans);
    size_t count = 0;

    if (!spans)
        return -ENOMEM;
    for (int i = 0; i < m->tensor_count; i++) {
        const struct tr_param_tensor *t = &m->tensors[i];
        const bool matrix = tr_tensor_is_hidden_matrix(m, t);
        const struct tr_span span = {.first = t->offset,
                                     .count =
                                         (t->count + TR_ARENA_ALIGN - 1) / TR_ARENA_ALIGN * TR_ARENA_ALIGN,
                                     .decays = tr_tensor_decays(t),
                                     .rate = rate_of(m, g, t),
                                     .since = since_of(g, t->stage, is_norm(t)),
                                     .rows = matrix ? t->shape[0] : 0,
                                     .columns = matrix ? (int)(t->count / (size_t)t->shape[0]) : 0};

        if (!is_trained(g, t))
            continue;
        if (count > 0 && continues(&spans[count - 1], &span))
            spans[count - 1].count += span.count;
        else
            spans[count++] = span;
    }
    *ret_spans = spans;
    *ret_count = count;
    return 0;
}
