/* Turns options into a network's configuration, for a run and for the tools. */
#ifndef TRAINER_NETWORK_CONFIG_H
#define TRAINER_NETWORK_CONFIG_H

#include "ipc/config/conf.h"
#include "trainer/network/network.h"

/* -EINVAL with a sentence. *ret's strings live as long as conf. */
int tr_network_configure(const struct im_conf *conf, int classes, struct tr_network_config *ret,
                         struct im_text *text);

#endif
