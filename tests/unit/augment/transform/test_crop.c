/* The crop policy against torchvision's definitions: exact values where they are exact, moments where they
 * are random. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "augment/transform/crop.h"
#include "ipc/base/count.h"
#include "ipc/base/rng.h"

static struct au_job train_job(uint64_t sample)
{
    return (struct au_job){
        .split = IM_TRAIN, .seed = 5, .sample = sample, .size = 224, .crop = AU_CROP_DEFAULT};
}

static struct au_job eval_job(uint32_t resize, uint32_t size)
{
    struct au_job job = {.split = IM_VAL, .size = size, .crop = AU_CROP_DEFAULT};

    job.crop.eval_resize = resize;
    return job;
}

static void same_job_draws_the_same_plan(void **state)
{
    struct au_job job = train_job(42);
    struct au_crop a = au_crop_make(&job, 500, 375), b = au_crop_make(&job, 500, 375);

    (void)state;
    assert_memory_equal(&a.box, &b.box, sizeof a.box);
    assert_int_equal(a.flip, b.flip);
}

static void seed_epoch_and_sample_each_change_the_box(void **state)
{
    struct au_job job = train_job(42), other;
    struct imk_box box = au_crop_make(&job, 5000, 3750).box, changed;

    (void)state;
    other = job;
    other.seed++;
    changed = au_crop_make(&other, 5000, 3750).box;
    assert_memory_not_equal(&box, &changed, sizeof box);
    other = job;
    other.epoch++;
    changed = au_crop_make(&other, 5000, 3750).box;
    assert_memory_not_equal(&box, &changed, sizeof box);
    other = job;
    other.sample++;
    changed = au_crop_make(&other, 5000, 3750).box;
    assert_memory_not_equal(&box, &changed, sizeof box);
}

static void boxes_lie_within_the_image_and_keep_scale_and_ratio(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t width = 50 + (uint32_t)(i * 37 % 600), height = 50 + (uint32_t)(i * 91 % 600);
        struct au_job job = train_job(i);
        struct imk_box box = au_crop_make(&job, width, height).box;

        assert_true(box.w >= 1 && box.h >= 1);
        assert_true(box.x + box.w <= width && box.y + box.h <= height);
        /* Half a pixel of rounding on each side. */
        assert_true((box.w + 0.5) * (box.h + 0.5) >= 0.08 * width * height || width > 4 * height / 3 ||
                    height > 4 * width / 3);
        assert_true((box.w + 0.5) / (box.h - 0.5) >= 3.0 / 4.0 && (box.w - 0.5) / (box.h + 0.5) <= 4.0 / 3.0);
    }
}

/* torchvision's loop, from other random numbers and written down once more: its moments are what
 * ours must have. */
static struct imk_box torchvision_box(struct im_rng *rng, int width, int height)
{
    double area = (double)width * height;

    for (int i = 0; i < 10; i++) {
        double target = area * (0.08 + 0.92 * im_rng_unit(rng));
        double aspect = exp(log(3.0 / 4.0) + (log(4.0 / 3.0) - log(3.0 / 4.0)) * im_rng_unit(rng));
        long w = lrint(sqrt(target * aspect)), h = lrint(sqrt(target / aspect));

        if (0 < w && w <= width && 0 < h && h <= height) {
            uint32_t y = (uint32_t)(im_rng_unit(rng) * (double)(height - h + 1));
            uint32_t x = (uint32_t)(im_rng_unit(rng) * (double)(width - w + 1));

            return (struct imk_box){x, y, (uint32_t)w, (uint32_t)h};
        }
    }
    return (struct imk_box){0, 0, 0, 0};
}

enum { MOMENT_AREA, MOMENT_RATIO, MOMENT_X, MOMENT_Y, MOMENT_BOTTOM, MOMENTS };

static void add_moments(const struct imk_box *box, double width, double height, double sum[MOMENTS],
                        double square[MOMENTS])
{
    double value[MOMENTS] = {
        [MOMENT_AREA] = box->w * (double)box->h / (width * height),
        [MOMENT_RATIO] = log((double)box->w / box->h),
        [MOMENT_X] = box->x / width,
        [MOMENT_Y] = box->y / height,
        [MOMENT_BOTTOM] = (box->y + box->h) / height,
    };

    for (int m = 0; m < MOMENTS; m++) {
        sum[m] += value[m];
        square[m] += value[m] * value[m];
    }
}

/* Means and mean squares within 4.5 standard errors of the difference: once in 30,000 draws of this test by
 * chance, and the draws are fixed. */
static void assert_same_distribution(uint32_t width, uint32_t height)
{
    const uint64_t n = 100000;
    double ours[MOMENTS] = {0}, ours_2[MOMENTS] = {0}, theirs[MOMENTS] = {0}, theirs_2[MOMENTS] = {0};
    struct im_rng rng = im_rng_at(99, IM_RNG_TEST, 0, width);
    uint64_t accepted = 0;

    for (uint64_t i = 0; i < n; i++) {
        struct au_job job = train_job(i);
        struct imk_box box = au_crop_make(&job, width, height).box;

        add_moments(&box, width, height, ours, ours_2);
        do {
            box = torchvision_box(&rng, (int)width, (int)height);
        } while (box.w == 0);
        add_moments(&box, width, height, theirs, theirs_2);
        accepted++;
    }
    for (int m = 0; m < MOMENTS; m++) {
        double a = ours[m] / (double)n, b = theirs[m] / (double)accepted;
        double variance = (ours_2[m] / (double)n - a * a) + (theirs_2[m] / (double)n - b * b);
        double spread_a = ours_2[m] / (double)n - a * a, spread_b = theirs_2[m] / (double)n - b * b;

        if (fabs(a - b) > 4.5 * sqrt(variance / (double)n))
            fail_msg("moment %d of %ux%u: %g and not %g", m, width, height, a, b);
        if (fabs(spread_a - spread_b) > 0.03 * spread_b)
            fail_msg("variance %d of %ux%u: %g and not %g", m, width, height, spread_a, spread_b);
    }
}

static void random_boxes_are_distributed_as_torchvisions(void **state)
{
    (void)state;
    assert_same_distribution(500, 375);
    assert_same_distribution(333, 500);
    assert_same_distribution(1200, 1200);
}

static void half_of_the_samples_are_flipped(void **state)
{
    int flipped = 0;

    (void)state;
    for (uint64_t i = 0; i < 100000; i++) {
        struct au_job job = train_job(i);

        flipped += au_crop_make(&job, 500, 375).flip;
    }
    assert_in_range(flipped, 50000 - 700, 50000 + 700); /* 4.4 sigma */
}

/* Half of the samples at first, by the coin that a random flip would have; then each in every second epoch. */
static void alternate_flips_show_both_sides_in_two_epochs(void **state)
{
    int first = 0;

    (void)state;
    for (uint64_t i = 0; i < 10000; i++) {
        struct au_job job = {.split = IM_TRAIN, .seed = 3, .sample = i, .size = 224, .crop = AU_CROP_DEFAULT};
        const struct au_crop random = au_crop_make(&job, 500, 375);
        bool before;

        job.crop.flip_alternates = true;
        before = au_crop_make(&job, 500, 375).flip;
        assert_int_equal(before, random.flip);
        first += before;
        for (job.epoch = 1; job.epoch < 5; job.epoch++) {
            const struct au_crop plan = au_crop_make(&job, 500, 375);
            struct au_job other = job;
            struct imk_box box;

            other.crop.flip_alternates = false;
            box = au_crop_make(&other, 500, 375).box; /* what is drawn after the flip stays what it was */
            assert_int_equal(plan.flip, before != (job.epoch % 2 == 1));
            assert_memory_equal(&plan.box, &box, sizeof box);
        }
    }
    assert_in_range(first, 5000 - 220, 5000 + 220); /* 4.4 sigma */
}

static void flip_probability_0_and_1_are_certain(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        struct au_job job = train_job(i);

        job.crop.flip_probability = 0.0;
        assert_false(au_crop_make(&job, 500, 375).flip);
        job.crop.flip_probability = 1.0;
        assert_true(au_crop_make(&job, 500, 375).flip);
    }
}

/* Ten boxes of a ratio near 1 never fit a very flat image. */
static void flat_image_falls_back_to_the_centre(void **state)
{
    struct au_job job = train_job(1);
    struct imk_box wide = {465, 0, 71, 53}, tall = {0, 465, 53, 71}, thin = {4999, 0, 1, 1};
    struct imk_box box;

    (void)state;
    job.crop.scale_min = 0.9;
    box = au_crop_make(&job, 1001, 53).box; /* w = round(53 * 4 / 3) = 71 */
    assert_memory_equal(&box, &wide, sizeof box);
    box = au_crop_make(&job, 53, 1001).box; /* h = round(53 / (3 / 4)) = 71 */
    assert_memory_equal(&box, &tall, sizeof box);
    box = au_crop_make(&job, 10000, 1).box;
    assert_memory_equal(&box, &thin, sizeof box);
}

static void padded_crop_reaches_each_place_equally_often(void **state)
{
    int count_x[9] = {0}, count_y[9] = {0};

    (void)state;
    for (uint64_t i = 0; i < 90000; i++) {
        struct au_job job = train_job(i);

        job.size = 32;
        job.crop.train_crop = AU_CROP_PADDED;
        struct au_crop plan = au_crop_make(&job, 32, 32);
        assert_in_range(plan.x + 4, 0, 8);
        assert_in_range(plan.y + 4, 0, 8);
        assert_int_equal(plan.resized_w, 32);
        count_x[plan.x + 4]++;
        count_y[plan.y + 4]++;
    }
    for (int i = 0; i < 9; i++) {
        assert_in_range(count_x[i], 10000 - 450, 10000 + 450); /* 4.7 sigma */
        assert_in_range(count_y[i], 10000 - 450, 10000 + 450);
    }
}

static void padded_crop_of_a_small_image_pads_what_is_missing(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        struct au_job job = train_job(i);

        job.size = 32;
        job.crop.train_crop = AU_CROP_PADDED;
        struct au_crop plan = au_crop_make(&job, 10, 32);
        /* 10 + 2 * 4 = 18 is 14 short: 18 zeros on each side, 46 wide, so 15 places from -18 to -4. */
        assert_in_range(plan.x + 18, 0, 14);
    }
}

/* padding.txt: the places that each padded axis shows, from torchvision. */
static void padding_is_torchvisions(void **state)
{
    FILE *file = fopen(GOLDEN_DIR "/padding.txt", "r");
    unsigned side, padding, size, place, lines = 0, mirrored = 0;
    char name[16];

    (void)state;
    assert_non_null(file);
    while (fscanf(file, "%15s %u %u %u", name, &side, &padding, &size) == 4) {
        const unsigned padded = side + 2 * padding, missing = padded < size ? size - padded : 0;
        struct im_conf conf;

        im_conf_defaults(&conf);
        assert_int_equal(im_conf_set(&conf, "pad-mode", name, NULL), 0);
        for (unsigned i = 0; i < padded + 2 * missing; i++) {
            const int64_t at = (int64_t)i - padding - missing;

            assert_int_equal(fscanf(file, "%u", &place), 1);
            if (au_pad_source((enum im_conf_pad_mode)conf.pad_mode, at, side, padding) != place)
                fail_msg("%s %u %u %u: %u is there, not %u", name, side, padding, size,
                         au_pad_source((enum im_conf_pad_mode)conf.pad_mode, at, side, padding), place);
            mirrored += at < 0 && place > 0;
        }
        lines++;
    }
    assert_int_equal(lines, 27);
    assert_true(mirrored > 50);
    fclose(file);
}

struct eval_case {
    uint32_t width, height, resize, size, resized_w, resized_h;
    int32_t x, y;
};

/* Values from torchvision's Resize and CenterCrop. */
static void evaluation_rounds_as_torchvision(void **state)
{
    static const struct eval_case cases[] = {
        {500, 375, 256, 224, 341, 256, 58, 16}, /* (341 - 224) / 2 = 58.5, to even */
        {375, 500, 256, 224, 256, 341, 16, 58},
        {256, 256, 256, 224, 256, 256, 16, 16},
        {333, 500, 256, 224, 256, 384, 16, 80},
        {500, 333, 232, 224, 348, 232, 62, 4},
        {227, 225, 225, 224, 227, 225, 2, 0}, /* 1.5 and 0.5, both to even */
        {32, 32, 32, 32, 32, 32, 0, 0},
        {100, 50, 20, 31, 40, 20, 4, -5}, /* 4.5 to even; 11 zeros, 5 before */
        {1, 1000, 256, 224, 256, 256000, 16, 127888},
    };

    (void)state;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        const struct eval_case *c = &cases[i];
        struct au_job job = eval_job(c->resize, c->size);
        struct au_crop plan = au_crop_make(&job, c->width, c->height);

        assert_int_equal(plan.resized_w, c->resized_w);
        assert_int_equal(plan.resized_h, c->resized_h);
        assert_int_equal(plan.x, c->x);
        assert_int_equal(plan.y, c->y);
        assert_false(plan.flip);
        assert_int_equal(plan.box.w, c->width);
        assert_int_equal(plan.box.h, c->height);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_job_draws_the_same_plan),
        cmocka_unit_test(seed_epoch_and_sample_each_change_the_box),
        cmocka_unit_test(boxes_lie_within_the_image_and_keep_scale_and_ratio),
        cmocka_unit_test(random_boxes_are_distributed_as_torchvisions),
        cmocka_unit_test(half_of_the_samples_are_flipped),
        cmocka_unit_test(alternate_flips_show_both_sides_in_two_epochs),
        cmocka_unit_test(flip_probability_0_and_1_are_certain),
        cmocka_unit_test(flat_image_falls_back_to_the_centre),
        cmocka_unit_test(padded_crop_reaches_each_place_equally_often),
        cmocka_unit_test(padded_crop_of_a_small_image_pads_what_is_missing),
        cmocka_unit_test(padding_is_torchvisions),
        cmocka_unit_test(evaluation_rounds_as_torchvision),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
