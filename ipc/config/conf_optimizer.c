/* Checks the combinations of keys of the optimiser and of the loss. */
#include "ipc/config/conf_table.h"

#include <errno.h>

#include "ipc/base/count.h"

enum im_optimizer im_conf_rest_opt(const struct im_conf *conf)
{
    if (conf->opt != IM_OPTIMIZER_MUON)
        return (enum im_optimizer)conf->opt;
    return conf->muon_rest == IM_MUON_REST_SGD ? IM_OPTIMIZER_SGD : IM_OPTIMIZER_ADAMW;
}

double im_conf_rest_rate(const struct im_conf *conf)
{
    const double usual = conf->muon_rest == IM_MUON_REST_SGD ? 0.1 : 0.001;
    const double rate = conf->muon_rest_lr > 0 ? conf->muon_rest_lr : usual;

    return conf->opt == IM_OPTIMIZER_MUON && conf->lr > 0 ? rate / conf->lr : 1;
}

/* A flag that the optimiser ignores is a mistake; in a file it may be left over from another optimiser. */
static int check_optimizer_flags(const struct im_conf *c, struct im_text *text)
{
    static const struct {
        enum im_conf_key_id key;
        enum im_optimizer opts[3];
    } uses[] = {
        {IM_KEY_momentum, {IM_OPTIMIZER_SGD, IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS}},
        {IM_KEY_nesterov, {IM_OPTIMIZER_SGD, IM_OPTIMIZER_LARS, IM_OPTIMIZER_MUON}},
        {IM_KEY_beta1, {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LAMB, IM_OPTIMIZER_LAMB}},
        {IM_KEY_beta2, {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LAMB, IM_OPTIMIZER_LAMB}},
        {IM_KEY_eps, {IM_OPTIMIZER_ADAMW, IM_OPTIMIZER_LAMB, IM_OPTIMIZER_LARS}},
        {IM_KEY_lars_trust, {IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS, IM_OPTIMIZER_LARS}},
        {IM_KEY_muon_momentum, {IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON}},
        {IM_KEY_muon_fixed_norm, {IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON}},
        {IM_KEY_muon_rest, {IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON}},
        {IM_KEY_muon_rest_lr, {IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON, IM_OPTIMIZER_MUON}},
    };
    const int32_t rest = (int32_t)im_conf_rest_opt(c);

    for (size_t i = 0; i < IM_COUNT(uses); i++) {
        bool used = false;

        for (int k = 0; k < 3; k++)
            used |= c->opt == (int32_t)uses[i].opts[k] || rest == (int32_t)uses[i].opts[k];
        if (!used && c->origin[uses[i].key].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL, "%s has no effect with opt %s: it belongs to %s",
                           im_conf_name(uses[i].key), im_conf_choice(IM_KEY_opt, c->opt),
                           im_conf_choice(IM_KEY_opt, (int32_t)uses[i].opts[0]));
    }
    if (c->opt == IM_OPTIMIZER_MUON && !c->nesterov && c->origin[IM_KEY_nesterov].source == IM_CONF_FLAG)
        return im_fail(text, -EINVAL, "opt muon always has Nesterov momentum: remove --no-nesterov");
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

int im_conf_check_optimizer(const struct im_conf *c, struct im_text *text)
{
    const bool adaptive = im_optimizer_is_adaptive((enum im_optimizer)c->opt);
    const bool muon = c->opt == IM_OPTIMIZER_MUON;
    int err = check_optimizer_flags(c, text);

    if (err == 0)
        err = check_mixing(c, text);
    if (err < 0)
        return err;
    if ((adaptive || muon) && !c->lr_range_test && c->origin[IM_KEY_lr].source == IM_CONF_DEFAULT)
        return im_fail(text, -EINVAL, "opt %s needs lr: the default %g suits sgd (try --lr %s)",
                       im_conf_choice(IM_KEY_opt, c->opt), c->lr,
                       muon                          ? "0.02"
                       : c->opt == IM_OPTIMIZER_LAMB ? "0.005"
                                                     : "0.001");
    if (c->lr == 0 && !c->lr_range_test)
        return im_fail(text, -EINVAL, "lr 0 never changes the weights; it must be above 0");
    if (c->nesterov && !adaptive && c->momentum == 0)
        return im_fail(text, -EINVAL, "nesterov needs a momentum above 0");
    if (c->ema_warmup != IM_EMA_WARMUP_NONE && !(c->ema > 0))
        return im_fail(text, -EINVAL, "ema-warmup has no effect without ema");
    return 0;
}
