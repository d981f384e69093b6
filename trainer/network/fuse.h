/* Selects the layers of a model that become one op. Pure. */
#ifndef TRAINER_NETWORK_FUSE_H
#define TRAINER_NETWORK_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "trainer/model/groups.h"

/* A layer of the model as the graph runs it. */
struct tr_fused {
    struct tr_layer layer;
    bool absorbed;    /* fused into a later layer: nothing runs here, and no value is made */
    bool adds, pools; /* BN at the position of the fused ADD or MAXPOOL; its tensors are BN's */
    bool backward;    /* in training: has a backward pass, for its own parameters or what is below it */
    bool frozen;      /* has parameters, which are constants */
    bool
        feeds_norm; /* CONV in training whose only reader is a BN: the gradient of its value is read by it alone */
    bool sums_dx; /* CONV that accumulates dx into the gradient left by a later user of its input */
};

/* groups: what is trained; NULL: all. fuses: bits of enum tr_fusion. Synchronised batch norm runs in the order of
 * these layers. The caller frees *ret_layers, of layer_count elements. -ENOMEM. */
int tr_fuse(const struct tr_model *m, const struct tr_groups *groups, uint32_t fuses, bool training,
            struct tr_fused **ret_layers);

/* Whether batch norm takes the statistics of all ranks, where they synchronise. */
static inline bool tr_fused_syncs(const struct tr_fused *l)
{
    return l->layer.kind == TR_OP_BN && !l->absorbed && l->backward && !l->frozen;
}

#endif
