/* Flags that have no effect, each with the option that it needs. A user who gives a flag expects an effect; a
 * file may hold options that are left over from another run, so that only flags are checked.
 *
 * The optimiser's and the schedules' keys have tables of their own (conf_optimizer.c, conf_schedule.c). */
#include "ipc/config/conf_table.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/count.h"

struct idle {
    enum im_conf_key_id key;
    bool is_idle;
    const char *where; /* "KEY has no effect" WHERE */
};

static int refuse(const struct im_conf *c, const struct idle *idle, size_t count, struct im_text *text)
{
    for (size_t i = 0; i < count; i++) {
        if (idle[i].is_idle && c->origin[idle[i].key].source == IM_CONF_FLAG)
            return im_fail(text, -EINVAL, "%s has no effect %s", im_conf_name(idle[i].key), idle[i].where);
    }
    return 0;
}

/* The first milestone is not before the end of the run. */
static bool comes_too_late(const struct im_conf *c)
{
    uint32_t epochs[IM_CONF_MILESTONES_MAX];

    return c->schedule == IM_SCHEDULE_MULTISTEP && im_conf_milestones(c->milestones, epochs) > 0 &&
           epochs[0] >= c->epochs;
}

static int check_training(const struct im_conf *c, struct im_text *text)
{
    const bool steps = c->schedule == IM_SCHEDULE_STEP || c->schedule == IM_SCHEDULE_MULTISTEP ||
                       c->schedule == IM_SCHEDULE_EXPONENTIAL;
    const bool courses = c->schedule == IM_SCHEDULE_COSINE || c->schedule == IM_SCHEDULE_POLYNOMIAL ||
                         c->schedule == IM_SCHEDULE_ONECYCLE;
    const bool cycles = c->schedule == IM_SCHEDULE_ONECYCLE && c->cycle_momentum;
    const char *cycled =
        "with onecycle, which cycles it between base-momentum and max-momentum: set those, or "
        "add --no-cycle-momentum";
    const struct idle idle[] = {
        {IM_KEY_step_ahead, c->step_ahead && c->accumulate > 1, "with accumulate above 1"},
        {IM_KEY_warmup_factor, !(c->warmup_epochs > 0), "without warmup-epochs"},
        {IM_KEY_schedule_restarts, c->schedule_restarts && !courses,
         "except with schedule cosine, polynomial or onecycle"},
        {IM_KEY_schedule_restarts, c->schedule_restarts && !*c->resize_schedule, "without resize-schedule"},
        {IM_KEY_gamma, !steps, "except with schedule step, multistep or exponential"},
        {IM_KEY_step_epochs, c->schedule == IM_SCHEDULE_STEP && c->step_epochs >= c->epochs,
         "in a run that ends before the first decay: step-epochs must be below epochs"},
        {IM_KEY_milestones, comes_too_late(c),
         "in a run that ends before the first milestone: one must be below epochs"},
        {IM_KEY_momentum, cycles, cycled},
        {IM_KEY_beta1, cycles, cycled},
        {IM_KEY_base_momentum, !cycles, "without cycle-momentum"},
        {IM_KEY_max_momentum, !cycles, "without cycle-momentum"},
        {IM_KEY_mix_p, c->mix_p == 0 && (c->mixup > 0 || c->cutmix > 0),
         "at 0, which mixes no batch: remove mixup and cutmix"},
        {IM_KEY_bce_threshold, c->loss != IM_CONF_LOSS_BCE, "except with loss bce"},
        {IM_KEY_bce_sum, c->loss != IM_CONF_LOSS_BCE, "except with loss bce"},
        {IM_KEY_class_weights, *c->class_weights && c->loss == IM_CONF_LOSS_BCE && !c->multi_label,
         "with loss bce, except with multi-label"},
        {IM_KEY_early_stop_on, c->early_stop == 0, "without early-stop"},
        {IM_KEY_val_split_seed, !(c->val_split > 0), "without val-split"},
        {IM_KEY_init_skip_head, c->init_skip_head && !c->init_from[0], "without init-from"},
        {IM_KEY_zero_init_residual, c->zero_init_residual && c->init_from[0],
         "with init-from, whose weights replace those that it sets"},
        {IM_KEY_bad_sample_limit, c->on_bad_sample == IM_BAD_SAMPLE_STOP,
         "with on-bad-sample stop, which stops at the first one"},
    };

    return refuse(c, idle, IM_COUNT(idle), text);
}

static int check_samples(const struct im_conf *c, struct im_text *text)
{
    const bool crops = strcmp(c->train_crop, "rrc") == 0;
    const bool rand = c->aug_policy == IM_AUG_POLICY_RANDAUGMENT;
    const bool bins = rand || c->aug_policy == IM_AUG_POLICY_TRIVIAL;
    const bool jitters =
        c->aug_brightness > 0 || c->aug_contrast > 0 || c->aug_saturation > 0 || c->aug_hue > 0;
    const char *random_crop = "except with train-crop rrc",
               *random_ops = "except with aug-policy randaugment", *policy = "without an aug-policy",
               *affine = "without aug-affine-p";
    const bool keeps = im_conf_has_pixel_cache(c);
    const bool alternates = c->flip == IM_FLIP_ALTERNATE;
    const struct idle idle[] = {
        {IM_KEY_pixel_cache_side, !keeps, "without pixel-cache"},
        {IM_KEY_pixel_cache_size, !keeps, "without pixel-cache"},
        {IM_KEY_seek_index, keeps, "with pixel-cache, which decodes whole images"},
        {IM_KEY_read_ranges, keeps, "with pixel-cache, which decodes whole images"},
        {IM_KEY_read_ranges, strcmp(c->seek_index, "off") == 0, "with seek-index off"},
        {IM_KEY_read_ranges, !crops, random_crop},
        {IM_KEY_read_ranges, c->scaled_decode, "with scaled-decode"},
        {IM_KEY_flip, alternates && !(c->hflip > 0), "with hflip 0"},
        {IM_KEY_hflip, alternates, "with flip alternate"},
        {IM_KEY_pad_mode, strncmp(c->train_crop, "pad:", 4) != 0, "except with train-crop pad:N"},
        {IM_KEY_rrc_scale_min, !crops, random_crop},
        {IM_KEY_rrc_scale_max, !crops, random_crop},
        {IM_KEY_rrc_ratio_min, !crops, random_crop},
        {IM_KEY_rrc_ratio_max, !crops, random_crop},
        {IM_KEY_aug_num_ops, !rand, random_ops},
        {IM_KEY_aug_magnitude, !rand, random_ops},
        {IM_KEY_aug_magnitude_bins, !bins, "except with aug-policy randaugment or trivial"},
        {IM_KEY_aug_policy_p, c->aug_policy == IM_AUG_POLICY_NONE, policy},
        {IM_KEY_aug_policy_filter, c->aug_policy == IM_AUG_POLICY_NONE, policy},
        {IM_KEY_aug_affine_border, !(c->aug_affine_p > 0), affine},
        {IM_KEY_aug_affine_filter, !(c->aug_affine_p > 0), affine},
        {IM_KEY_aug_jitter_p, !jitters, "without aug-brightness, aug-contrast, aug-saturation or aug-hue"},
        {IM_KEY_aug_dropout_fill, !(c->aug_dropout_p > 0) && c->aug_cutout == 0,
         "without aug-dropout-p or aug-cutout"},
    };

    return refuse(c, idle, IM_COUNT(idle), text);
}

int im_conf_check_idle(const struct im_conf *c, struct im_text *text)
{
    int err = check_training(c, text);

    return err < 0 ? err : check_samples(c, text);
}
