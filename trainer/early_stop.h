/* --early-stop N: the run ends after an epoch when validation was no better for N epochs. */
#ifndef TRAINER_EARLY_STOP_H
#define TRAINER_EARLY_STOP_H

#include <stdbool.h>

#include "trainer/checkpoint/position.h"

/* Takes the validation of the epoch that has just ended (p->epochs counts it). */
void tr_early_stop_epoch(const struct im_conf *conf, struct tr_position *p);

/* Between two epochs. */
bool tr_early_stop_is_due(const struct im_conf *conf, const struct tr_position *p);

#endif
