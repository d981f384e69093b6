/* Does the steps of a draw.
 *
 * Point operations are not done at once: they are appended to one table, which meets the pixels when a step
 * needs to look at neighbours or colours, or at the end. Histograms go through the table without the pixels.
 * An affine step cannot be done in place: with n of them, the crop is rendered into a scratch image, all but
 * the last go to the other scratch image and the last to `out`, so that nothing is copied. Only scratch
 * images are ever read past their last pixel. */
#include "augment/transform/transform.h"

#include <stdlib.h>

#include "ipc/base/clock.h"
#include "ipc/base/err.h"

/* The state of one au_draw_apply(). */
struct painting {
    struct au_canvas *canvas;
    struct imk_image image; /* the pixels so far, before the table */
    uint32_t affine_left, next_scratch;
    bool has_table, has_histogram;
    struct imk_lut table;
    struct imk_histogram histogram; /* of `image` */
};

static const char *const names[AU_STEP_KINDS] = {
    [AU_STEP_AFFINE_OPENCV] = "shift-scale-rotate",
    [AU_STEP_AFFINE_PILLOW] = "shear, translate, rotate",
    [AU_STEP_BRIGHTNESS] = "brightness",
    [AU_STEP_CONTRAST] = "contrast",
    [AU_STEP_COLOR] = "color",
    [AU_STEP_SHARPNESS] = "sharpness",
    [AU_STEP_POSTERIZE] = "posterize",
    [AU_STEP_SOLARIZE] = "solarize",
    [AU_STEP_INVERT] = "invert",
    [AU_STEP_AUTOCONTRAST] = "autocontrast",
    [AU_STEP_EQUALIZE] = "equalize",
    [AU_STEP_JITTER] = "color jitter",
    [AU_STEP_RECTANGLE] = "dropout, erasing",
};

const char *au_step_name(enum au_step_kind kind)
{
    return names[kind];
}

void au_canvas_init(struct au_canvas *canvas, unsigned cpu_flags)
{
    imk_ops_init(&canvas->ops, cpu_flags);
}

void au_canvas_fini(struct au_canvas *canvas)
{
    for (int i = 0; i < 2; i++)
        au_buffer_fini(&canvas->image[i]);
    au_buffer_fini(&canvas->rows);
}

static struct imk_image image_at(unsigned char *pixels, uint32_t size)
{
    return (struct imk_image){pixels, size, size, (size_t)3 * size};
}

unsigned char *au_canvas_source(struct au_canvas *canvas, const struct au_draw *draw, uint32_t size,
                                unsigned char *out)
{
    size_t bytes = (size_t)3 * size * size + IMK_SLACK, row = imk_sharpness_bytes(size);

    if (au_buffer_reserve(&canvas->rows, row > (size_t)3 * size ? row : (size_t)3 * size) < 0)
        return NULL;
    for (uint32_t i = 0; i < 2 && i < draw->affine_count; i++) {
        if (au_buffer_reserve(&canvas->image[i], bytes) < 0)
            return NULL;
    }
    return draw->affine_count > 0 ? canvas->image[0].data : out;
}

/* The table meets the pixels. */
static void flush(struct painting *p)
{
    if (!p->has_table)
        return;
    p->canvas->ops.apply_lut(&p->image, &p->image, &p->table);
    p->has_table = false;
    p->has_histogram = false;
}

static struct imk_lut *table(struct painting *p)
{
    if (!p->has_table)
        imk_lut_identity(&p->table);
    p->has_table = true;
    return &p->table;
}

/* The histogram of the image behind the table, in `mapped` or in the painting. */
static const struct imk_histogram *histogram(struct painting *p, struct imk_histogram *mapped)
{
    if (!p->has_histogram)
        p->canvas->ops.histogram(&p->image, &p->histogram);
    p->has_histogram = true;
    if (!p->has_table)
        return &p->histogram;
    imk_histogram_map(mapped, &p->histogram, &p->table);
    return mapped;
}

static void do_affine(struct painting *p, const struct au_step *step, unsigned char *out)
{
    const struct imk_ops *ops = &p->canvas->ops;
    struct imk_image to = image_at(out, p->image.width);

    if (--p->affine_left > 0)
        to.pixels = p->canvas->image[p->next_scratch].data;
    p->next_scratch = 1 - p->next_scratch;
    flush(p);
    if (step->kind == AU_STEP_AFFINE_OPENCV)
        ops->affine_opencv(&to, &p->image, &step->affine);
    else
        ops->affine_pillow(&to, &p->image, &step->affine);
    p->image = to;
    p->has_histogram = false;
}

static void do_contrast(struct painting *p, double factor)
{
    unsigned mean;

    flush(p);
    mean = imk_luma_mean(imk_luma_sum(&p->canvas->ops, &p->image), p->image.width, p->image.height);
    imk_lut_contrast(table(p), mean, factor);
}

/* Random bytes row by row: four numbers of 32 bits make sixteen bytes, whatever the box. */
static void do_noise(struct painting *p, const struct imk_box *box, uint64_t noise)
{
    struct im_rng rng = im_rng_at(noise, IM_RNG_AUGMENT, 0, 0);
    unsigned char *row = p->canvas->rows.data;

    for (uint32_t y = 0; y < box->h; y++) {
        uint32_t word = 0;

        for (uint32_t i = 0; i < 3 * box->w; i++, word >>= 8) {
            if (i % 4 == 0)
                word = im_rng_u32(&rng);
            row[i] = (unsigned char)word;
        }
        imk_fill_bytes(&p->image, (struct imk_box){box->x, box->y + y, box->w, 1}, row);
    }
}

static void do_rectangle(struct painting *p, const struct au_step *step)
{
    flush(p);
    if (step->rectangle.fill.is_random)
        do_noise(p, &step->rectangle.box, step->rectangle.noise);
    else
        imk_fill(&p->image, step->rectangle.box, step->rectangle.fill.rgb);
}

static void do_step(struct painting *p, const struct au_step *step, unsigned char *out)
{
    const struct imk_ops *ops = &p->canvas->ops;
    struct imk_histogram mapped;
    const struct imk_histogram *counts;

    switch (step->kind) {
    case AU_STEP_AFFINE_OPENCV:
    case AU_STEP_AFFINE_PILLOW:
        do_affine(p, step, out);
        return;
    case AU_STEP_BRIGHTNESS:
        imk_lut_brightness(table(p), step->factor);
        return;
    case AU_STEP_CONTRAST:
        do_contrast(p, step->factor);
        return;
    case AU_STEP_POSTERIZE:
        imk_lut_posterize(table(p), step->bits);
        return;
    case AU_STEP_SOLARIZE:
        imk_lut_solarize(table(p), step->threshold);
        return;
    case AU_STEP_INVERT:
        imk_lut_invert(table(p));
        return;
    case AU_STEP_AUTOCONTRAST:
        counts = histogram(p, &mapped);
        imk_lut_autocontrast(table(p), counts);
        return;
    case AU_STEP_EQUALIZE:
        counts = histogram(p, &mapped);
        imk_lut_equalize(table(p), counts);
        return;
    case AU_STEP_RECTANGLE:
        do_rectangle(p, step);
        break;
    case AU_STEP_COLOR:
        flush(p);
        imk_saturation(ops, &p->image, step->factor);
        break;
    case AU_STEP_SHARPNESS:
        flush(p);
        ops->sharpness(&p->image, step->factor, p->canvas->rows.data);
        break;
    case AU_STEP_JITTER:
        flush(p);
        imk_jitter(ops, &p->image, &step->jitter);
        break;
    case AU_STEP_KINDS:
        im_assert(false);
    }
    p->has_histogram = false;
}

void au_draw_apply(struct au_canvas *canvas, const struct au_draw *draw, uint32_t size, unsigned char *out)
{
    struct painting p = {.canvas = canvas, .affine_left = draw->affine_count, .next_scratch = 1};

    p.image = image_at(draw->affine_count > 0 ? canvas->image[0].data : out, size);
    for (uint32_t i = 0; i < draw->count; i++) {
        enum au_step_kind kind = draw->steps[i].kind;
        im_ns began;

        if (!canvas->is_timed) {
            do_step(&p, &draw->steps[i], out);
            continue;
        }
        /* Each step is charged with the table it left. */
        began = im_now();
        do_step(&p, &draw->steps[i], out);
        if (i + 1 == draw->count || draw->steps[i + 1].kind != AU_STEP_RECTANGLE)
            flush(&p);
        canvas->ns[kind] += im_now() - began;
        canvas->calls[kind]++;
    }
    flush(&p);
}
