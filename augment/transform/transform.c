/* From probabilities and ranges to concrete steps. Each function draws in a fixed order; a transform that is
 * off draws nothing, so that turning one on moves the numbers of those after it only.
 *
 * Integers and roundings follow the library named in transform.h: Python's round() is rint(), its int() of a
 * positive number a conversion. */
#include "augment/transform/transform.h"

#include <math.h>

#include "ipc/base/err.h"

/* torchvision's RandomErasing.get_params tries ten times before it leaves the image alone. */
#define ERASE_ATTEMPTS 10

void au_draw_add(struct au_draw *draw, const struct au_step *step)
{
    im_assert(draw->count < AU_STEPS_MAX);
    draw->steps[draw->count++] = *step;
    draw->affine_count += step->kind == AU_STEP_AFFINE_OPENCV || step->kind == AU_STEP_AFFINE_PILLOW;
}

/* Below the probability: never at 0, always at 1, and off transforms draw nothing. */
static bool happens(double probability, struct im_rng *rng)
{
    return probability > 0 && im_rng_unit(rng) < probability;
}

static void draw_affine(const struct au_affine_options *o, struct im_rng *rng, uint32_t size,
                        struct au_draw *draw)
{
    struct au_step step = {.kind = AU_STEP_AFFINE_OPENCV};
    double degrees, scale, dx, dy;

    if (!happens(o->probability, rng))
        return;
    degrees = im_rng_uniform(rng, -o->rotate, o->rotate);
    scale = im_rng_uniform(rng, 1 - o->scale_limit, 1 + o->scale_limit);
    dx = im_rng_uniform(rng, -o->shift_limit, o->shift_limit);
    dy = im_rng_uniform(rng, -o->shift_limit, o->shift_limit);
    step.affine = (struct imk_affine){
        .filter = o->filter, .border = o->border, .fill = {o->fill[0], o->fill[1], o->fill[2]}};
    imk_affine_shift_scale_rotate(&step.affine, size, size, degrees, scale, dx, dy);
    au_draw_add(draw, &step);
}

static double jitter_factor(double range, struct im_rng *rng)
{
    return im_rng_uniform(rng, range < 1 ? 1 - range : 0, 1 + range);
}

static void draw_jitter(const struct au_jitter_options *o, struct im_rng *rng, struct au_draw *draw)
{
    const double range[4] = {[IMK_JITTER_BRIGHTNESS] = o->brightness,
                             [IMK_JITTER_CONTRAST] = o->contrast,
                             [IMK_JITTER_SATURATION] = o->saturation,
                             [IMK_JITTER_HUE] = o->hue};
    enum imk_jitter_step order[4] = {IMK_JITTER_BRIGHTNESS, IMK_JITTER_CONTRAST, IMK_JITTER_SATURATION,
                                     IMK_JITTER_HUE};
    struct au_step step = {.kind = AU_STEP_JITTER};
    struct imk_jitter *j = &step.jitter;

    if (range[0] <= 0 && range[1] <= 0 && range[2] <= 0 && range[3] <= 0)
        return;
    if (!happens(o->probability, rng))
        return;
    for (uint32_t i = 3; i > 0; i--) { /* Fisher and Yates */
        uint32_t k = (uint32_t)im_rng_below(rng, i + 1);
        enum imk_jitter_step swapped = order[i];

        order[i] = order[k];
        order[k] = swapped;
    }
    *j = (struct imk_jitter){.count = 0};
    for (int i = 0; i < 4; i++) {
        if (range[order[i]] > 0)
            j->order[j->count++] = order[i];
    }
    j->brightness = jitter_factor(o->brightness, rng);
    j->contrast = jitter_factor(o->contrast, rng);
    j->saturation = jitter_factor(o->saturation, rng);
    j->hue_shift = imk_hue_shift(im_rng_uniform(rng, -o->hue, o->hue));
    au_draw_add(draw, &step);
}

/* One side of a hole, 0 .. size. */
static uint32_t hole_side(double min, double max, uint32_t size, struct im_rng *rng)
{
    uint64_t side;

    if (max >= 1)
        side = (uint64_t)min + im_rng_below(rng, (uint64_t)max - (uint64_t)min + 1);
    else
        side = (uint64_t)(size * im_rng_uniform(rng, min, max));
    return side < size ? (uint32_t)side : size;
}

static void add_rectangle(struct au_draw *draw, const struct imk_box *box, const struct au_fill *fill,
                          struct im_rng *rng)
{
    struct au_step step = {.kind = AU_STEP_RECTANGLE};

    step.rectangle.box = *box;
    step.rectangle.fill = *fill;
    step.rectangle.noise = fill->is_random ? im_rng_u64(rng) : 0;
    if (box->w > 0 && box->h > 0)
        au_draw_add(draw, &step);
}

static void draw_dropout(const struct au_dropout_options *o, struct im_rng *rng, uint32_t size,
                         struct au_draw *draw)
{
    uint32_t count;

    if (!happens(o->probability, rng))
        return;
    count = o->count_min + (uint32_t)im_rng_below(rng, o->count_max - o->count_min + 1);
    for (uint32_t i = 0; i < count; i++) {
        struct imk_box box;

        box.h = hole_side(o->height_min, o->height_max, size, rng);
        box.w = hole_side(o->width_min, o->width_max, size, rng);
        box.y = (uint32_t)im_rng_below(rng, size - box.h + 1);
        box.x = (uint32_t)im_rng_below(rng, size - box.w + 1);
        add_rectangle(draw, &box, &o->fill, rng);
    }
}

/* One axis of a cutout: clip(centre - side / 2) to clip(centre + side / 2), halves rounded down as there. */
static void clip_cutout(uint32_t centre, uint32_t side, uint32_t size, uint32_t *ret_from, uint32_t *ret_n)
{
    uint32_t half = side / 2;
    uint32_t from = centre > half ? centre - half : 0;
    uint32_t to = centre + half < size ? centre + half : size;

    *ret_from = from;
    *ret_n = to - from;
}

static void draw_cutout(uint32_t side, const struct au_fill *fill, struct im_rng *rng, uint32_t size,
                        struct au_draw *draw)
{
    struct imk_box box;
    uint32_t y, x;

    if (side == 0)
        return;
    y = (uint32_t)im_rng_below(rng, size);
    x = (uint32_t)im_rng_below(rng, size);
    clip_cutout(y, side, size, &box.y, &box.h);
    clip_cutout(x, side, size, &box.x, &box.w);
    add_rectangle(draw, &box, fill, rng);
}

static void draw_erase(const struct au_erase_options *o, struct im_rng *rng, uint32_t size,
                       struct au_draw *draw)
{
    double area = (double)size * size, log_min = log(o->ratio_min), log_max = log(o->ratio_max);

    if (!happens(o->probability, rng))
        return;
    for (int attempt = 0; attempt < ERASE_ATTEMPTS; attempt++) {
        double erased = area * im_rng_uniform(rng, o->scale_min, o->scale_max);
        double ratio = exp(im_rng_uniform(rng, log_min, log_max));
        double h = rint(sqrt(erased * ratio)), w = rint(sqrt(erased / ratio));

        if (h < size && w < size) {
            struct imk_box box = {.w = (uint32_t)w, .h = (uint32_t)h};

            box.y = (uint32_t)im_rng_below(rng, size - box.h + 1);
            box.x = (uint32_t)im_rng_below(rng, size - box.w + 1);
            add_rectangle(draw, &box, &o->fill, rng);
            return;
        }
    }
}

void au_draw_make(const struct au_transforms *t, struct im_rng *rng, uint32_t size, struct au_draw *ret)
{
    ret->count = 0;
    ret->affine_count = 0;
    if (t->policy.policy != AU_POLICY_NONE && happens(t->policy.probability, rng))
        au_policy_draw(&t->policy, rng, size, ret);
    draw_affine(&t->affine, rng, size, ret);
    draw_jitter(&t->jitter, rng, ret);
    draw_dropout(&t->dropout, rng, size, ret);
    draw_cutout(t->cutout, &t->cutout_fill, rng, size, ret);
    draw_erase(&t->erase, rng, size, ret);
}
