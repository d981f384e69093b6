/* Which pixels of an image make up a sample: random crops and flips of training, the fixed crop of
 * evaluation.
 *
 * Pure functions. The draws of a sample are those of (seed, epoch, sample) and of nothing else, so whoever
 * renders it, first or again, makes the same pixels. Definitions are torchvision's; numbers in brackets are
 * its defaults. */
#ifndef AUGMENT_TRANSFORM_CROP_H
#define AUGMENT_TRANSFORM_CROP_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/base/rng.h"
#include "ipc/config/conf.h"
#include "kernels/image.h"

enum au_train_crop {
    AU_CROP_RESIZED, /* RandomResizedCrop: a random box, resized */
    AU_CROP_PADDED,  /* RandomCrop(padding, padding_mode, pad_if_needed=True): a random place, no resizing */
};

struct au_crop_options {
    enum au_train_crop train_crop;
    uint32_t padding; /* AU_CROP_PADDED: pixels on each side (4) */
    enum im_conf_pad_mode
        pad_mode; /* what they are; but with CONSTANT and EDGE fewer than half of the job's size (CONSTANT) */
    double scale_min, scale_max; /* AU_CROP_RESIZED: share of the image's area (0.08, 1) */
    double ratio_min, ratio_max; /* AU_CROP_RESIZED: width / height (3/4, 4/3) */
    double flip_probability;     /* horizontal (0.5) */
    bool flip_alternates; /* instead: half of the samples in epoch 0, each in every second epoch (false) */
    uint32_t eval_resize; /* the short side before the centre crop of evaluation (256 for 224) */
    bool scaled_decode;   /* what shrinks to a half or less may be decoded smaller (false) */
};

#define AU_CROP_DEFAULT                                                                                      \
    {                                                                                                        \
        .train_crop = AU_CROP_RESIZED, .padding = 4, .scale_min = 0.08, .scale_max = 1.0,                    \
        .ratio_min = 3.0 / 4.0, .ratio_max = 4.0 / 3.0, .flip_probability = 0.5, .eval_resize = 256          \
    }

/* The largest `size`, `padding` and `eval_resize`. */
#define AU_SIZE_MAX 4096

/* Of a run. conf has passed im_conf_check(); -EINVAL if it has not. 1: training samples get the crop of evaluation. */
int au_crop_options_make(const struct im_conf *conf, struct au_crop_options *ret);

struct au_transforms;

/* One sample to make. */
struct au_job {
    enum im_split split;
    uint64_t seed, sample;
    uint32_t epoch;
    uint32_t size; /* side of the square output */
    struct au_crop_options crop;
    const struct au_transforms
        *transforms; /* what follows the crop (augment/transform/transform.h); NULL: nothing */
};

/* What to do with an image: cut `box` out, resize it to resized_w x resized_h, and take the square of `size`
 * whose top left corner is at (x, y) of that; what lies outside is zero, or with another pad_mode a copy of the pixel that
 * au_pad_source() says. Then mirror, if `flip`. */
struct au_crop {
    struct imk_box box;
    uint32_t resized_w, resized_h;
    int32_t x, y;
    uint32_t size;
    bool flip;
    enum im_conf_pad_mode pad_mode;
    uint32_t padding;
    struct im_rng rng; /* where the draws of crop and flip have left the sample's stream */
};

/* The plan of a job for an image of width x height pixels, both in 1 .. 65535. */
struct au_crop au_crop_make(const struct au_job *job, uint32_t width, uint32_t height);

/* The pixel of an axis of `side` pixels that stands at `at`, which may be outside: padded by `padding`, and, beyond that, what was
 * padded is padded once more (pad_if_needed). */
uint32_t au_pad_source(enum im_conf_pad_mode mode, int64_t at, uint32_t side, uint32_t padding);

#endif
