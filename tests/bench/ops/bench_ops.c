/* What each augmentation kernel costs on one image, one thread:
 *
 *     bench_ops [--passes N] [--cpu-flags N] [--size N] [--only WORD]
 *
 * Each figure is taken over the same 64 draws of parameters. Of each draw the best of N passes counts,
 * because other work on the machine only ever adds to it; of the draws, the median and the 99th percentile
 * are printed. WORD chooses the figures whose names contain it. The image is put back between calls, outside
 * of the time measured. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "kernels/ops.h"
#include "tests/unit/kernels/ops_help.h"

#define DRAWS 64

/* Parameters of one draw: the ranges are those of the classic set of before 0.3, with everything applied. */
struct draw {
    struct imk_affine classic, rotation, shear, translation;
    struct imk_jitter jitter;
    struct imk_box holes[8];
};

struct bench {
    struct imk_ops ops;
    struct imk_image_ops image_ops;
    struct test_image source, image, other;
    struct draw draws[DRAWS];
    unsigned char *scratch;
};

typedef void (*figure)(struct bench *b, const struct draw *draw);

static double between(uint32_t *seed, double low, double high)
{
    *seed = *seed * 1664525 + 1013904223;
    return low + (high - low) * (*seed >> 8) / (1 << 24);
}

static void make_draw(struct draw *d, uint32_t *seed, uint32_t size)
{
    double magnitude = between(seed, -0.3, 0.3);

    *d = (struct draw){0};
    imk_affine_shift_scale_rotate(&d->classic, size, size, between(seed, -45, 45), between(seed, 0.9, 1.1),
                                  between(seed, -0.0625, 0.0625), between(seed, -0.0625, 0.0625));
    d->classic.filter = IMK_BILINEAR;
    d->classic.border = IMK_BORDER_REFLECT_101;
    imk_affine_rotate(&d->rotation, size, size, between(seed, -30, 30));
    imk_affine_shear(&d->shear, magnitude, 0);
    imk_affine_translate(&d->translation, (int32_t)(magnitude * size), 0);
    d->jitter = (struct imk_jitter){.count = 4,
                                    .brightness = between(seed, 0.6, 1.4),
                                    .contrast = between(seed, 0.6, 1.4),
                                    .saturation = between(seed, 0.6, 1.4),
                                    .hue_shift = imk_hue_shift(between(seed, -0.1, 0.1))};
    for (unsigned i = 0; i < 4; i++) {
        unsigned from = (unsigned)between(seed, 0, i + 1);

        d->jitter.order[i] = d->jitter.order[from];
        d->jitter.order[from] = (enum imk_jitter_step)i;
    }
    for (int i = 0; i < 8; i++)
        d->holes[i] = (struct imk_box){(uint32_t)between(seed, 0, size * 0.9),
                                       (uint32_t)between(seed, 0, size * 0.9), size / 10, size / 10};
}

static void affine_classic(struct bench *b, const struct draw *d)
{
    b->ops.affine_opencv(&b->other.image, &b->image.image, &d->classic);
}

static void affine_constant(struct bench *b, const struct draw *d)
{
    struct imk_affine a = d->classic;

    a.border = IMK_BORDER_CONSTANT;
    b->ops.affine_opencv(&b->other.image, &b->image.image, &a);
}

static void rotate(struct bench *b, const struct draw *d)
{
    b->ops.affine_pillow(&b->other.image, &b->image.image, &d->rotation);
}

static void rotate_bilinear(struct bench *b, const struct draw *d)
{
    struct imk_affine a = d->rotation;

    a.filter = IMK_BILINEAR;
    b->ops.affine_pillow(&b->other.image, &b->image.image, &a);
}

static void shear(struct bench *b, const struct draw *d)
{
    b->ops.affine_pillow(&b->other.image, &b->image.image, &d->shear);
}

static void translate(struct bench *b, const struct draw *d)
{
    b->ops.affine_pillow(&b->other.image, &b->image.image, &d->translation);
}

static void brightness(struct bench *b, const struct draw *d)
{
    b->ops.steps(&b->image.image, &(struct imk_step){IMK_STEP_BLEND, 0, (float)d->jitter.brightness}, 1,
                 NULL);
}

static void luma_sum(struct bench *b, const struct draw *d)
{
    (void)d;
    b->scratch[0] = (unsigned char)imk_luma_sum(&b->ops, &b->image.image);
}

static void saturation(struct bench *b, const struct draw *d)
{
    imk_saturation(&b->ops, &b->image.image, d->jitter.saturation);
}

static void hue(struct bench *b, const struct draw *d)
{
    b->ops.steps(&b->image.image, &(struct imk_step){IMK_STEP_HUE, d->jitter.hue_shift, 0}, 1, NULL);
}

static void jitter(struct bench *b, const struct draw *d)
{
    imk_jitter(&b->ops, &b->image.image, &d->jitter);
}

static void sharpness(struct bench *b, const struct draw *d)
{
    b->ops.sharpness(&b->image.image, d->jitter.contrast, b->scratch);
}

static void histogram(struct bench *b, const struct draw *d)
{
    struct imk_histogram histogram;

    (void)d;
    b->ops.histogram(&b->image.image, &histogram);
    b->scratch[0] = (unsigned char)histogram.count[0][0];
}

static void solarize(struct bench *b, const struct draw *d)
{
    struct imk_lut lut;

    imk_lut_identity(&lut);
    imk_lut_solarize(&lut, 128 * d->jitter.contrast);
    b->ops.apply_lut(&b->image.image, &b->image.image, &lut);
}

static void equalize(struct bench *b, const struct draw *d)
{
    struct imk_histogram histogram;
    struct imk_lut lut;

    (void)d;
    b->ops.histogram(&b->image.image, &histogram);
    imk_lut_identity(&lut);
    imk_lut_equalize(&lut, &histogram);
    b->ops.apply_lut(&b->image.image, &b->image.image, &lut);
}

static void dropout(struct bench *b, const struct draw *d)
{
    for (int i = 0; i < 8; i++)
        imk_fill(&b->image.image, d->holes[i], (const unsigned char[3]){0});
}

static void flip(struct bench *b, const struct draw *d)
{
    const struct imk_image *from = &b->image.image, *to = &b->other.image;

    (void)d;
    for (uint32_t y = 0; y < from->height; y++)
        b->image_ops.mirror_rgb(to->pixels + y * to->stride, from->pixels + y * from->stride, from->width);
}

/* Flip, which costs nothing where a resize comes first, is left out. */
static void classic(struct bench *b, const struct draw *d)
{
    b->ops.affine_opencv(&b->other.image, &b->image.image, &d->classic);
    imk_jitter(&b->ops, &b->other.image, &d->jitter);
    for (int i = 0; i < 8; i++)
        imk_fill(&b->other.image, d->holes[i], (const unsigned char[3]){0});
}

static int compare(const void *a, const void *b)
{
    im_ns x = *(const im_ns *)a, y = *(const im_ns *)b;

    return (x > y) - (x < y);
}

static void measure(struct bench *b, const char *name, figure run, int passes)
{
    im_ns best[DRAWS];

    for (int pass = 0; pass < passes; pass++)
        for (int i = 0; i < DRAWS; i++) {
            im_ns start, took;

            memcpy(b->image.memory, b->source.memory, b->source.bytes);
            start = im_now();
            run(b, &b->draws[i]);
            took = im_now() - start;
            if (pass == 0 || took < best[i])
                best[i] = took;
        }
    qsort(best, DRAWS, sizeof best[0], compare);
    printf("%-26s p50 %7.4f ms   p99 %7.4f ms\n", name, (double)best[DRAWS / 2] / 1e6,
           (double)best[DRAWS * 99 / 100] / 1e6);
}

static int measure_all(struct bench *b, uint32_t size, unsigned cpu_flags, int passes, const char *only)
{
    static const struct {
        const char *name;
        figure run;
    } figures[] = {{"affine classic", affine_classic},
                   {"affine constant border", affine_constant},
                   {"rotate nearest", rotate},
                   {"rotate bilinear (Pillow)", rotate_bilinear},
                   {"shear nearest", shear},
                   {"translate nearest", translate},
                   {"brightness or contrast", brightness},
                   {"luma sum", luma_sum},
                   {"saturation", saturation},
                   {"hue", hue},
                   {"ColorJitter, all four", jitter},
                   {"sharpness", sharpness},
                   {"histogram", histogram},
                   {"table (solarize)", solarize},
                   {"equalize", equalize},
                   {"dropout, 8 holes", dropout},
                   {"flip", flip},
                   {"classic set", classic}};
    uint32_t seed = 7;

    imk_ops_init(&b->ops, cpu_flags);
    imk_image_ops_init(&b->image_ops, cpu_flags);
    b->source = test_image_new(size, size, 0);
    test_image_pattern(&b->source, 0);
    b->image = test_image_copy(&b->source);
    b->other = test_image_copy(&b->source);
    b->scratch = malloc(imk_sharpness_bytes(size));
    if (!b->scratch)
        return -1;
    for (int i = 0; i < DRAWS; i++)
        make_draw(&b->draws[i], &seed, size);
    printf("%s kernels, %u x %u, %d draws, best of %d\n", b->ops.name, size, size, DRAWS, passes);
    for (size_t i = 0; i < IM_COUNT(figures); i++)
        if (strstr(figures[i].name, only))
            measure(b, figures[i].name, figures[i].run, passes);
    free(b->scratch);
    test_image_free(&b->source);
    test_image_free(&b->image);
    test_image_free(&b->other);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"passes", required_argument, NULL, 'p'},
                                            {"cpu-flags", required_argument, NULL, 'c'},
                                            {"size", required_argument, NULL, 's'},
                                            {"only", required_argument, NULL, 'o'},
                                            {0}};
    unsigned cpu_flags = imk_cpu_flags();
    const char *only = "";
    uint32_t size = 224;
    int passes = 20, option;
    static struct bench b;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        unsigned long value = optarg ? strtoul(optarg, NULL, 0) : 0;

        if (option == 'p' && value >= 1 && value <= 100000)
            passes = (int)value;
        else if (option == 's' && value >= 1 && value <= 4096)
            size = (uint32_t)value;
        else if (option == 'c')
            cpu_flags &= (unsigned)value;
        else if (option == 'o')
            only = optarg;
        else {
            fprintf(stderr, "usage: bench_ops [--passes N] [--cpu-flags N] [--size N] [--only WORD]\n");
            return 2;
        }
    }
    return measure_all(&b, size, cpu_flags, passes, only) < 0;
}
