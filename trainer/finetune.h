/* What of the network is trained, epoch by epoch: --freeze, --unfreeze-epochs, --freeze-bn, --layer-decay. */
#ifndef TRAINER_FINETUNE_H
#define TRAINER_FINETUNE_H

#include "trainer/checkpoint/position.h"
#include "trainer/network/network.h"

/* Has the network train the groups of this epoch; *ret_changed: others than before, and it needs its graphs
 * again. */
int tr_finetune_epoch(struct tr_network *net, struct tr_position *p, const struct im_conf *conf,
                      uint32_t epoch, bool *ret_changed, struct im_text *text);

#endif
