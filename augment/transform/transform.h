/* What happens to a sample after its crop, resize and flip: random transforms at output size.
 *
 * Three independent stages. struct au_transforms holds the options of a run; au_draw_make()
 * turns it and a stream of random numbers into concrete steps, as a pure function; au_draw_apply() does the
 * steps. Tests and measurements write steps of their own.
 *
 * The order is fixed: policy, ShiftScaleRotate, ColorJitter, CoarseDropout, cutout, RandomErasing. Numbers in
 * brackets are the defaults of the library named.
 *
 * ShiftScaleRotate and the policies' shears and rotations resample what the resize has made, as the libraries
 * do. One resampling straight from the decoded image would be a little sharper, and several units away from
 * theirs in textured places; it is not done.
 *
 * In this folder: random draws (crop, autoaugment, transform) and their application (apply), with the pixel
 * kernels of kernels/. Draws are pure functions of options and a random stream, and separate from
 * application, so that both are tested alone. A new transform is an option, a draw, a step, a kernel with its
 * reference, and golden values from the library that defines it. The order of draws of a released option does
 * not change. */
#ifndef AUGMENT_TRANSFORM_TRANSFORM_H
#define AUGMENT_TRANSFORM_TRANSFORM_H

#include <stdbool.h>
#include <stdint.h>

#include "augment/decode/buffer.h"
#include "ipc/base/rng.h"
#include "kernels/ops.h"

enum { AU_HOLES_MAX = 64, AU_POLICY_OPS_MAX = 16 };
/* The policy's, ShiftScaleRotate, ColorJitter, the holes, cutout, RandomErasing. */
enum { AU_STEPS_MAX = AU_POLICY_OPS_MAX + 1 + 1 + AU_HOLES_MAX + 1 + 1 };

/* ---- the options of a run; all zero: no transform ---- */

/* A colour, or each byte at random (uniform). */
struct au_fill {
    bool is_random;
    unsigned char rgb[3];
};

enum au_policy {
    AU_POLICY_NONE,
    AU_POLICY_IMAGENET, /* AutoAugment (Cubuk et al. 2019): one of 25 pairs of operations */
    AU_POLICY_CIFAR10,  /* the same for CIFAR-10 */
    AU_POLICY_RAND,     /* RandAugment (Cubuk et al. 2020): num_ops (2) operations at one magnitude */
    AU_POLICY_TRIVIAL,  /* TrivialAugmentWide (Mueller, Hutter 2021): one operation, any magnitude */
};

/* torchvision's transforms.autoaugment, all ranges and signs. */
struct au_policy_options {
    enum au_policy policy;
    double probability;
    uint32_t num_ops, magnitude, bins; /* 1 .. AU_POLICY_OPS_MAX; < bins (9); >= 2 (31) */
    enum imk_filter filter;            /* of shears, translations, rotations (nearest) */
    unsigned char fill[3];             /* what they bring in (0) */
};

/* albumentations' ShiftScaleRotate up to 1.4.0. */
struct au_affine_options {
    double probability;                      /* (0.5) */
    double shift_limit, scale_limit, rotate; /* share of the side (0.0625), of 1 (0.1), degrees (45) */
    enum imk_border border;                  /* (reflect 101) */
    enum imk_filter filter;                  /* (bilinear) */
    unsigned char fill[3];
};

/* torchvision's ColorJitter on PIL images, with a probability as albumentations has it. x: a factor in
 * [max(0, 1 - x), 1 + x]; hue: a turn in [-hue, hue]. 0: left out. */
struct au_jitter_options {
    double probability;
    double brightness, contrast, saturation, hue;
};

/* albumentations' CoarseDropout: holes wholly inside the image. Sizes: both ends of a range in whole pixels
 * (>= 1, inclusive), or both a share of the side (< 1, rounded down). */
struct au_dropout_options {
    double probability;                                  /* (0.5) */
    uint32_t count_min, count_max;                       /* inclusive, 1 .. AU_HOLES_MAX (8) */
    double height_min, height_max, width_min, width_max; /* (8) */
    struct au_fill fill;
};

/* torchvision's RandomErasing, on bytes before they are normalised. Its value="random" is a normal
 * distribution after normalising; `is_random` here are uniform bytes. */
struct au_erase_options {
    double probability; /* (0.5) */
    double scale_min, scale_max, ratio_min,
        ratio_max; /* share of the area (.02, .33), height/width (.3, 3.3) */
    struct au_fill fill;
};

struct au_transforms {
    struct au_policy_options policy;
    struct au_affine_options affine;
    struct au_jitter_options jitter;
    struct au_dropout_options dropout;
    uint32_t cutout; /* side of DeVries and Taylor's square (2017), its centre uniform, clipped; 0: none */
    struct au_fill cutout_fill;
    struct au_erase_options erase;
};

/* ---- concrete steps ---- */

enum au_step_kind {
    AU_STEP_AFFINE_OPENCV,
    AU_STEP_AFFINE_PILLOW,
    AU_STEP_BRIGHTNESS,
    AU_STEP_CONTRAST,
    AU_STEP_COLOR, /* saturation */
    AU_STEP_SHARPNESS,
    AU_STEP_POSTERIZE,
    AU_STEP_SOLARIZE,
    AU_STEP_INVERT,
    AU_STEP_AUTOCONTRAST,
    AU_STEP_EQUALIZE,
    AU_STEP_JITTER,
    AU_STEP_RECTANGLE,
    AU_STEP_KINDS
};

struct au_step {
    enum au_step_kind kind;
    union {
        struct imk_affine affine;
        double factor; /* brightness, contrast, colour, sharpness */
        unsigned bits; /* posterize */
        double threshold;
        struct imk_jitter jitter;
        struct {
            struct imk_box box; /* within the image */
            struct au_fill fill;
            uint64_t noise; /* seed of random bytes */
        } rectangle;
    };
};

struct au_draw {
    uint32_t count, affine_count; /* steps, and how many of them are affine */
    struct au_step steps[AU_STEPS_MAX];
};

/* The name of a kind as shown to users: "posterize". */
const char *au_step_name(enum au_step_kind kind);

/* Adds a step. */
void au_draw_add(struct au_draw *draw, const struct au_step *step);

/* The steps for a size x size image. `rng` is used up from where it stands. */
void au_draw_make(const struct au_transforms *transforms, struct im_rng *rng, uint32_t size,
                  struct au_draw *ret);

/* ---- policies, one by one ---- */

enum au_policy_op {
    AU_OP_IDENTITY,
    AU_OP_SHEAR_X,
    AU_OP_SHEAR_Y,
    AU_OP_TRANSLATE_X,
    AU_OP_TRANSLATE_Y,
    AU_OP_ROTATE,
    AU_OP_BRIGHTNESS,
    AU_OP_COLOR,
    AU_OP_CONTRAST,
    AU_OP_SHARPNESS,
    AU_OP_POSTERIZE,
    AU_OP_SOLARIZE,
    AU_OP_AUTOCONTRAST,
    AU_OP_EQUALIZE, /* up to here in the order of torchvision's RandAugment and TrivialAugmentWide */
    AU_OP_INVERT,   /* AutoAugment only */
    AU_POLICY_OP_COUNT
};

/* One half of a pair of AutoAugment. magnitude: one of its ten bins. */
struct au_policy_entry {
    enum au_policy_op op;
    double probability;
    uint32_t magnitude;
};

enum { AU_PAIRS = 25 };

/* pair < AU_PAIRS, half < 2; of AU_POLICY_IMAGENET or AU_POLICY_CIFAR10. */
const struct au_policy_entry *au_policy_entry(enum au_policy policy, uint32_t pair, uint32_t half);

/* Magnitude of an operation in bin k of `bins` for a size x size image, without sign; torchvision's
 * _augmentation_space, in its float arithmetic (torch.linspace). */
double au_policy_magnitude(enum au_policy policy, enum au_policy_op op, uint32_t bins, uint32_t k,
                           uint32_t size);
/* Whether a coin gives the magnitude its sign. */
bool au_policy_signed(enum au_policy_op op);

/* Adds torchvision's _apply_op(op, magnitude) to the draw; nothing for the identity. */
void au_policy_add(struct au_draw *draw, const struct au_policy_options *options, enum au_policy_op op,
                   double magnitude, uint32_t size);

/* Draws from the policy. */
void au_policy_draw(const struct au_policy_options *options, struct im_rng *rng, uint32_t size,
                    struct au_draw *draw);

/* ---- doing it ---- */

/* What steps need besides the pixels. Zeroed at first, then au_canvas_init. */
struct au_canvas {
    struct imk_ops ops;
    struct au_buffer image[2]; /* sources of affine steps */
    struct au_buffer rows;
    uint64_t ns[AU_STEP_KINDS]; /* time of each kind, added up, where is_timed */
    uint64_t calls[AU_STEP_KINDS];
    bool is_timed;
};

void au_canvas_init(struct au_canvas *canvas, unsigned cpu_flags);
void au_canvas_fini(struct au_canvas *canvas);

/* Where the crop for this draw is to be put: `out`, or memory of the canvas when the first affine step reads
 * it from there. size * size pixels without gaps. NULL: no memory. */
unsigned char *au_canvas_source(struct au_canvas *canvas, const struct au_draw *draw, uint32_t size,
                                unsigned char *out);

/* Does the steps on the pixels at au_canvas_source(); the result is in `out`. Nothing is written outside. */
void au_draw_apply(struct au_canvas *canvas, const struct au_draw *draw, uint32_t size, unsigned char *out);

#endif
