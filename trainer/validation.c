/* What a validation without a loss means. Weights that are not finite cannot become so again, as each step on them is
 * skipped: the run ends. Weights that are may have overflowed the type that they are computed in, and the next epochs
 * may do better: that is reported, and the epoch is not the best. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>

#include "ipc/base/log.h"
#include "trainer/checkpoint/values.h"
#include "trainer/impl.h"

bool tr_validation_has_loss(const struct tr_sums *sums)
{
    return sums->valid == 0 || isfinite(sums->loss);
}

static struct tr_bad_values bad_in(struct tr_trainer *t, enum tr_arena params, enum tr_arena stats)
{
    return tr_values_bad(tr_network_model(t->net), t->state.arenas[params], t->state.arenas[stats],
                         tr_network_precision(t->net));
}

int tr_trainer_check_validation(struct tr_trainer *t, struct im_text *text)
{
    const bool averages = t->child->conf->ema > 0, plain = tr_validation_has_loss(&t->at.sums[IM_VAL]);
    const double mean = tr_mean_loss(plain ? &t->at.ema : &t->at.sums[IM_VAL]);
    const double loss = isnan(mean) ? (double)NAN : mean; /* without its sign */
    const char *of = plain ? " with averaged weights" : "";
    struct tr_bad_values bad;
    int err;

    if (plain && (!averages || tr_validation_has_loss(&t->at.ema)))
        return 0;
    err = tr_state_collect(&t->state, text);
    if (err < 0)
        return err;
    bad = bad_in(t, TR_ARENA_PARAMS, TR_ARENA_STATS);
    if (bad.count == 0 && averages)
        bad = bad_in(t, TR_ARENA_EMA, TR_ARENA_EMA_STATS);
    if (bad.count > 0)
        return im_fail(text, -EDOM,
                       "the validation loss%s of epoch %" PRIu32 " is %g: %s; weights of older epochs are in "
                       "checkpoints/; a lower --lr, more --warmup-epochs or --grad-clip may help",
                       of, t->at.epochs + 1, loss, tr_values_say(&bad).s);
    if (tr_trainer_leads(t))
        im_log(IM_LOG_ERROR,
               "the validation loss is not finite, though the weights are: their values overflow; this epoch "
               "is not the "
               "best, and training goes on",
               "epoch=%" PRIu32 " loss=%g averaged=%d", t->at.epochs + 1, loss, (int)plain);
    return 0;
}
