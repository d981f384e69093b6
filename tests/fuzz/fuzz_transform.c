/* libFuzzer target: whatever the parameters, every version of the pixel kernels makes the same pixels.
 *
 * The bytes choose a small image, a resize of it, and what follows: draws of a run's transforms with random
 * options, or up to eight steps one by one, with parameters that no run would draw. The reference does it
 * first, then each version that the CPU has; the property is equality. Allocations are of exactly the size
 * promised to the kernels, for AddressSanitizer. */
#include <stdlib.h>
#include <string.h>

#include "augment/transform/transform.h"
#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "kernels/image.h"
#include "tests/fuzz/fuzz.h"

enum { SIDE_MAX = 80, STEPS_MAX = 8 };

/* The bytes that are left; after them come zeros. */
struct input {
    const uint8_t *data;
    size_t n;
};

/* One image to make, whatever the kernels. */
struct scene {
    unsigned char *source; /* width x height */
    uint32_t width, height, size;
    bool flip;
    struct au_draw draw;
};

static void *grab(size_t bytes)
{
    void *memory = malloc(bytes);

    if (!memory)
        abort();
    return memory;
}

static uint32_t take(struct input *in, uint32_t bytes)
{
    uint32_t value = 0;

    for (; bytes > 0 && in->n > 0; bytes--, in->n--)
        value = value << 8 | *in->data++;
    return value;
}

static uint32_t below(struct input *in, uint32_t n)
{
    return take(in, n > 256 ? 2 : 1) % n;
}

static double between(struct input *in, double low, double high)
{
    return low + (high - low) * take(in, 2) / 65535;
}

/* Mostly what presets have, else values at which something changes. */
static double factor(struct input *in)
{
    static const double edge[] = {0, 1, 2, -0.0, -1, 1e9, -1e9, 0.5, 1.0 + 1.0 / (1 << 23), 1.0 / 255};
    uint32_t which = take(in, 1);

    return which < IM_COUNT(edge) ? edge[which] : between(in, -0.5, 2.5);
}

static void take_fill(struct input *in, struct au_fill *fill)
{
    fill->is_random = below(in, 2);
    for (int c = 0; c < 3; c++)
        fill->rgb[c] = (unsigned char)take(in, 1);
}

static struct au_affine_options affine_options(struct input *in)
{
    return (struct au_affine_options){
        .probability = between(in, 0, 1),
        .shift_limit = between(in, 0, 1),
        .scale_limit = between(in, 0, 0.9),
        .rotate = between(in, 0, 180),
        .border = (enum imk_border)below(in, 3),
        .filter = (enum imk_filter)below(in, 2),
        .fill = {(unsigned char)take(in, 1), 9, 200},
    };
}

static struct au_policy_options policy_options(struct input *in)
{
    uint32_t bins = 2 + below(in, 40);

    return (struct au_policy_options){
        .policy = (enum au_policy)below(in, 5),
        .probability = between(in, 0, 1),
        .num_ops = 1 + below(in, AU_POLICY_OPS_MAX),
        .bins = bins,
        .magnitude = below(in, bins),
        .filter = (enum imk_filter)below(in, 2),
        .fill = {128, (unsigned char)take(in, 1), 0},
    };
}

static struct au_dropout_options dropout_options(struct input *in)
{
    uint32_t least = 1 + below(in, AU_HOLES_MAX), side = 1 + below(in, SIDE_MAX);

    return (struct au_dropout_options){
        .probability = between(in, 0, 1),
        .count_min = least,
        .count_max = least + below(in, AU_HOLES_MAX + 1 - least),
        .height_min = 1,
        .height_max = side,
        .width_min = 0.1,
        .width_max = between(in, 0.1, 0.9),
    };
}

/* What a run could draw. */
static void draw_transforms(struct input *in, uint32_t size, struct au_draw *ret)
{
    struct im_rng rng = im_rng_at(take(in, 4), IM_RNG_TEST, 0, 0);
    struct au_transforms t = {
        .policy = policy_options(in),
        .affine = affine_options(in),
        .jitter = {.probability = between(in, 0, 1),
                   .brightness = between(in, 0, 2),
                   .contrast = between(in, 0, 2),
                   .saturation = between(in, 0, 2),
                   .hue = between(in, 0, 0.5)},
        .dropout = dropout_options(in),
        .cutout = below(in, SIDE_MAX),
        .erase = {.probability = between(in, 0, 1),
                  .scale_min = 0.02,
                  .scale_max = between(in, 0.02, 1),
                  .ratio_min = 0.3,
                  .ratio_max = between(in, 0.3, 5)},
    };

    take_fill(in, &t.dropout.fill);
    take_fill(in, &t.cutout_fill);
    take_fill(in, &t.erase.fill);
    au_draw_make(&t, &rng, size, ret);
}

static void take_affine(struct input *in, uint32_t size, struct imk_affine *a)
{
    double reach = below(in, 8) ? 3 : 1e9;

    *a = (struct imk_affine){.filter = (enum imk_filter)below(in, 2),
                             .border = (enum imk_border)below(in, 3),
                             .fill = {7, (unsigned char)take(in, 1), 250}};
    if (below(in, 2)) {
        imk_affine_rotate(a, size, size, between(in, -720, 720));
        return;
    }
    for (int i = 0; i < 6; i++)
        a->m[i] = between(in, -reach, reach) * (i % 3 == 2 ? size : 1);
}

static void take_jitter(struct input *in, struct imk_jitter *j)
{
    *j = (struct imk_jitter){.count = below(in, 5),
                             .brightness = factor(in),
                             .contrast = factor(in),
                             .saturation = factor(in),
                             .hue_shift = (unsigned char)take(in, 1)};
    for (unsigned i = 0; i < 4; i++) {
        unsigned from = below(in, i + 1);

        j->order[i] = j->order[from];
        j->order[from] = (enum imk_jitter_step)i;
    }
}

static struct au_step take_step(struct input *in, uint32_t size)
{
    struct au_step step = {.kind = (enum au_step_kind)below(in, AU_STEP_KINDS)};

    switch (step.kind) {
    case AU_STEP_AFFINE_OPENCV:
    case AU_STEP_AFFINE_PILLOW:
        take_affine(in, size, &step.affine);
        break;
    case AU_STEP_JITTER:
        take_jitter(in, &step.jitter);
        break;
    case AU_STEP_POSTERIZE:
        step.bits = below(in, 9);
        break;
    case AU_STEP_SOLARIZE:
        step.threshold = between(in, -1, 257);
        break;
    case AU_STEP_RECTANGLE:
        step.rectangle.box = (struct imk_box){.x = below(in, size), .y = below(in, size)};
        step.rectangle.box.w = 1 + below(in, size - step.rectangle.box.x);
        step.rectangle.box.h = 1 + below(in, size - step.rectangle.box.y);
        step.rectangle.noise = take(in, 4);
        take_fill(in, &step.rectangle.fill);
        break;
    default:
        step.factor = factor(in);
        break;
    }
    return step;
}

static struct scene scene_from(struct input *in)
{
    struct scene s = {.width = 1 + below(in, SIDE_MAX), .height = 1 + below(in, SIDE_MAX)};
    uint32_t kind = below(in, 4), step = 1 + take(in, 1), chosen;
    struct im_rng rng = im_rng_at(take(in, 4), IM_RNG_TEST, 1, 0);
    size_t bytes = (size_t)3 * s.width * s.height;

    s.size = 1 + below(in, SIDE_MAX);
    s.flip = below(in, 2);
    s.source = grab(bytes + IMK_SLACK);
    for (size_t i = 0; i < bytes; i++) {
        uint32_t noise = im_rng_u32(&rng);

        s.source[i] = (unsigned char)(kind == 0   ? noise
                                      : kind == 1 ? step * i / 7
                                      : kind == 2 ? step
                                      : noise & 1 ? 255
                                                  : 0);
    }
    chosen = below(in, 2);
    if (chosen == 0)
        draw_transforms(in, s.size, &s.draw);
    for (uint32_t i = 0; chosen == 1 && in->n > 0 && i < STEPS_MAX; i++) {
        struct au_step next = take_step(in, s.size);

        au_draw_add(&s.draw, &next);
    }
    return s;
}

/* The whole source to size x size, at `out`. */
static void resize(const struct scene *s, const struct imk_image_ops *ops, unsigned char *out)
{
    struct imk_axis h = {s->width, s->size, 0, s->size, s->flip}, v = {s->height, s->size, 0, s->size, false};
    void *h_memory = grab(imk_taps_bytes(&h)), *v_memory = grab(imk_taps_bytes(&v));
    size_t row_bytes = (size_t)3 * s->size, stride = row_bytes + IMK_SLACK;
    struct imk_taps h_taps, v_taps;
    unsigned char *rows;

    imk_taps_fill(&h_taps, &h, 0.0, (double)h.in, ops, h_memory);
    imk_taps_fill(&v_taps, &v, 0.0, (double)v.in, ops, v_memory);
    rows = grab(stride * (v_taps.end - v_taps.begin));
    ops->resize_rows(rows, stride, s->source + ((size_t)v_taps.begin * s->width + h_taps.begin) * 3,
                     (size_t)3 * s->width, v_taps.end - v_taps.begin, &h_taps);
    ops->resize_columns(out, row_bytes, rows, stride, row_bytes, &v_taps);
    free(rows);
    free(h_memory);
    free(v_memory);
}

/* The finished pixels; the caller frees them. */
static unsigned char *make(const struct scene *s, unsigned cpu_flags)
{
    unsigned char *out = grab((size_t)3 * s->size * s->size), *crop;
    struct au_canvas canvas = {0};
    struct imk_image_ops ops;

    imk_image_ops_init(&ops, cpu_flags);
    au_canvas_init(&canvas, cpu_flags);
    crop = au_canvas_source(&canvas, &s->draw, s->size, out);
    if (!crop)
        abort();
    resize(s, &ops, crop);
    au_draw_apply(&canvas, &s->draw, s->size, out);
    au_canvas_fini(&canvas);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct input in = {data, n};
    struct scene scene = scene_from(&in);
    unsigned char *expected = make(&scene, 0);
    unsigned flags = 0;

    for (unsigned feature = 1; feature != 0 && feature <= imk_cpu_flags(); feature <<= 1) {
        unsigned char *pixels;

        if (!(imk_cpu_flags() & feature))
            continue;
        flags |= feature;
        pixels = make(&scene, flags);
        im_assert(memcmp(expected, pixels, (size_t)3 * scene.size * scene.size) == 0);
        free(pixels);
    }
    free(expected);
    free(scene.source);
    return 0;
}
