/* Sizes and batches that the chosen network cannot train with. The trainer builds the networks;
 * tests/unit/trainer/model/test_model.c checks the strides here against those of the built networks. */
#include "ipc/config/conf_table.h"

#include <errno.h>

struct model_traits {
    bool small; /* made for CIFAR's images */
    uint32_t stages;
    uint32_t side_min; /* 0: it follows from the stages; else the network is no residual one */
};

static const struct model_traits models[] = {
#define MODEL_TRAITS(X, constant, name, preact, small, expansion, width, stages, ...)                        \
    [constant] = {small, stages, 0},
#define AIRBENCH_TRAITS(X, constant, name, ...) [constant] = {true, IM_AIRBENCH_GROUPS, IM_AIRBENCH_SIDE_MIN},
    IM_MODEL_TABLE(MODEL_TRAITS, ) IM_AIRBENCH_TABLE(AIRBENCH_TRAITS, )
#undef MODEL_TRAITS
#undef AIRBENCH_TRAITS
};

bool im_conf_small_images(const struct im_conf *c)
{
    return models[c->model].small;
}

int im_conf_model_stages(const struct im_conf *c)
{
    return (int)models[c->model].stages;
}

uint32_t im_conf_stride(const struct im_conf *c)
{
    const struct model_traits *m = &models[c->model];
    const bool small = c->stem == IM_CONF_STEM_SMALL || (c->stem == IM_CONF_STEM_AUTO && m->small);

    return m->side_min ? m->side_min : (small ? 1u : 4u) << (m->stages - 1);
}

/* Options of residual networks. */
static int check_residual(const struct im_conf *c, struct im_text *text)
{
    const char *key = c->stem == IM_CONF_STEM_IMAGENET       ? "stem imagenet"
                      : c->blurpool != IM_CONF_BLURPOOL_NONE ? "blurpool"
                      : c->drop_path_rate > 0                ? "drop-path-rate"
                      : c->zero_init_residual                ? "zero-init-residual"
                                                             : NULL;

    if (!key || models[c->model].side_min == 0)
        return 0;
    return im_fail(text, -EINVAL, "%s belongs to residual networks: leave it out with model %s", key,
                   im_conf_choice(IM_KEY_model, c->model));
}

static int check_side(const struct im_conf *c, const char *key, uint32_t size, struct im_text *text)
{
    const uint32_t stride = im_conf_stride(c);

    if (size >= stride)
        return 0;
    return im_fail(text, -EINVAL, "%s: %u pixels are fewer than the stride of %s, %u: use %u or more%s", key,
                   size, im_conf_choice(IM_KEY_model, c->model), stride, stride,
                   size >= stride / 4 && c->stem != IM_CONF_STEM_SMALL && !models[c->model].side_min
                       ? ", or --stem small"
                       : "");
}

/* With one image whose last values have one place, batch norm sees one value a channel, which is its own
 * mean: the layers behind get nothing of the image. PyTorch refuses to train so, too. */
static int check_batch(const struct im_conf *c, const struct im_conf_resize_entry *e, struct im_text *text)
{
    const char *key = *c->resize_schedule ? "resize-schedule" : "batch-size";

    if (e->batch > 1 || c->evaluate)
        return 0;
    if (c->mixup > 0 || c->cutmix > 0)
        return im_fail(text, -EINVAL,
                       "%s: %s mixes each image with another one of its batch; use a batch of 2 or more", key,
                       c->mixup > 0 ? "mixup" : "cutmix");
    if (e->from <= im_conf_stride(c) && !(c->sync_bn && im_conf_world(c) > 1))
        return im_fail(
            text, -EINVAL,
            "%s: with 1 image of %u pixels batch norm has one value a channel in the last layers of "
            "%s: use a batch of 2 or more, or larger images",
            key, e->from, im_conf_choice(IM_KEY_model, c->model));
    return 0;
}

int im_conf_check_network(const struct im_conf *c, struct im_text *text)
{
    struct im_conf_resize r;
    int err = check_residual(c, text);

    if (err == 0)
        err = im_conf_resize(c, &r, text);
    if (err == 0 && !*c->resize_schedule)
        err = check_side(c, "image-size", (uint32_t)c->image_size, text);
    if (err == 0)
        err = check_side(c, "eval-image-size", (uint32_t)im_conf_eval_image_size(c), text);
    for (int i = 0; i < r.count && err == 0; i++)
        err = check_batch(c, &r.entry[i], text);
    return err;
}
