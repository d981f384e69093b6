/* A batch norm whose only reader is an ADD or a MAXPOOL moves to that reader's position, where all inputs of
 * the reader are available. A fork of the network leaves two gradients for one value; they become one if a
 * convolution can accumulate: in backward order it runs after the value's other users, and may overwrite
 * their gradient once no other op reads it. Only an ADD gives one gradient to two values; the producer of the
 * other value has already run if it comes after the convolution in the model. */
#include "trainer/network/fuse.h"

#include <errno.h>
#include <stdlib.h>

static int users_of(const struct tr_fused *layers, int count, int value)
{
    int users = 0;

    for (int i = value + 1; i < count; i++)
        users += !layers[i].absorbed && (layers[i].layer.in[0] == value || layers[i].layer.in[1] == value);
    return users;
}

/* Moves batch norm `norm` to the position of layer `at`. */
static void absorb(struct tr_fused *layers, int at, int norm)
{
    struct tr_layer *l = &layers[at].layer, *bn = &layers[norm].layer;

    l->kind = TR_OP_BN;
    l->in[0] = bn->in[0];
    l->relu |= bn->relu;
    l->tensor = bn->tensor;
    layers[norm].absorbed = true;
}

static void fuse_one(struct tr_fused *layers, int count, int i, uint32_t fuses)
{
    const enum tr_op_kind kind = layers[i].layer.kind;
    const int from = layers[i].layer.in[0];

    if ((kind != TR_OP_ADD && kind != TR_OP_MAXPOOL) || layers[from].layer.kind != TR_OP_BN ||
        layers[from].adds || layers[from].pools || users_of(layers, count, from) != 1)
        return;
    if (kind == TR_OP_ADD && (fuses & TR_FUSES_ADD) && !layers[from].layer.relu &&
        layers[i].layer.in[1] != from) {
        absorb(layers, i, from);
        layers[i].adds = true;
    } else if (kind == TR_OP_MAXPOOL && (fuses & TR_FUSES_POOL) && layers[from].layer.relu) {
        absorb(layers, i, from);
        layers[i].pools = true;
    }
}

/* Whether the gradient that user `j` leaves for `value` has no other reader when layer i runs. */
static bool leaves_free(const struct tr_fused *user, int value, int i)
{
    const struct tr_layer *l = &user->layer;
    int other = l->in[0] == value ? l->in[1] : l->in[0];

    return l->kind != TR_OP_ADD || (other != value && other > i);
}

static bool may_sum(const struct tr_fused *layers, int count, int i)
{
    const int value = layers[i].layer.in[0];
    bool any = false;

    if (layers[i].layer.kind != TR_OP_CONV || layers[value].layer.kind == TR_OP_INPUT)
        return false;
    for (int j = i + 1; j < count; j++) {
        if (layers[j].absorbed || (layers[j].layer.in[0] != value && layers[j].layer.in[1] != value))
            continue;
        if (!leaves_free(&layers[j], value, i))
            return false;
        any = true;
    }
    return any;
}

/* Whether a batch norm is the only reader of value i. */
static bool feeds_norm(const struct tr_fused *layers, int count, int i)
{
    for (int j = i + 1; j < count; j++)
        if (!layers[j].absorbed && layers[j].layer.in[0] == i)
            return layers[j].layer.kind == TR_OP_BN && users_of(layers, count, i) == 1;
    return false;
}

/* In training, by what is trained. */
static int find_backward(const struct tr_model *m, const struct tr_groups *groups, struct tr_fused *layers)
{
    bool *backward = calloc((size_t)m->layer_count, sizeof *backward);

    if (!backward)
        return -ENOMEM;
    tr_groups_backward(m, groups, backward);
    for (int i = 0; i < m->layer_count; i++) {
        layers[i].backward = backward[i];
        layers[i].frozen = tr_layer_is_frozen(groups, &layers[i].layer);
    }
    free(backward);
    return 0;
}

int tr_fuse(const struct tr_model *m, const struct tr_groups *groups, uint32_t fuses, bool training,
            struct tr_fused **ret_layers)
{
    struct tr_fused *layers = calloc((size_t)m->layer_count, sizeof *layers);

    if (!layers)
        return -ENOMEM;
    for (int i = 0; i < m->layer_count; i++)
        layers[i].layer = m->layers[i];
    for (int i = 1; i < m->layer_count; i++)
        fuse_one(layers, m->layer_count, i, fuses);
    if (training && find_backward(m, groups, layers) < 0) {
        free(layers);
        return -ENOMEM;
    }
    for (int i = 1; i < m->layer_count && training; i++)
        layers[i].feeds_norm = layers[i].layer.kind == TR_OP_CONV && feeds_norm(layers, m->layer_count, i);
    for (int i = 1; i < m->layer_count && training && (fuses & TR_FUSES_SUM); i++)
        layers[i].sums_dx = !layers[i].absorbed && layers[layers[i].layer.in[0]].backward &&
                            may_sum(layers, m->layer_count, i);
    *ret_layers = layers;
    return 0;
}
