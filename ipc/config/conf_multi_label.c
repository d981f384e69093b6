/* What images with several labels each cannot be combined with. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <string.h>

bool im_conf_apply_multi_label(struct im_conf *conf)
{
    const bool smooths =
        conf->label_smoothing > 0 && conf->origin[IM_KEY_label_smoothing].source == IM_CONF_RECIPE;
    const int32_t loss = conf->origin[IM_KEY_loss].source;

    if (!conf->multi_label)
        return false;
    if (loss == IM_CONF_DEFAULT || loss == IM_CONF_RECIPE)
        conf->loss = IM_CONF_LOSS_BCE;
    if (smooths)
        conf->label_smoothing = 0;
    return smooths;
}

int im_conf_check_multi_label(const struct im_conf *c, struct im_text *text)
{
    if (!c->multi_label)
        return 0;
    if (c->loss != IM_CONF_LOSS_BCE && !im_conf_is_probe(c))
        return im_fail(
            text, -EINVAL,
            "multi-label asks one question for each class, which loss bce answers: leave out loss %s",
            im_conf_choice(IM_KEY_loss, c->loss));
    if (c->label_smoothing > 0)
        return im_fail(
            text, -EINVAL,
            "label-smoothing spreads the one label of an image over all classes, and multi-label has "
            "none such: leave it out");
    if (c->sampler == IM_SAMPLER_BALANCED)
        return im_fail(
            text, -EINVAL,
            "sampler balanced draws as many images of each class, and with multi-label an image is of "
            "several: --class-weights balanced weighs rare labels instead");
    return 0;
}
