/* From options to a network: the same for a run and for the commands that measure. */
#ifndef TRAINER_SETUP_H
#define TRAINER_SETUP_H

#include "ipc/base/conf.h"
#include "trainer/network.h"

/* -EINVAL with a sentence. *ret's strings live as long as conf. */
int tr_network_config(const struct im_conf *conf, int classes, struct im_network_config *ret,
                      struct im_text *text);

#endif
