/* Which layers of a model become one op. Pure. */
#ifndef TRAINER_NETWORK_FUSE_H
#define TRAINER_NETWORK_FUSE_H

#include <stdbool.h>
#include <stdint.h>

#include "trainer/model/model.h"

/* A layer of the model as a graph runs it. */
struct tr_fused {
    struct tr_layer layer;
    bool absorbed;    /* a later layer does its work: nothing runs here, and no value is made */
    bool adds, pools; /* BN in the place of the ADD or the MAXPOOL that it took in; its tensors are BN's */
    bool sums_dx;     /* CONV whose dx is added to the gradient that a later user of its input has left */
};

/* fuses: bits of enum tr_fusion. Batch norm in step with other ranks goes by the layers as they are here. The
 * caller frees *ret_layers, of layer_count elements. -ENOMEM. */
int tr_fuse(const struct tr_model *m, uint32_t fuses, bool training, struct tr_fused **ret_layers);

#endif
