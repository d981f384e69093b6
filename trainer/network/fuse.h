/* Selects the layers of a model that become one op. Pure. */
#ifndef TRAINER_NETWORK_FUSE_H
#define TRAINER_NETWORK_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "trainer/model/model.h"

/* A layer of the model as the graph runs it. */
struct tr_fused {
    struct tr_layer layer;
    bool absorbed;    /* fused into a later layer: nothing runs here, and no value is made */
    bool adds, pools; /* BN at the position of the fused ADD or MAXPOOL; its tensors are BN's */
    bool sums_dx;     /* CONV that accumulates dx into the gradient left by a later user of its input */
};

/* fuses: bits of enum tr_fusion. Synchronised batch norm runs in the order of these layers. The caller frees
 * *ret_layers, of layer_count elements. -ENOMEM. */
int tr_fuse(const struct tr_model *m, uint32_t fuses, bool training, struct tr_fused **ret_layers);

#endif
