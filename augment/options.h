/* The configuration of a run as the augmenter's library takes it. */
#ifndef AUGMENT_OPTIONS_H
#define AUGMENT_OPTIONS_H

#include "augment/render.h"
#include "ipc/config/conf.h"

/* What all training samples of a run have in common. */
struct au_options {
    struct au_crop_options crop;
    struct au_transforms transforms;
    struct au_limits limits;
    bool train_as_eval; /* --train-crop center: training samples get the crop of evaluation, and no flip */
};

/* conf has passed im_conf_check(); -EINVAL if it has not. */
int au_options_make(const struct im_conf *conf, struct au_options *ret);

/* The job of one sample. */
struct au_job au_run_job(const struct au_options *options, bool is_training, uint64_t seed, uint32_t epoch,
                         uint64_t sample, uint32_t size);

#endif
