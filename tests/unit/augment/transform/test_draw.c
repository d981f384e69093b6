/* What is drawn for a sample: each random parameter's range, distribution and probability. Seeds are
 * fixed, so these tests cannot fail by chance; bounds are about 4.5 standard errors, so that they do fail
 * on another distribution. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "augment/transform/transform.h"
#include "ipc/base/rng.h"

enum { DRAWS = 40000, SIZE = 224, BINS = 10 };

static struct au_draw draw_of(const struct au_transforms *t, uint64_t sample)
{
    struct im_rng rng = im_rng_at(11, IM_RNG_AUGMENT, 0, sample);
    struct au_draw draw;

    au_draw_make(t, &rng, SIZE, &draw);
    return draw;
}

static uint32_t count_kind(const struct au_draw *draw, enum au_step_kind kind)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < draw->count; i++)
        n += draw->steps[i].kind == kind;
    return n;
}

/* n events of probability p happened `seen` times: within 4.5 standard deviations? */
static void assert_share(uint32_t seen, double n, double p)
{
    double deviation = sqrt(n * p * (1 - p));

    if (fabs(seen - n * p) > 4.5 * deviation + 1e-9)
        fail_msg("%u of %g; expected %g, give or take %g", (unsigned)seen, n, n * p, deviation);
}

/* Values meant to be uniform in [low, high), gathered in bins. */
struct uniform {
    double low, high;
    uint32_t bins[BINS], n;
};

static void gather(struct uniform *u, double value)
{
    int bin = (int)(BINS * (value - u->low) / (u->high - u->low));

    if (!(value >= u->low - 1e-9 && value <= u->high + 1e-9))
        fail_msg("%g lies outside of %g to %g", value, u->low, u->high);
    u->bins[bin < 0 ? 0 : bin >= BINS ? BINS - 1 : bin]++;
    u->n++;
}

static void assert_uniform(const struct uniform *u)
{
    assert_true(u->n > 1000);
    for (int i = 0; i < BINS; i++)
        assert_share(u->bins[i], u->n, 1.0 / BINS);
}

static void nothing_asked_for_is_nothing_drawn(void **state)
{
    const struct au_transforms none = {0};
    struct im_rng rng = im_rng_at(1, IM_RNG_AUGMENT, 0, 0), before = rng;
    struct au_draw draw;

    (void)state;
    au_draw_make(&none, &rng, SIZE, &draw);
    assert_int_equal(draw.count, 0);
    assert_memory_equal(&rng, &before, sizeof rng);
}

static void a_draw_is_a_function_of_the_stream(void **state)
{
    const struct au_transforms t = {
        .policy = {.policy = AU_POLICY_TRIVIAL, .probability = 1, .bins = 31},
        .jitter = {.probability = 1, .hue = 0.5},
        .erase = {1, 0.02, 0.33, 0.3, 3.3, {.is_random = true}},
    };
    struct au_draw a, b, other;

    (void)state;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    a.count = draw_of(&t, 5).count;
    for (uint64_t sample = 0; sample < 100; sample++) {
        a = draw_of(&t, sample);
        b = draw_of(&t, sample);
        other = draw_of(&t, sample + 1);
        assert_int_equal(a.count, b.count);
        assert_int_equal(a.steps[a.count - 1].rectangle.noise, b.steps[b.count - 1].rectangle.noise);
        assert_int_not_equal(a.steps[a.count - 1].rectangle.noise,
                             other.steps[other.count - 1].rectangle.noise);
    }
}

/* From the inverse of the map: scale s, angle, and the shift that is left of the centre. */
static void shift_scale_rotate_is_uniform_within_its_limits(void **state)
{
    const struct au_transforms t = {
        .affine = {0.5, 0.0625, 0.1, 45, IMK_BORDER_REFLECT_101, IMK_BILINEAR, {0}}};
    struct uniform angle = {.low = -45, .high = 45}, scale = {.low = 0.9, .high = 1.1},
                   dx = {.low = -0.0625, .high = 0.0625}, dy = dx;
    uint32_t seen = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);
        const double *m = draw.steps[0].affine.m, c = SIZE / 2.0 - 0.5;
        double s, x, y, tx, ty;

        if (draw.count == 0)
            continue;
        seen++;
        s = 1 / hypot(m[0], m[3]);
        /* The source of the centre, turned and scaled forward, is minus the shift. */
        x = m[0] * c + m[1] * c + m[2] - c;
        y = m[3] * c + m[4] * c + m[5] - c;
        tx = -s * s * (m[0] * x + m[3] * y);
        ty = -s * s * (m[1] * x + m[4] * y);
        gather(&angle, -atan2(m[1], m[0]) * 180 / 3.14159265358979);
        gather(&scale, s);
        gather(&dx, tx / SIZE);
        gather(&dy, ty / SIZE);
    }
    assert_share(seen, DRAWS, 0.5);
    assert_uniform(&angle);
    assert_uniform(&scale);
    assert_uniform(&dx);
    assert_uniform(&dy);
}

static void jitter_factors_are_uniform_and_orders_equally_likely(void **state)
{
    const struct au_transforms t = {.jitter = {0.5, 0.2, 0.4, 1.5, 0.2}};
    struct uniform b = {.low = 0.8, .high = 1.2}, c = {.low = 0.6, .high = 1.4}, s = {.low = 0, .high = 2.5};
    uint32_t seen = 0, first[4] = {0}, pairs[4][4] = {{0}}, hue_sign = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);
        const struct imk_jitter *j = &draw.steps[0].jitter;
        int hue = (signed char)j->hue_shift;

        if (draw.count == 0)
            continue;
        seen++;
        assert_int_equal(j->count, 4);
        gather(&b, j->brightness);
        gather(&c, j->contrast);
        gather(&s, j->saturation);
        assert_in_range(hue + 51, 0, 102); /* 0.2 of 255 is 51 */
        hue_sign += hue > 0;
        first[j->order[0]]++;
        pairs[j->order[1]][j->order[3]]++;
    }
    assert_share(seen, DRAWS, 0.5);
    assert_uniform(&b);
    assert_uniform(&c);
    assert_uniform(&s);
    assert_share(hue_sign, seen, 50 / 102.0); /* truncated towards 0, which takes two of 102 shares */
    for (int i = 0; i < 4; i++) {
        assert_share(first[i], seen, 0.25);
        for (int k = 0; k < 4; k++)
            assert_share(pairs[i][k], seen, i == k ? 0 : 1.0 / 12);
    }
}

static void jitter_leaves_out_what_has_no_range(void **state)
{
    const struct au_transforms t = {.jitter = {.probability = 1, .contrast = 0.3}},
                               off = {.jitter = {.probability = 1}};
    struct au_draw draw = draw_of(&t, 0);

    (void)state;
    assert_int_equal(draw.steps[0].jitter.count, 1);
    assert_int_equal(draw.steps[0].jitter.order[0], IMK_JITTER_CONTRAST);
    assert_int_equal(draw_of(&off, 0).count, 0);
}

static void holes_lie_within_the_image_and_cover_their_ranges(void **state)
{
    const struct au_transforms t = {.dropout = {0.5, 2, 5, 8, 16, 3, 3, {false, {0}}}};
    uint32_t seen = 0, counts[6] = {0}, heights[17] = {0}, holes = 0;
    struct uniform y = {.low = 0, .high = 1}, x = y;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);

        if (draw.count == 0)
            continue;
        seen++;
        assert_in_range(draw.count, 2, 5);
        counts[draw.count]++;
        for (uint32_t k = 0; k < draw.count; k++) {
            const struct imk_box *box = &draw.steps[k].rectangle.box;

            assert_in_range(box->h, 8, 16);
            assert_int_equal(box->w, 3);
            assert_true(box->y + box->h <= SIZE && box->x + box->w <= SIZE);
            heights[box->h]++;
            holes++;
            gather(&y, (box->y + 0.5) / (SIZE - box->h + 1));
            gather(&x, (box->x + 0.5) / (SIZE - box->w + 1));
        }
    }
    assert_share(seen, DRAWS, 0.5);
    for (int n = 2; n <= 5; n++)
        assert_share(counts[n], seen, 0.25);
    for (int h = 8; h <= 16; h++)
        assert_share(heights[h], holes, 1.0 / 9);
    assert_true(x.n == holes && y.n == holes);
}

static void hole_sizes_below_one_are_shares_rounded_down(void **state)
{
    const struct au_transforms t = {.dropout = {1, 1, 1, 0.1, 0.2, 0.5, 0.5, {false, {0}}}};
    struct uniform height = {.low = 22, .high = 45};

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);

        assert_int_equal(draw.count, 1);
        assert_int_equal(draw.steps[0].rectangle.box.w, SIZE / 2);
        gather(&height, draw.steps[0].rectangle.box.h);
    }
}

static void cutout_is_clipped_at_the_borders(void **state)
{
    const struct au_transforms t = {.cutout = 17}; /* 8 either way of the centre */
    uint32_t whole = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);
        const struct imk_box *box = &draw.steps[0].rectangle.box;

        assert_int_equal(draw.count, 1);
        assert_in_range(box->w, 8, 16);
        assert_in_range(box->h, 8, 16);
        assert_true(box->w == 16 || box->x == 0 || box->x + box->w == SIZE);
        whole += box->w == 16 && box->h == 16;
    }
    assert_share(whole, DRAWS, (209.0 / 224) * (209.0 / 224)); /* centres 8 .. 216 */
}

static void erasing_keeps_area_and_ratio(void **state)
{
    const struct au_transforms t = {.erase = {0.25, 0.02, 0.33, 0.3, 3.3, {false, {0}}}};
    struct uniform area = {.low = 0.0185, .high = 0.3345}, ratio = {.low = log(0.29), .high = log(3.4)};
    uint32_t seen = 0, small = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);
        const struct imk_box *box = &draw.steps[0].rectangle.box;

        if (draw.count == 0)
            continue;
        seen++;
        assert_true(box->w < SIZE && box->h < SIZE);
        assert_true(box->x + box->w <= SIZE && box->y + box->h <= SIZE);
        gather(&area, (double)box->w * box->h / (SIZE * SIZE));
        gather(&ratio, log((double)box->h / box->w));
        small += (double)box->w * box->h / (SIZE * SIZE) < 0.175;
    }
    /* Large and narrow boxes are rejected and drawn anew: at 0.33 and 3.3 the longer side is 1.04 of the
     * image's. That is 0.4 % of all boxes. */
    assert_share(seen, DRAWS, 0.25);
    assert_true(fabs((double)small / seen - 0.502) < 0.025);
}

static void trivial_augment_takes_each_operation_equally_often(void **state)
{
    const struct au_transforms t = {.policy = {.policy = AU_POLICY_TRIVIAL, .probability = 1, .bins = 31}};
    uint32_t kinds[AU_STEP_KINDS] = {0}, identity = 0, brighter = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);

        assert_true(draw.count <= 1);
        identity += draw.count == 0;
        if (draw.count == 1) {
            kinds[draw.steps[0].kind]++;
            brighter += draw.steps[0].kind == AU_STEP_BRIGHTNESS && draw.steps[0].factor > 1;
        }
    }
    assert_share(identity, DRAWS, 1.0 / 14);
    assert_share(kinds[AU_STEP_AFFINE_PILLOW], DRAWS, 5.0 / 14);
    for (int kind = AU_STEP_BRIGHTNESS; kind <= AU_STEP_EQUALIZE; kind++)
        assert_share(kinds[kind], DRAWS, kind == AU_STEP_INVERT ? 0 : 1.0 / 14);
    assert_share(brighter, kinds[AU_STEP_BRIGHTNESS], 15.0 / 31); /* not in bin 0 */
}

static void trivial_augment_takes_each_strength_equally_often(void **state)
{
    const struct au_transforms t = {.policy = {.policy = AU_POLICY_TRIVIAL, .probability = 1, .bins = 31}};
    uint32_t bins[31] = {0}, n = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);

        if (count_kind(&draw, AU_STEP_SOLARIZE) == 0)
            continue;
        bins[lrint((255 - draw.steps[0].threshold) / 8.5)]++;
        n++;
    }
    for (int i = 0; i < 31; i++)
        assert_share(bins[i], n, 1.0 / 31);
}

static void randaugment_does_num_ops_at_one_strength(void **state)
{
    const struct au_transforms t = {
        .policy = {.policy = AU_POLICY_RAND, .probability = 1, .num_ops = 2, .magnitude = 9, .bins = 31}};
    uint32_t none = 0, positive = 0, signs = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        struct au_draw draw = draw_of(&t, i);

        assert_true(draw.count <= 2);
        none += draw.count == 0;
        for (uint32_t k = 0; k < draw.count; k++) {
            if (draw.steps[k].kind == AU_STEP_POSTERIZE)
                assert_int_equal(draw.steps[k].bits, 7); /* 8 - round(9 / 7.5) */
            if (draw.steps[k].kind == AU_STEP_SHARPNESS) {
                assert_true(fabs(fabs(draw.steps[k].factor - 1) - 0.27) < 1e-6);
                positive += draw.steps[k].factor > 1;
                signs++;
            }
        }
    }
    assert_share(none, DRAWS, 1.0 / 196);
    assert_share(positive, signs, 0.5);
}

/* Sums over the table: each pair 1/25, each half its probability, each sign a half. */
static void autoaugment_takes_pairs_equally_and_halves_by_their_chance(void **state)
{
    const enum au_policy policies[] = {AU_POLICY_IMAGENET, AU_POLICY_CIFAR10};

    (void)state;
    for (int p = 0; p < 2; p++) {
        const struct au_transforms t = {.policy = {.policy = policies[p], .probability = 1}};
        double expected[AU_STEP_KINDS] = {0};
        uint32_t seen[AU_STEP_KINDS] = {0};

        for (uint32_t i = 0; i < 2 * AU_PAIRS; i++) {
            const struct au_policy_entry *e = au_policy_entry(policies[p], i / 2, i % 2);
            struct au_draw one = {0};

            au_policy_add(&one, &t.policy, e->op, 1, SIZE);
            expected[one.steps[0].kind] += e->probability / AU_PAIRS;
        }
        for (uint64_t i = 0; i < DRAWS; i++) {
            struct au_draw draw = draw_of(&t, i);

            for (int kind = 0; kind < AU_STEP_KINDS; kind++)
                seen[kind] += count_kind(&draw, (enum au_step_kind)kind);
        }
        /* A kind may come twice in a draw, so its count varies a little more than a binomial one. */
        for (int kind = 0; kind < AU_STEP_KINDS; kind++)
            assert_true(fabs(seen[kind] - DRAWS * expected[kind]) <=
                        4.5 * sqrt(2 * DRAWS * expected[kind]) + 1e-9);
    }
}

static void a_policy_happens_with_its_probability(void **state)
{
    const struct au_transforms t = {
        .policy = {.policy = AU_POLICY_RAND, .probability = 0.3, .num_ops = 16, .magnitude = 9, .bins = 31}};
    uint32_t seen = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++)
        seen += draw_of(&t, i).count > 0;
    assert_share(seen, DRAWS, 0.3);
}

static void the_largest_draw_fits(void **state)
{
    const struct au_transforms t = {
        .policy = {.policy = AU_POLICY_RAND, .probability = 1, .num_ops = AU_POLICY_OPS_MAX, .bins = 31},
        .affine = {1, 0.1, 0.1, 45, IMK_BORDER_REFLECT_101, IMK_BILINEAR, {0}},
        .jitter = {1, 1, 1, 1, 0.5},
        .dropout = {1, AU_HOLES_MAX, AU_HOLES_MAX, 8, 8, 8, 8, {true, {0}}},
        .cutout = 50,
        .erase = {1, 0.02, 0.33, 0.3, 3.3, {true, {0}}},
    };
    uint32_t most = 0;

    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        uint32_t count = draw_of(&t, i).count;

        most = count > most ? count : most;
    }
    assert_int_equal(most, AU_STEPS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_asked_for_is_nothing_drawn),
        cmocka_unit_test(a_draw_is_a_function_of_the_stream),
        cmocka_unit_test(shift_scale_rotate_is_uniform_within_its_limits),
        cmocka_unit_test(jitter_factors_are_uniform_and_orders_equally_likely),
        cmocka_unit_test(jitter_leaves_out_what_has_no_range),
        cmocka_unit_test(holes_lie_within_the_image_and_cover_their_ranges),
        cmocka_unit_test(hole_sizes_below_one_are_shares_rounded_down),
        cmocka_unit_test(cutout_is_clipped_at_the_borders),
        cmocka_unit_test(erasing_keeps_area_and_ratio),
        cmocka_unit_test(trivial_augment_takes_each_operation_equally_often),
        cmocka_unit_test(trivial_augment_takes_each_strength_equally_often),
        cmocka_unit_test(randaugment_does_num_ops_at_one_strength),
        cmocka_unit_test(autoaugment_takes_pairs_equally_and_halves_by_their_chance),
        cmocka_unit_test(a_policy_happens_with_its_probability),
        cmocka_unit_test(the_largest_draw_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
