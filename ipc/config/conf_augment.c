/* The sets of transforms that `augment` names, and checks of the combinations of aug keys.
 *
 * A set is a list of values for keys that no source has set. It is applied once all sources have been read, so
 * that a child gets plain values and config.yaml shows them; sets exist only in this file.
 *
 * classic has the numbers of albumentations 1.3; autoaugment, randaugment and trivial are torchvision's with
 * its defaults; heavy is what torchvision's second recipe for ResNet-50 does to pixels. */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/count.h"

static const struct {
    enum im_conf_augment set;
    enum im_conf_key_id key;
    const char *value;
} set_values[] = {
    {IM_AUGMENT_NONE, IM_KEY_train_crop, "center"},
    {IM_AUGMENT_NONE, IM_KEY_hflip, "0"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_affine_p, "0.5"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_jitter_p, "0.5"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_brightness, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_contrast, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_saturation, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_hue, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_dropout_p, "0.5"},
    {IM_AUGMENT_AUTOAUGMENT, IM_KEY_aug_policy, "imagenet"},
    {IM_AUGMENT_RANDAUGMENT, IM_KEY_aug_policy, "randaugment"},
    {IM_AUGMENT_TRIVIAL, IM_KEY_aug_policy, "trivial"},
    {IM_AUGMENT_HEAVY, IM_KEY_aug_policy, "trivial"},
    {IM_AUGMENT_HEAVY, IM_KEY_aug_erase_p, "0.1"},
};

void im_conf_apply_set(struct im_conf *conf)
{
    const struct im_conf_place place = {.source = IM_CONF_SET, .written = "augment"};

    for (size_t i = 0; i < IM_COUNT(set_values); i++) {
        int err = 0;

        if ((int)set_values[i].set == conf->augment &&
            conf->origin[set_values[i].key].source == IM_CONF_DEFAULT)
            err = im_conf_put(conf, (int)set_values[i].key, set_values[i].value, &place, NULL);
        im_assert(err == 0);
    }
}

int im_conf_fill(const char *s, uint8_t ret_colour[3], bool *ret_random)
{
    uint8_t colour[3] = {0};

    if (ret_random)
        *ret_random = strcmp(s, "random") == 0;
    if (ret_random && *ret_random)
        return 0;
    for (int i = 0; i < 3; i++) {
        size_t digits = strspn(s, "0123456789");
        unsigned long value = strtoul(s, NULL, 10);

        if (digits < 1 || digits > 3 || value > 255 || s[digits] != (i < 2 ? ',' : '\0'))
            return -EINVAL;
        colour[i] = (uint8_t)value;
        s += digits + 1;
    }
    memcpy(ret_colour, colour, sizeof colour);
    return 0;
}

/* Parameters of a transform that is off have no effect: an error, so that this does not pass unnoticed. */
static int check_used(const struct im_conf *c, struct im_text *text)
{
    const struct {
        bool is_on, is_changed;
        const char *changed, *missing;
    } uses[] = {
        {c->aug_affine_p > 0, c->aug_shift_limit != 0.0625, "aug.shift-limit", "aug.affine-p"},
        {c->aug_affine_p > 0, c->aug_scale_limit != 0.1, "aug.scale-limit", "aug.affine-p"},
        {c->aug_affine_p > 0, c->aug_rotate_limit != 45, "aug.rotate-limit", "aug.affine-p"},
        {c->aug_dropout_p > 0, c->aug_holes_min != 8 || c->aug_holes_max != 8, "aug.holes-max",
         "aug.dropout-p"},
        {c->aug_dropout_p > 0, c->aug_hole_height_min != 8 || c->aug_hole_height_max != 8,
         "aug.hole-height-max", "aug.dropout-p"},
        {c->aug_dropout_p > 0, c->aug_hole_width_min != 8 || c->aug_hole_width_max != 8, "aug.hole-width-max",
         "aug.dropout-p"},
        {c->aug_erase_p > 0, c->aug_erase_scale_min != 0.02 || c->aug_erase_scale_max != 0.33,
         "aug.erase-scale-max", "aug.erase-p"},
        {c->aug_erase_p > 0, strcmp(c->aug_erase_fill, "0,0,0") != 0, "aug.erase-fill", "aug.erase-p"},
    };

    for (size_t i = 0; i < IM_COUNT(uses); i++) {
        if (uses[i].is_changed && !uses[i].is_on)
            return im_fail(text, -EINVAL, "%s has no effect while %s is 0: add --%s P", uses[i].changed,
                           uses[i].missing, uses[i].missing);
    }
    return 0;
}

/* Pixels (whole numbers from 1 on) or shares (below 1), the same for both ends. */
static int check_hole(const char *what, double min, double max, uint32_t image_size, struct im_text *text)
{
    if (min > max)
        return im_fail(text, -EINVAL, "aug.hole-%s-min %g is larger than aug.hole-%s-max %g", what, min, what,
                       max);
    if ((min < 1) != (max < 1))
        return im_fail(
            text, -EINVAL,
            "aug.hole-%s-min %g and aug.hole-%s-max %g: expected both in pixels (1 or more) or both as "
            "fractions of the side (below 1)",
            what, min, what, max);
    if (min >= 1 && (min != (double)(int64_t)min || max != (double)(int64_t)max))
        return im_fail(text, -EINVAL, "aug.hole-%s: pixels must be whole numbers, not %g to %g", what, min,
                       max);
    if (max > (double)image_size)
        return im_fail(text, -EINVAL, "aug.hole-%s-max %g is larger than image-size %u", what, max,
                       image_size);
    return 0;
}

static int check_fills(const struct im_conf *c, struct im_text *text)
{
    uint8_t colour[3];
    bool is_random;

    if (im_conf_fill(c->aug_fill, colour, NULL) < 0)
        return im_fail(text, -EINVAL, "aug.fill: \"%.100s\": expected R,G,B, each 0 to 255", c->aug_fill);
    if (im_conf_fill(c->aug_dropout_fill, colour, &is_random) < 0)
        return im_fail(text, -EINVAL,
                       "aug.dropout-fill: \"%.100s\": expected random, or R,G,B, each 0 to 255",
                       c->aug_dropout_fill);
    if (im_conf_fill(c->aug_erase_fill, colour, &is_random) < 0)
        return im_fail(text, -EINVAL, "aug.erase-fill: \"%.100s\": expected random, or R,G,B, each 0 to 255",
                       c->aug_erase_fill);
    return 0;
}

int im_conf_check_transforms(const struct im_conf *c, struct im_text *text)
{
    int err = check_used(c, text);

    if (err == 0)
        err = check_fills(c, text);
    if (err == 0 && c->aug_dropout_p > 0)
        err = check_hole("height", c->aug_hole_height_min, c->aug_hole_height_max,
                         im_conf_smallest_image_size(c), text);
    if (err == 0 && c->aug_dropout_p > 0)
        err = check_hole("width", c->aug_hole_width_min, c->aug_hole_width_max,
                         im_conf_smallest_image_size(c), text);
    if (err < 0)
        return err;
    if (c->aug_magnitude >= c->aug_magnitude_bins)
        return im_fail(text, -EINVAL,
                       "aug.magnitude %lld is out of range: with aug.magnitude-bins %lld expected 0 to %lld",
                       (long long)c->aug_magnitude, (long long)c->aug_magnitude_bins,
                       (long long)c->aug_magnitude_bins - 1);
    if (c->aug_holes_min > c->aug_holes_max)
        return im_fail(text, -EINVAL, "aug.holes-min %lld is larger than aug.holes-max %lld",
                       (long long)c->aug_holes_min, (long long)c->aug_holes_max);
    if (c->aug_erase_scale_min > c->aug_erase_scale_max)
        return im_fail(text, -EINVAL, "aug.erase-scale-min %g is larger than aug.erase-scale-max %g",
                       c->aug_erase_scale_min, c->aug_erase_scale_max);
    if (c->aug_erase_ratio_min > c->aug_erase_ratio_max)
        return im_fail(text, -EINVAL, "aug.erase-ratio-min %g is larger than aug.erase-ratio-max %g",
                       c->aug_erase_ratio_min, c->aug_erase_ratio_max);
    return 0;
}
