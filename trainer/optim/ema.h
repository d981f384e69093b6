/* The decay of averaged weights (EMA) at each update: imk_hyper.ema_weight.
 *
 *     none   decay                                        timm's ModelEmaV2, torch's get_ema_multi_avg_fn
 *     tf     min(decay, (1 + t) / (10 + t))               TensorFlow's ExponentialMovingAverage
 *     timm   min(decay, 1 - (1 + (t - 1))^(-2/3))         timm's ModelEmaV3 with use_warmup: 0 at t = 1
 *
 * t is the number of updates of the weights, from 1, this one included. */
#ifndef TRAINER_OPTIM_EMA_H
#define TRAINER_OPTIM_EMA_H

#include <stdint.h>

#include "ipc/config/conf.h"

double tr_ema_decay(double decay, enum im_conf_ema_warmup warmup, uint64_t update);

#endif
