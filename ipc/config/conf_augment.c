/* The sets of transforms that `augment` names, and checks of the combinations of aug keys.
 *
 * A set is a list of values for keys that no source has set. It is applied once all sources have been read, so
 * that a child gets plain values and config.yaml shows them; sets exist only in this file.
 *
 * classic is what scripts on albumentations do to photographs, as does the first project that imsuper replaces:
 * slight geometry, brightness, contrast and saturation but no hue, and one hole of a quarter of the side in
 * ImageNet's mean colour; autoaugment, randaugment and trivial are torchvision's with
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
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_rotate_limit, "15"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_jitter_p, "0.3"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_brightness, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_contrast, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_saturation, "0.2"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_dropout_p, "0.5"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_holes_min, "1"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_holes_max, "1"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_hole_height_min, "0.25"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_hole_height_max, "0.25"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_hole_width_min, "0.25"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_hole_width_max, "0.25"},
    {IM_AUGMENT_CLASSIC, IM_KEY_aug_dropout_fill, "123,116,103"},
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

/* Is a value neither the default nor that of the set? */
static bool is_changed(const struct im_conf *c, const struct im_conf *unchanged, enum im_conf_key_id key)
{
    char now[IM_CONF_TEXT_BYTES], then[IM_CONF_TEXT_BYTES];

    im_conf_value(c, key, now);
    im_conf_value(unchanged, key, then);
    return strcmp(now, then) != 0;
}

/* Parameters of a transform that is off have no effect: an error, so that this does not pass unnoticed. Those of a
 * set of which somebody has switched one transform off are nobody's mistake. */
static int check_used(const struct im_conf *c, struct im_text *text)
{
    static const struct {
        enum im_conf_key_id switched, key;
    } uses[] = {
        {IM_KEY_aug_affine_p, IM_KEY_aug_shift_limit},
        {IM_KEY_aug_affine_p, IM_KEY_aug_scale_limit},
        {IM_KEY_aug_affine_p, IM_KEY_aug_rotate_limit},
        {IM_KEY_aug_dropout_p, IM_KEY_aug_holes_min},
        {IM_KEY_aug_dropout_p, IM_KEY_aug_holes_max},
        {IM_KEY_aug_dropout_p, IM_KEY_aug_hole_height_min},
        {IM_KEY_aug_dropout_p, IM_KEY_aug_hole_height_max},
        {IM_KEY_aug_dropout_p, IM_KEY_aug_hole_width_min},
        {IM_KEY_aug_dropout_p, IM_KEY_aug_hole_width_max},
        {IM_KEY_aug_erase_p, IM_KEY_aug_erase_scale_min},
        {IM_KEY_aug_erase_p, IM_KEY_aug_erase_scale_max},
        {IM_KEY_aug_erase_p, IM_KEY_aug_erase_fill},
    };
    struct im_conf unchanged;

    im_conf_defaults(&unchanged);
    unchanged.augment = c->augment;
    im_conf_apply_set(&unchanged);
    for (size_t i = 0; i < IM_COUNT(uses); i++) {
        const struct im_conf_key *p = &im_conf_keys[uses[i].switched];
        const size_t cut = strlen("aug-"); /* --aug.erase-p */

        if (*(const double *)((const char *)c + p->offset) > 0 || !is_changed(c, &unchanged, uses[i].key))
            continue;
        return im_fail(text, -EINVAL, "aug.%s has no effect while aug.%s is 0: add --aug.%s P",
                       im_conf_name(uses[i].key) + cut, p->name + cut, p->name + cut);
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
