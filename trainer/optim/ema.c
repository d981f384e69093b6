/* See ema.h. */
#include "trainer/optim/ema.h"

#include <math.h>

double tr_ema_decay(double decay, enum im_conf_ema_warmup warmup, uint64_t update)
{
    double t = (double)update;

    switch (warmup) {
    case IM_EMA_WARMUP_NONE:
        break;
    case IM_EMA_WARMUP_TF:
        return fmin(decay, (1 + t) / (10 + t));
    case IM_EMA_WARMUP_TIMM:
        return fmin(decay, 1 - pow(t, -2.0 / 3));
    }
    return decay;
}
