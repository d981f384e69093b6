#include "trainer/early_stop.h"

#include <math.h>

/* Larger is better; NaN: nothing was validated. */
static double score_of(const struct im_conf *conf, const struct tr_sums *sums)
{
    const double loss = tr_mean_loss(sums);

    if (!isfinite(loss))
        return (double)NAN;
    return conf->early_stop_on == IM_EARLY_STOP_LOSS ? -loss : tr_accuracy(sums);
}

void tr_early_stop_epoch(const struct im_conf *conf, struct tr_position *p)
{
    const double plain = score_of(conf, &p->sums[IM_VAL]);
    const double score = conf->ema > 0 ? fmax(plain, score_of(conf, &p->ema)) : plain;

    p->stop_seen = p->epochs;
    if (!(score > p->stop_best))
        return;
    p->stop_best = score;
    p->stop_epoch = p->epochs;
}

bool tr_early_stop_is_due(const struct im_conf *conf, const struct tr_position *p)
{
    return conf->early_stop > 0 && p->stop_seen - p->stop_epoch >= (uint64_t)conf->early_stop;
}
