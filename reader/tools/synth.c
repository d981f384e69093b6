/* What makes a class, and what must not give it away.
 *
 * An image shows one figure, filled with stripes, on a ground with a gradient and blobs. A class is a
 * combination of three things: the figure (disc, square, triangle, ring, cross), the direction of the
 * stripes (upright, level, slanted either way, so that a mirrored image keeps its class), and whether they
 * are coarse or fine. Neighbouring classes differ in the figure, so few classes already need shapes, and
 * with more than five the same figure comes back with other stripes.
 * Colours are drawn for each image from one pool for all classes, with a slight lean towards a hue of the
 * class: some classes are closer in colour than others, but mean colour alone does far worse than a network
 * (tests/unit/reader/tools/test_synth.c holds a nearest-mean classifier against it). Place, size, a tilt of up to
 * 12 degrees, phase, contrast and noise are drawn for each image. Classes beyond 30 repeat these with
 * another hue.
 *
 * The figure's size is relative to the short side, so images of 32 pixels work as those of 256 do. Pixels
 * depend on the seed only; the bytes of the JPEG files depend on the version of libjpeg too. */
#include "reader/tools/synth.h"

#include <math.h>

#include "ipc/base/rng.h"

#define FIGURES 5
#define DIRECTIONS 3 /* across, along, slanted */
#define PI 3.14159265358979323846

struct rgb {
    double r, g, b;
};

struct blob {
    double x, y, inverse_radius2, strength;
};

/* One image's draw. Lengths are fractions of the short side. */
struct scene {
    uint32_t figure;
    double x, y, radius, tilt_cos, tilt_sin;
    double stripe_x, stripe_y, phase, contrast, noise;
    struct rgb figure_colour, stripe_colour, ground_colour;
    double gradient_x, gradient_y;
    struct blob blobs[3];
};

/* Hue, saturation, value, each 0 .. 1, to RGB 0 .. 1. */
static struct rgb from_hsv(double hue, double saturation, double value)
{
    double channel[3];

    for (int i = 0; i < 3; i++) {
        double k = fmod((double)(5 - 2 * i) + 6.0 * hue, 6.0);
        double ramp = fmin(fmin(k, 4.0 - k), 1.0);

        channel[i] = value * (1.0 - saturation * fmax(0.0, ramp));
    }
    return (struct rgb){channel[0], channel[1], channel[2]};
}

/* Half of the images take the hue of their class, roughly; the others any. */
static double draw_hue(struct im_rng *rng, uint32_t class, uint32_t class_count)
{
    double any = im_rng_unit(rng), own = (double)class / class_count + 0.12 * im_rng_normal(rng);

    return im_rng_unit(rng) < 0.5 ? any : own - floor(own);
}

struct range {
    double low, high;
};

static double draw_from(struct im_rng *rng, struct range r)
{
    return im_rng_uniform(rng, r.low, r.high);
}

/* `hue` NULL: any. A statement for each draw: the order in which a compiler evaluates arguments is its own,
 * and images must not depend on it. */
static struct rgb draw_colour(struct im_rng *rng, const double *hue, struct range saturations,
                              struct range values)
{
    double value = draw_from(rng, values);
    double saturation = draw_from(rng, saturations);

    return from_hsv(hue ? *hue : im_rng_unit(rng), saturation, value);
}

static struct blob draw_blob(struct im_rng *rng, double aspect_x, double aspect_y)
{
    double radius = im_rng_uniform(rng, 0.1, 0.3);
    struct blob blob = {.inverse_radius2 = 1.0 / (radius * radius)};

    blob.x = im_rng_uniform(rng, 0.0, aspect_x);
    blob.y = im_rng_uniform(rng, 0.0, aspect_y);
    blob.strength = im_rng_uniform(rng, -0.25, 0.25);
    return blob;
}

static void draw_scene(struct im_rng *rng, uint32_t class, uint32_t class_count, double aspect_x,
                       double aspect_y, struct scene *scene)
{
    uint32_t stripes = class / FIGURES;
    double tilt = im_rng_uniform(rng, -12.0, 12.0) * PI / 180.0;
    double slant = im_rng_unit(rng) < 0.5 ? PI / 4 : -PI / 4;
    double direction = (stripes % DIRECTIONS == 2 ? slant : (stripes % DIRECTIONS) * PI / 2) +
                       im_rng_uniform(rng, -0.12, 0.12);
    double period =
        stripes / DIRECTIONS % 2 ? im_rng_uniform(rng, 0.08, 0.10) : im_rng_uniform(rng, 0.15, 0.19);
    double hue = draw_hue(rng, class, class_count);

    scene->figure = class % FIGURES;
    scene->radius = im_rng_uniform(rng, 0.24, 0.38);
    scene->x = im_rng_uniform(rng, 0.8 * scene->radius, aspect_x - 0.8 * scene->radius);
    scene->y = im_rng_uniform(rng, 0.8 * scene->radius, aspect_y - 0.8 * scene->radius);
    scene->tilt_cos = cos(tilt);
    scene->tilt_sin = sin(tilt);
    scene->stripe_x = 2.0 * PI / period * cos(direction);
    scene->stripe_y = 2.0 * PI / period * sin(direction);
    scene->phase = im_rng_uniform(rng, 0.0, 2.0 * PI);
    scene->contrast = im_rng_uniform(rng, 0.5, 1.0);
    scene->noise = im_rng_uniform(rng, 0.02, 0.10);
    scene->figure_colour = draw_colour(rng, &hue, (struct range){0.4, 0.9}, (struct range){0.65, 1.0});
    scene->stripe_colour = draw_colour(rng, NULL, (struct range){0.2, 0.9}, (struct range){0.1, 0.35});
    scene->ground_colour = draw_colour(rng, NULL, (struct range){0.1, 0.6}, (struct range){0.25, 0.7});
    scene->gradient_x = im_rng_uniform(rng, -0.25, 0.25);
    scene->gradient_y = im_rng_uniform(rng, -0.25, 0.25);
    for (int i = 0; i < 3; i++)
        scene->blobs[i] = draw_blob(rng, aspect_x, aspect_y);
}

/* Distance outside the figure of radius 1 around (0, 0), negative inside; near the edge that is
 * all that matters. */
static double outside(uint32_t figure, double x, double y)
{
    double far = sqrt(x * x + y * y), ax = fabs(x), ay = fabs(y);

    switch (figure) {
    case 0:
        return far - 0.9;
    case 1:
        return fmax(ax, ay) - 0.8;
    case 2: /* a triangle that stands on its side */
        return fmax(y - 0.6, 0.866 * ax - 0.5 * y - 0.5);
    case 3:
        return fabs(far - 0.7) - 0.27;
    default:
        return fmax(fmin(ax, ay) - 0.3, fmax(ax, ay) - 0.95);
    }
}

static struct rgb blend(struct rgb a, struct rgb b, double share_of_b)
{
    return (struct rgb){a.r + share_of_b * (b.r - a.r), a.g + share_of_b * (b.g - a.g),
                        a.b + share_of_b * (b.b - a.b)};
}

static struct rgb ground_at(const struct scene *scene, double x, double y)
{
    double light = scene->gradient_x * (x - 0.5) + scene->gradient_y * (y - 0.5);
    struct rgb colour = scene->ground_colour;

    for (int i = 0; i < 3; i++) {
        const struct blob *blob = &scene->blobs[i];
        double dx = x - blob->x, dy = y - blob->y, near = 1.0 - (dx * dx + dy * dy) * blob->inverse_radius2;

        light += near > 0 ? blob->strength * near * near : 0;
    }
    return (struct rgb){colour.r + light, colour.g + light, colour.b + light};
}

static struct rgb colour_at(const struct scene *scene, double x, double y, double pixel)
{
    double dx = x - scene->x, dy = y - scene->y;
    double fx = (dx * scene->tilt_cos + dy * scene->tilt_sin) / scene->radius;
    double fy = (dy * scene->tilt_cos - dx * scene->tilt_sin) / scene->radius;
    double edge = 0.5 - outside(scene->figure, fx, fy) * scene->radius / pixel; /* one pixel wide */
    double stripe = 0.5 + 0.5 * sin(scene->stripe_x * dx + scene->stripe_y * dy + scene->phase);
    struct rgb ground = ground_at(scene, x, y);

    if (edge <= 0)
        return ground;
    return blend(ground, blend(scene->figure_colour, scene->stripe_colour, scene->contrast * stripe),
                 fmin(edge, 1.0));
}

static uint8_t to_byte(double value)
{
    return (uint8_t)(fmin(fmax(value, 0.0), 1.0) * 255.0 + 0.5);
}

/* Noise of nearly normal shape from one draw: the sum of its four bytes. Standard deviation 1. */
static double noise(struct im_rng *rng)
{
    uint32_t bits = im_rng_u32(rng);
    double sum = (bits & 255) + (bits >> 8 & 255) + (bits >> 16 & 255) + (bits >> 24);

    return (sum - 510.0) / 147.8;
}

void rd_synth_draw(const struct rd_synth *synth, uint32_t class, uint32_t i, uint8_t *rgb,
                   uint32_t *ret_width, uint32_t *ret_height)
{
    struct im_rng rng = im_rng_at(synth->seed, IM_RNG_SYNTH, 0, (uint64_t) class << 32 | i);
    uint32_t span = synth->size_max - synth->size_min + 1;
    uint32_t width = synth->size_min + (uint32_t)im_rng_below(&rng, span);
    uint32_t height = synth->size_min + (uint32_t)im_rng_below(&rng, span);
    double pixel = 1.0 / (width < height ? width : height);
    struct scene scene;

    draw_scene(&rng, class, synth->class_count, width * pixel, height * pixel, &scene);
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            struct rgb colour = colour_at(&scene, (x + 0.5) * pixel, (y + 0.5) * pixel, pixel);
            double grain = scene.noise * noise(&rng);

            *rgb++ = to_byte(colour.r + grain);
            *rgb++ = to_byte(colour.g + grain);
            *rgb++ = to_byte(colour.b + grain);
        }
    }
    *ret_width = width;
    *ret_height = height;
}
