#include "supervisor/cli/advice.h"

#include <inttypes.h>
#include <math.h>

#include "ipc/base/err.h"

#define EMA_LEFT_MOST 0.01

uint64_t sv_advice_updates(const struct im_conf *conf, const struct im_plan *plan)
{
    const uint64_t accumulate = (uint64_t)conf->accumulate;
    uint64_t updates = 0;

    for (uint32_t i = 0; i < plan->phases; i++)
        if (plan->phase[i].split == IM_TRAIN)
            updates += (plan->phase[i].steps + accumulate - 1) / accumulate;
    return updates;
}

/* Both kinds of warm-up have forgotten the first weights after some ten updates. */
bool sv_advice_ema(const struct im_conf *conf, uint64_t updates, struct im_text *ret)
{
    const double left = pow(conf->ema, (double)updates);
    const double decay = pow(EMA_LEFT_MOST, 1 / fmax((double)updates, 1));

    if (conf->ema <= 0 || conf->ema_warmup != IM_EMA_WARMUP_NONE || left <= EMA_LEFT_MOST)
        return false;
    im_fail(ret, 0,
            "--ema %g: at the end, after %" PRIu64
            " updates, the averages still hold %.0f %% of the weights they "
            "began with; use --ema-warmup tf (or timm), or a decay below %.3g",
            conf->ema, updates, 100 * left, floor(1000 * decay) / 1000);
    return true;
}
