/* The one place where keys of the configuration become fields of the augmenter's structs. Sets of transforms
 * are long resolved here: they are values like others. */
#include "augment/options.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert((int)AU_POLICY_NONE == IM_AUG_POLICY_NONE &&
                  (int)AU_POLICY_IMAGENET == IM_AUG_POLICY_IMAGENET &&
                  (int)AU_POLICY_CIFAR10 == IM_AUG_POLICY_CIFAR10 &&
                  (int)AU_POLICY_RAND == IM_AUG_POLICY_RANDAUGMENT &&
                  (int)AU_POLICY_TRIVIAL == IM_AUG_POLICY_TRIVIAL,
              "one list of policies");

static int read_fill(const char *s, struct au_fill *ret)
{
    return im_conf_fill(s, ret->rgb, &ret->is_random);
}

static enum imk_filter filter_of(int32_t filter)
{
    return filter == IM_AUG_FILTER_NEAREST ? IMK_NEAREST : IMK_BILINEAR;
}

static int make_policy(const struct im_conf *conf, struct au_policy_options *ret)
{
    *ret = (struct au_policy_options){
        .policy = (enum au_policy)conf->aug_policy,
        .probability = conf->aug_policy_p,
        .num_ops = (uint32_t)conf->aug_num_ops,
        .magnitude = (uint32_t)conf->aug_magnitude,
        .bins = (uint32_t)conf->aug_magnitude_bins,
        .filter = filter_of(conf->aug_policy_filter),
    };
    return im_conf_fill(conf->aug_fill, ret->fill, NULL);
}

static int make_affine(const struct im_conf *conf, struct au_affine_options *ret)
{
    *ret = (struct au_affine_options){
        .probability = conf->aug_affine_p,
        .shift_limit = conf->aug_shift_limit,
        .scale_limit = conf->aug_scale_limit,
        .rotate = conf->aug_rotate_limit,
        .border =
            conf->aug_affine_border == IM_AUG_BORDER_CONSTANT ? IMK_BORDER_CONSTANT : IMK_BORDER_REFLECT_101,
        .filter = filter_of(conf->aug_affine_filter),
    };
    return im_conf_fill(conf->aug_fill, ret->fill, NULL);
}

static int make_dropout(const struct im_conf *conf, struct au_dropout_options *ret)
{
    *ret = (struct au_dropout_options){
        .probability = conf->aug_dropout_p,
        .count_min = (uint32_t)conf->aug_holes_min,
        .count_max = (uint32_t)conf->aug_holes_max,
        .height_min = conf->aug_hole_height_min,
        .height_max = conf->aug_hole_height_max,
        .width_min = conf->aug_hole_width_min,
        .width_max = conf->aug_hole_width_max,
    };
    return read_fill(conf->aug_dropout_fill, &ret->fill);
}

static int make_transforms(const struct im_conf *conf, struct au_transforms *ret)
{
    int err;

    *ret = (struct au_transforms){
        .jitter = {.probability = conf->aug_jitter_p,
                   .brightness = conf->aug_brightness,
                   .contrast = conf->aug_contrast,
                   .saturation = conf->aug_saturation,
                   .hue = conf->aug_hue},
        .cutout = (uint32_t)conf->aug_cutout,
        .erase = {.probability = conf->aug_erase_p,
                  .scale_min = conf->aug_erase_scale_min,
                  .scale_max = conf->aug_erase_scale_max,
                  .ratio_min = conf->aug_erase_ratio_min,
                  .ratio_max = conf->aug_erase_ratio_max},
    };
    err = make_policy(conf, &ret->policy);
    if (err == 0)
        err = make_affine(conf, &ret->affine);
    if (err == 0)
        err = make_dropout(conf, &ret->dropout);
    if (err == 0)
        err = read_fill(conf->aug_dropout_fill, &ret->cutout_fill);
    if (err == 0)
        err = read_fill(conf->aug_erase_fill, &ret->erase.fill);
    return err;
}

int au_options_make(const struct im_conf *conf, struct au_options *ret)
{
    struct au_crop_options crop;
    int err = au_crop_options_make(conf, &crop);

    *ret = (struct au_options){
        .crop = crop,
        .limits = {.side_max = (uint32_t)conf->max_side,
                   .pixels_max = (uint64_t)conf->max_pixels,
                   .scans_max = (uint32_t)conf->max_scans,
                   .memory_max = (size_t)im_conf_decode_memory_mib(conf) << 20},
        .train_as_eval = err == 1,
    };
    return err < 0 ? err : make_transforms(conf, &ret->transforms);
}

struct au_job au_run_job(const struct au_options *options, bool is_training, uint64_t seed, uint32_t epoch,
                         uint64_t sample, uint32_t size)
{
    return (struct au_job){
        .split = is_training && !options->train_as_eval ? IM_TRAIN : IM_VAL,
        .seed = seed,
        .sample = sample,
        .epoch = epoch,
        .size = size,
        .crop = options->crop,
        .transforms = is_training ? &options->transforms : NULL,
    };
}
