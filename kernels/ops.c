/* Chooses the versions of the augmentation kernels by CPU features (see kernels/image.c), and what is built
 * from them or too small for versions of its own: ColorJitter and rectangles. */
#include "kernels/ops.h"

#include <string.h>

#include "kernels/ops_versions.h"

void imk_ops_init(struct imk_ops *ops, unsigned cpu_flags)
{
    imk_ops_ref_colour(ops);
    imk_ops_ref_affine(ops);
#if defined(__x86_64__)
    if (cpu_flags & IMK_CPU_AVX2) {
        imk_ops_avx2_colour(ops);
        imk_ops_avx2_steps(ops);
        imk_ops_avx2_tables(ops);
        imk_ops_avx2_affine(ops);
    }
#else
    (void)cpu_flags;
#endif
}

unsigned imk_luma_mean(uint64_t sum, uint32_t width, uint32_t height)
{
    return (unsigned)((double)sum / ((double)width * height) + 0.5);
}

unsigned char imk_hue_shift(double factor)
{
    return (unsigned char)(int)(factor * 255.0);
}

size_t imk_sharpness_bytes(uint32_t width)
{
    return (size_t)2 * 3 * width;
}

uint64_t imk_luma_sum(const struct imk_ops *ops, const struct imk_image *image)
{
    uint64_t sum;

    ops->steps(image, NULL, 0, &sum);
    return sum;
}

void imk_saturation(const struct imk_ops *ops, const struct imk_image *image, double factor)
{
    ops->steps(image, &(struct imk_step){IMK_STEP_SATURATION, 0, (float)factor}, 1, NULL);
}

/* The step that a jitter's choice is, but for contrast's mean. */
static struct imk_step step_of(const struct imk_jitter *jitter, enum imk_jitter_step which)
{
    switch (which) {
    case IMK_JITTER_BRIGHTNESS:
        return (struct imk_step){IMK_STEP_BLEND, 0, (float)jitter->brightness};
    case IMK_JITTER_CONTRAST:
        return (struct imk_step){IMK_STEP_BLEND, 0, (float)jitter->contrast};
    case IMK_JITTER_SATURATION:
        return (struct imk_step){IMK_STEP_SATURATION, 0, (float)jitter->saturation};
    default:
        return (struct imk_step){IMK_STEP_HUE, jitter->hue_shift, 0};
    }
}

void imk_jitter(const struct imk_ops *ops, const struct imk_image *image, const struct imk_jitter *jitter)
{
    struct imk_step pending[IMK_STEPS_MAX] = {0};
    unsigned count = 0;

    for (unsigned i = 0; i < jitter->count && i < 4; i++) {
        struct imk_step step = step_of(jitter, jitter->order[i]);

        if (jitter->order[i] == IMK_JITTER_CONTRAST) {
            uint64_t sum;

            ops->steps(image, pending, count, &sum);
            step.value = (unsigned char)imk_luma_mean(sum, image->width, image->height);
            count = 0;
        }
        pending[count++] = step;
    }
    if (count > 0)
        ops->steps(image, pending, count, NULL);
}

/* The part of the box that is inside; w or h is 0 where there is none. */
static struct imk_box clip_box(const struct imk_image *image, struct imk_box box)
{
    if (box.x >= image->width || box.y >= image->height)
        return (struct imk_box){0};
    if (box.w > image->width - box.x)
        box.w = image->width - box.x;
    if (box.h > image->height - box.y)
        box.h = image->height - box.y;
    return box;
}

static unsigned char *at(const struct imk_image *image, uint32_t x, uint32_t y)
{
    return image->pixels + y * image->stride + (size_t)3 * x;
}

void imk_fill(const struct imk_image *image, struct imk_box box, const unsigned char rgb[3])
{
    struct imk_box inside = clip_box(image, box);
    size_t row_bytes = (size_t)3 * inside.w;

    if (row_bytes == 0)
        return;
    for (uint32_t y = 0; y < inside.h; y++) {
        unsigned char *row = at(image, inside.x, inside.y + y);

        if (y > 0) {
            memcpy(row, row - image->stride, row_bytes);
            continue;
        }
        for (size_t i = 0; i < row_bytes; i += 3)
            memcpy(row + i, rgb, 3);
    }
}

void imk_fill_bytes(const struct imk_image *image, struct imk_box box, const unsigned char *bytes)
{
    struct imk_box inside = clip_box(image, box);

    for (uint32_t y = 0; y < inside.h; y++)
        memcpy(at(image, inside.x, inside.y + y), bytes + (size_t)3 * box.w * y, (size_t)3 * inside.w);
}
