/* What the keys of the optimiser and of the loss must not say together. */
#include "ipc/config/conf_table.h"

#include <errno.h>

#include "ipc/base/count.h"

/* A flag that its optimiser does not look at is a mistake; in a file it may be left over from another one. */
static int check_optimizer_flags(const struct im_conf *c, struct im_text *text)
{
    static const struct {
        enum im_conf_key_id key;
        enum im_conf_opt opts[3];
    } uses[] = {
        {IM_KEY_momentum, {IM_CONF_OPT_SGD, IM_CONF_OPT_LARS, IM_CONF_OPT_LARS}},
        {IM_KEY_nesterov, {IM_CONF_OPT_SGD, IM_CONF_OPT_LARS, IM_CONF_OPT_LARS}},
        {IM_KEY_beta1, {IM_CONF_OPT_ADAMW, IM_CONF_OPT_LAMB, IM_CONF_OPT_LAMB}},
        {IM_KEY_beta2, {IM_CONF_OPT_ADAMW, IM_CONF_OPT_LAMB, IM_CONF_OPT_LAMB}},
        {IM_KEY_eps, {IM_CONF_OPT_ADAMW, IM_CONF_OPT_LAMB, IM_CONF_OPT_LARS}},
        {IM_KEY_lars_trust, {IM_CONF_OPT_LARS, IM_CONF_OPT_LARS, IM_CONF_OPT_LARS}},
    };

    for (size_t i = 0; i < IM_COUNT(uses); i++) {
        bool used = false;

        for (int k = 0; k < 3; k++)
            used |= c->opt == (int32_t)uses[i].opts[k];
        if (!used && c->origin[uses[i].key].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL, "%s does nothing with opt %s: it belongs to %s",
                           im_conf_name(uses[i].key), im_conf_choice(IM_KEY_opt, c->opt),
                           im_conf_choice(IM_KEY_opt, (int32_t)uses[i].opts[0]));
    }
    return 0;
}

static int check_mixing(const struct im_conf *c, struct im_text *text)
{
    const bool mixes = c->mixup > 0 || c->cutmix > 0;

    if (!mixes && c->origin[IM_KEY_mix_p].source == IM_CONF_FLAG)
        return im_fail(text, -EINVAL, "mix-p does nothing without mixup or cutmix");
    if (!(c->mixup > 0 && c->cutmix > 0) && c->origin[IM_KEY_mix_switch_p].source == IM_CONF_FLAG)
        return im_fail(text, -EINVAL, "mix-switch-p does nothing unless mixup and cutmix are both on");
    if (c->mixup > 0 && c->cutmix > 0 && (c->mix_switch_p == 0 || c->mix_switch_p == 1))
        return im_fail(text, -EINVAL, "mix-switch-p %g never takes %s: leave that out instead",
                       c->mix_switch_p, c->mix_switch_p == 0 ? "cutmix" : "mixup");
    return 0;
}

int im_conf_check_recipe(const struct im_conf *c, struct im_text *text)
{
    const bool adaptive = c->opt == IM_CONF_OPT_ADAMW || c->opt == IM_CONF_OPT_LAMB;
    int err = check_optimizer_flags(c, text);

    if (err == 0)
        err = check_mixing(c, text);
    if (err < 0)
        return err;
    if (adaptive && !c->sweep && c->origin[IM_KEY_lr].source == IM_CONF_DEFAULT)
        return im_fail(text, -EINVAL, "opt %s wants an lr of its own: %g is SGD's (%s is usual)",
                       im_conf_choice(IM_KEY_opt, c->opt), c->lr,
                       c->opt == IM_CONF_OPT_LAMB ? "0.005" : "0.001");
    if (c->lr == 0 && !c->sweep)
        return im_fail(text, -EINVAL, "lr 0 changes no weight: it must be above 0");
    if (c->nesterov && !adaptive && c->momentum == 0)
        return im_fail(text, -EINVAL, "nesterov wants a momentum above 0");
    if (c->ema_warmup != IM_EMA_WARMUP_NONE && !(c->ema > 0))
        return im_fail(text, -EINVAL, "ema-warmup does nothing without ema");
    return 0;
}
