/* AutoAugment, RandAugment and TrivialAugmentWide as torchvision 0.29 has them for PIL images: its tables,
 * its ranges, its signs. Pairs that stand twice stand twice there (and in the paper). */
#include "augment/transform/transform.h"

#include <math.h>

#include "ipc/base/err.h"

static const struct au_policy_entry imagenet_pairs[AU_PAIRS][2] = {
    {{AU_OP_POSTERIZE, 0.4, 8}, {AU_OP_ROTATE, 0.6, 9}},
    {{AU_OP_SOLARIZE, 0.6, 5}, {AU_OP_AUTOCONTRAST, 0.6, 0}},
    {{AU_OP_EQUALIZE, 0.8, 0}, {AU_OP_EQUALIZE, 0.6, 0}},
    {{AU_OP_POSTERIZE, 0.6, 7}, {AU_OP_POSTERIZE, 0.6, 6}},
    {{AU_OP_EQUALIZE, 0.4, 0}, {AU_OP_SOLARIZE, 0.2, 4}},
    {{AU_OP_EQUALIZE, 0.4, 0}, {AU_OP_ROTATE, 0.8, 8}},
    {{AU_OP_SOLARIZE, 0.6, 3}, {AU_OP_EQUALIZE, 0.6, 0}},
    {{AU_OP_POSTERIZE, 0.8, 5}, {AU_OP_EQUALIZE, 1.0, 0}},
    {{AU_OP_ROTATE, 0.2, 3}, {AU_OP_SOLARIZE, 0.6, 8}},
    {{AU_OP_EQUALIZE, 0.6, 0}, {AU_OP_POSTERIZE, 0.4, 6}},
    {{AU_OP_ROTATE, 0.8, 8}, {AU_OP_COLOR, 0.4, 0}},
    {{AU_OP_ROTATE, 0.4, 9}, {AU_OP_EQUALIZE, 0.6, 0}},
    {{AU_OP_EQUALIZE, 0.0, 0}, {AU_OP_EQUALIZE, 0.8, 0}},
    {{AU_OP_INVERT, 0.6, 0}, {AU_OP_EQUALIZE, 1.0, 0}},
    {{AU_OP_COLOR, 0.6, 4}, {AU_OP_CONTRAST, 1.0, 8}},
    {{AU_OP_ROTATE, 0.8, 8}, {AU_OP_COLOR, 1.0, 2}},
    {{AU_OP_COLOR, 0.8, 8}, {AU_OP_SOLARIZE, 0.8, 7}},
    {{AU_OP_SHARPNESS, 0.4, 7}, {AU_OP_INVERT, 0.6, 0}},
    {{AU_OP_SHEAR_X, 0.6, 5}, {AU_OP_EQUALIZE, 1.0, 0}},
    {{AU_OP_COLOR, 0.4, 0}, {AU_OP_EQUALIZE, 0.6, 0}},
    {{AU_OP_EQUALIZE, 0.4, 0}, {AU_OP_SOLARIZE, 0.2, 4}},
    {{AU_OP_SOLARIZE, 0.6, 5}, {AU_OP_AUTOCONTRAST, 0.6, 0}},
    {{AU_OP_INVERT, 0.6, 0}, {AU_OP_EQUALIZE, 1.0, 0}},
    {{AU_OP_COLOR, 0.6, 4}, {AU_OP_CONTRAST, 1.0, 8}},
    {{AU_OP_EQUALIZE, 0.8, 0}, {AU_OP_EQUALIZE, 0.6, 0}},
};

static const struct au_policy_entry cifar10_pairs[AU_PAIRS][2] = {
    {{AU_OP_INVERT, 0.1, 0}, {AU_OP_CONTRAST, 0.2, 6}},
    {{AU_OP_ROTATE, 0.7, 2}, {AU_OP_TRANSLATE_X, 0.3, 9}},
    {{AU_OP_SHARPNESS, 0.8, 1}, {AU_OP_SHARPNESS, 0.9, 3}},
    {{AU_OP_SHEAR_Y, 0.5, 8}, {AU_OP_TRANSLATE_Y, 0.7, 9}},
    {{AU_OP_AUTOCONTRAST, 0.5, 0}, {AU_OP_EQUALIZE, 0.9, 0}},
    {{AU_OP_SHEAR_Y, 0.2, 7}, {AU_OP_POSTERIZE, 0.3, 7}},
    {{AU_OP_COLOR, 0.4, 3}, {AU_OP_BRIGHTNESS, 0.6, 7}},
    {{AU_OP_SHARPNESS, 0.3, 9}, {AU_OP_BRIGHTNESS, 0.7, 9}},
    {{AU_OP_EQUALIZE, 0.6, 0}, {AU_OP_EQUALIZE, 0.5, 0}},
    {{AU_OP_CONTRAST, 0.6, 7}, {AU_OP_SHARPNESS, 0.6, 5}},
    {{AU_OP_COLOR, 0.7, 7}, {AU_OP_TRANSLATE_X, 0.5, 8}},
    {{AU_OP_EQUALIZE, 0.3, 0}, {AU_OP_AUTOCONTRAST, 0.4, 0}},
    {{AU_OP_TRANSLATE_Y, 0.4, 3}, {AU_OP_SHARPNESS, 0.2, 6}},
    {{AU_OP_BRIGHTNESS, 0.9, 6}, {AU_OP_COLOR, 0.2, 8}},
    {{AU_OP_SOLARIZE, 0.5, 2}, {AU_OP_INVERT, 0.0, 0}},
    {{AU_OP_EQUALIZE, 0.2, 0}, {AU_OP_AUTOCONTRAST, 0.6, 0}},
    {{AU_OP_EQUALIZE, 0.2, 0}, {AU_OP_EQUALIZE, 0.6, 0}},
    {{AU_OP_COLOR, 0.9, 9}, {AU_OP_EQUALIZE, 0.6, 0}},
    {{AU_OP_AUTOCONTRAST, 0.8, 0}, {AU_OP_SOLARIZE, 0.2, 8}},
    {{AU_OP_BRIGHTNESS, 0.1, 3}, {AU_OP_COLOR, 0.7, 0}},
    {{AU_OP_SOLARIZE, 0.4, 5}, {AU_OP_AUTOCONTRAST, 0.9, 0}},
    {{AU_OP_TRANSLATE_Y, 0.9, 9}, {AU_OP_TRANSLATE_Y, 0.7, 9}},
    {{AU_OP_AUTOCONTRAST, 0.9, 0}, {AU_OP_SOLARIZE, 0.8, 3}},
    {{AU_OP_EQUALIZE, 0.8, 0}, {AU_OP_INVERT, 0.1, 0}},
    {{AU_OP_TRANSLATE_Y, 0.7, 9}, {AU_OP_AUTOCONTRAST, 0.9, 0}},
};

/* Bins of AutoAugment's magnitudes. */
#define PAIR_BINS 10

const struct au_policy_entry *au_policy_entry(enum au_policy policy, uint32_t pair, uint32_t half)
{
    im_assert(pair < AU_PAIRS && half < 2);
    return policy == AU_POLICY_CIFAR10 ? &cifar10_pairs[pair][half] : &imagenet_pairs[pair][half];
}

/* torch.linspace(first, last, bins)[k] in float32: from the nearer end, with a fused multiply-add. The last
 * bit matters once: 32 * 15 / 30 is 15.999999, of which translate takes the integer. */
static double linspace(double first, double last, uint32_t bins, uint32_t k)
{
    float start = (float)first, end = (float)last, step = (end - start) / (float)(bins - 1);

    if (k < bins / 2)
        return (double)(float)((double)start + (double)step * k);
    return (double)(float)((double)end - (double)step * (bins - 1 - k));
}

/* 8 - (torch.arange(bins) / ((bins - 1) / steps)).round() */
static double posterize_bits(uint32_t bins, uint32_t k, double steps)
{
    return 8 - (double)rintf((float)k / (float)((bins - 1) / steps));
}

double au_policy_magnitude(enum au_policy policy, enum au_policy_op op, uint32_t bins, uint32_t k,
                           uint32_t size)
{
    bool wide = policy == AU_POLICY_TRIVIAL;

    im_assert(bins >= 2 && k < bins);
    switch (op) {
    case AU_OP_SHEAR_X:
    case AU_OP_SHEAR_Y:
        return linspace(0, wide ? 0.99 : 0.3, bins, k);
    case AU_OP_TRANSLATE_X:
    case AU_OP_TRANSLATE_Y:
        return linspace(0, wide ? 32.0 : 150.0 / 331.0 * size, bins, k);
    case AU_OP_ROTATE:
        return linspace(0, wide ? 135.0 : 30.0, bins, k);
    case AU_OP_BRIGHTNESS:
    case AU_OP_COLOR:
    case AU_OP_CONTRAST:
    case AU_OP_SHARPNESS:
        return linspace(0, wide ? 0.99 : 0.9, bins, k);
    case AU_OP_POSTERIZE:
        return posterize_bits(bins, k, wide ? 6 : 4);
    case AU_OP_SOLARIZE:
        return linspace(255, 0, bins, k);
    default:
        return 0;
    }
}

bool au_policy_signed(enum au_policy_op op)
{
    return op >= AU_OP_SHEAR_X && op <= AU_OP_SHARPNESS;
}

static void add_affine(struct au_draw *draw, const struct au_policy_options *o, enum au_policy_op op,
                       double magnitude, uint32_t size)
{
    struct au_step step = {.kind = AU_STEP_AFFINE_PILLOW};

    step.affine = (struct imk_affine){
        .filter = o->filter, .border = IMK_BORDER_CONSTANT, .fill = {o->fill[0], o->fill[1], o->fill[2]}};
    switch (op) {
    case AU_OP_SHEAR_X:
        imk_affine_shear(&step.affine, magnitude, 0);
        break;
    case AU_OP_SHEAR_Y:
        imk_affine_shear(&step.affine, 0, magnitude);
        break;
    case AU_OP_TRANSLATE_X:
        imk_affine_translate(&step.affine, (int32_t)magnitude, 0);
        break;
    case AU_OP_TRANSLATE_Y:
        imk_affine_translate(&step.affine, 0, (int32_t)magnitude);
        break;
    default:
        imk_affine_rotate(&step.affine, size, size, magnitude);
        break;
    }
    au_draw_add(draw, &step);
}

void au_policy_add(struct au_draw *draw, const struct au_policy_options *options, enum au_policy_op op,
                   double magnitude, uint32_t size)
{
    static const enum au_step_kind kinds[AU_POLICY_OP_COUNT] = {
        [AU_OP_BRIGHTNESS] = AU_STEP_BRIGHTNESS, [AU_OP_COLOR] = AU_STEP_COLOR,
        [AU_OP_CONTRAST] = AU_STEP_CONTRAST,     [AU_OP_SHARPNESS] = AU_STEP_SHARPNESS,
        [AU_OP_POSTERIZE] = AU_STEP_POSTERIZE,   [AU_OP_SOLARIZE] = AU_STEP_SOLARIZE,
        [AU_OP_EQUALIZE] = AU_STEP_EQUALIZE,     [AU_OP_AUTOCONTRAST] = AU_STEP_AUTOCONTRAST,
        [AU_OP_INVERT] = AU_STEP_INVERT,
    };
    struct au_step step = {.kind = kinds[op]};

    if (op == AU_OP_IDENTITY)
        return;
    if (op >= AU_OP_SHEAR_X && op <= AU_OP_ROTATE) {
        add_affine(draw, options, op, magnitude, size);
        return;
    }
    if (op >= AU_OP_BRIGHTNESS && op <= AU_OP_SHARPNESS)
        step.factor = 1.0 + magnitude;
    else if (op == AU_OP_POSTERIZE)
        step.bits = (unsigned)magnitude;
    else if (op == AU_OP_SOLARIZE)
        step.threshold = magnitude;
    au_draw_add(draw, &step);
}

static double with_sign(double magnitude, enum au_policy_op op, bool is_negative)
{
    return is_negative && au_policy_signed(op) ? -magnitude : magnitude;
}

/* torchvision draws all of a pair's chances and signs at once. */
static void draw_pair(const struct au_policy_options *o, struct im_rng *rng, uint32_t size,
                      struct au_draw *draw)
{
    uint32_t pair = (uint32_t)im_rng_below(rng, AU_PAIRS);
    double chance[2];
    bool is_negative[2];

    for (int half = 0; half < 2; half++)
        chance[half] = im_rng_unit(rng);
    for (int half = 0; half < 2; half++)
        is_negative[half] = im_rng_below(rng, 2) == 0;
    for (uint32_t half = 0; half < 2; half++) {
        const struct au_policy_entry *e = au_policy_entry(o->policy, pair, half);
        double magnitude = au_policy_magnitude(o->policy, e->op, PAIR_BINS, e->magnitude, size);

        if (chance[half] < e->probability)
            au_policy_add(draw, o, e->op, with_sign(magnitude, e->op, is_negative[half]), size);
    }
}

/* One of the 14 operations at bin k. */
static void draw_any(const struct au_policy_options *o, uint32_t k, struct im_rng *rng, uint32_t size,
                     struct au_draw *draw)
{
    enum au_policy_op op = (enum au_policy_op)im_rng_below(rng, AU_OP_EQUALIZE + 1);
    bool is_negative = im_rng_below(rng, 2) == 1;
    double magnitude = au_policy_magnitude(o->policy, op, o->bins, k, size);

    au_policy_add(draw, o, op, with_sign(magnitude, op, is_negative), size);
}

void au_policy_draw(const struct au_policy_options *o, struct im_rng *rng, uint32_t size,
                    struct au_draw *draw)
{
    switch (o->policy) {
    case AU_POLICY_NONE:
        break;
    case AU_POLICY_IMAGENET:
    case AU_POLICY_CIFAR10:
        draw_pair(o, rng, size, draw);
        break;
    case AU_POLICY_RAND:
        for (uint32_t i = 0; i < o->num_ops; i++)
            draw_any(o, o->magnitude, rng, size, draw);
        break;
    case AU_POLICY_TRIVIAL:
        draw_any(o, (uint32_t)im_rng_below(rng, o->bins), rng, size, draw);
        break;
    }
}
