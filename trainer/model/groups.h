/* Groups of parameters: what of a network is trained, and at which rate.
 *
 * Stages are what --freeze names: 0 the stem, then the stages of blocks, last the head. A stage that is frozen
 * is a constant: its parameters do not change, weight decay and moments included, and its batch norms use their
 * running statistics and leave them as they are, as timm.utils.freeze does. (torch's requires_grad alone leaves
 * the statistics running, and fastai trains the batch norms of frozen layers.) What lies below the lowest
 * trained parameter has no backward pass.
 *
 * Depths are those of timm's param_groups_layer_decay(): the stem, each block (resnetv2's last norm belongs to the
 * last one), the head.
 * A tensor of depth d has the rate layer_decay^(depths - 1 - d) times that of the step. */
#ifndef TRAINER_MODEL_GROUPS_H
#define TRAINER_MODEL_GROUPS_H

#include "trainer/model/model.h"

#define TR_FROZEN_NORMS (1u << 31) /* all batch norms, of trained stages too */

struct tr_groups {
    uint32_t frozen;    /* bit s: stage s; TR_FROZEN_NORMS */
    double layer_decay; /* 0 counts as 1: one rate */
    double rest_rate;   /* times that, of all but hidden matrices; 0 counts as 1 */
    double norm_rate;   /* times these, of batch norm's parameters and convolutions' biases; 0 counts as 1 */
    uint64_t since[TR_STAGES_MAX];
    uint64_t norms_since; /* updates that were taken before a stage, the batch norms were trained */
};

bool tr_groups_equal(const struct tr_groups *a, const struct tr_groups *b);

/* Whether the parameters of a layer are constants. False for one without any. */
bool tr_layer_is_frozen(const struct tr_groups *g, const struct tr_layer *l); /* g: NULL: nothing is */

/* ret[i], for each layer of the model: the gradient of its output is needed, since it or a layer below it has
 * trained parameters. */
void tr_groups_backward(const struct tr_model *m, const struct tr_groups *g, bool *ret);

/* Whether a batch norm is trained, and counts its batches. */
bool tr_groups_train_norms(const struct tr_model *m, const struct tr_groups *g);

/* The first trained element of the parameter arena; its size: none is trained. */
size_t tr_groups_trained_from(const struct tr_model *m, const struct tr_groups *g);

/* Covers what is trained of the parameter arena: a span for each tensor that decays, one for each run of others
 * with the same rate. Hidden matrices (tr_tensor_is_hidden_matrix) have rows and columns. The caller frees *ret_spans. -ENOMEM. */
int tr_groups_spans(const struct tr_model *m, const struct tr_groups *g, struct tr_span **ret_spans,
                    size_t *ret_count);

#endif
