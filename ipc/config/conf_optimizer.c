/* Checks the combinations of keys of the optimiser and of the loss. */
#include "ipc/config/conf_table.h"

#include <errno.h>

#include "ipc/base/count.h"

/* A flag that the optimiser ignores is a mistake; in a file it may be left over from another optimiser. */
static int check_optimizer_flags(const struct im_conf *c, struct im_text *text)
{
    static const struct {
        enum im_conf_key_id key;
        enum im_optimizer opts[3];
    } uses[] = {
        {IM_KEY_momentum, {IM_OPTIMIZER_SGD, IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS}},
        {IM_KEY_nesterov, {IM_OPTIMIZER_SGD, IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS}},
        {IM_KEY_beta1, {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LAMB, IM_OPTIMIZER_LAMB}},
        {IM_KEY_beta2, {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LAMB, IM_OPTIMIZER_LAMB}},
        {IM_KEY_eps, {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LAMB, IM_OPTIMIZER_LARS}},
        {IM_KEY_lars_trust, {IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS}},
    };

    for (size_t i = 0; i < IM_COUNT(uses); i++) {
        bool used = false;

        for (int k = 0; k < 3; k++)
            used |= c->opt == (int32_t)uses[i].opts[k];
        if (!used && c->origin[uses[i].key].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL, "%s has no effect with opt %s: it belongs to %s",
                           im_conf_name(uses[i].key), im_conf_choice(IM_KEY_opt, c->opt),
                           im_conf_choice(IM_KEY_opt, (int32_t)uses[i].opts[0]));
    }
    return 0;
}

static int check_mixing(const struct im_conf *c, struct im_text *text)
{
    const bool mixes = c->mixup > 0 || c->cutmix > 0;

    if (!mixes && c->origin[IM_KEY_mix_p].source == IM_CONF_FLAG)
        return im_fail(text, -EINVAL, "mix-p has no effect without mixup or cutmix");
    if (!(c->mixup > 0 && c->cutmix > 0) && c->origin[IM_KEY_mix_switch_p].source == IM_CONF_FLAG)
        return im_fail(text, -EINVAL, "mix-switch-p has no effect unless mixup and cutmix are both on");
    if (c->mixup > 0 && c->cutmix > 0 && (c->mix_switch_p == 0 || c->mix_switch_p == 1))
        return im_fail(text, -EINVAL, "mix-switch-p %g never selects %s: remove that option instead",
                       c->mix_switch_p, c->mix_switch_p == 0 ? "cutmix" : "mixup");
    return 0;
}

int im_conf_check_recipe(const struct im_conf *c, struct im_text *text)
{
    const bool adaptive = im_optimizer_is_adaptive((enum im_optimizer)c->opt);
    int err = check_optimizer_flags(c, text);

    if (err == 0)
        err = check_mixing(c, text);
    if (err < 0)
        return err;
    if (adaptive && !c->lr_range_test && c->origin[IM_KEY_lr].source == IM_CONF_DEFAULT)
        return im_fail(text, -EINVAL, "opt %s needs lr: the default %g suits sgd (try --lr %s)",
                       im_conf_choice(IM_KEY_opt, c->opt), c->lr,
                       c->opt == IM_OPTIMIZER_LAMB ? "0.005" : "0.001");
    if (c->lr == 0 && !c->lr_range_test)
        return im_fail(text, -EINVAL, "lr 0 never changes the weights; it must be above 0");
    if (c->nesterov && !adaptive && c->momentum == 0)
        return im_fail(text, -EINVAL, "nesterov needs a momentum above 0");
    if (c->ema_warmup != IM_EMA_WARMUP_NONE && !(c->ema > 0))
        return im_fail(text, -EINVAL, "ema-warmup has no effect without ema");
    return 0;
}
