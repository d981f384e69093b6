/* The learning-rate range test against torch-lr-finder's and fastai's definitions:
 * tests/golden/lr_range.txt. */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/base/err.h"
#include "ipc/config/lr_range.h"
#include "tests/unit/ipc/base/unit.h"

enum { LINE_BYTES = 1 << 16, POINTS_MAX = 1000 };

struct golden {
    size_t steps, taken;
    struct im_lr_range_suggestion want;
    double first_lr, last_lr;
};

static void assert_near(double got, double want)
{
    if (fabs(got - want) > 1e-12 * fabs(want))
        fail_msg("%.17g, expected %.17g", got, want);
}

/* The smoothed losses of a line of numbers; returns how many until the test was over. */
static size_t smooth(const char *numbers, size_t steps, struct im_lr_range_smooth *s, double *raw,
                     double *finder, double *fastai)
{
    size_t count = 0;

    for (bool over = false; !over && count < steps;) {
        char *end;
        double loss = strtod(numbers, &end);

        assert_ptr_not_equal(end, numbers);
        numbers = end;
        over = im_lr_range_add(s, loss);
        raw[count] = loss;
        finder[count] = s->finder;
        fastai[count++] = s->fastai;
    }
    return count;
}

static void check_case(const struct golden *g, const char *losses, const char *last)
{
    struct im_lr_range_smooth s = {0};
    double raw[POINTS_MAX], finder[POINTS_MAX], fastai[POINTS_MAX], want[2];
    const struct im_lr_range_curve curve = {raw, finder, fastai, g->taken, g->steps};
    struct im_lr_range_suggestion got;
    struct im_text text = {""};

    assert_int_equal(smooth(losses, g->steps, &s, raw, finder, fastai), g->taken);
    assert_int_equal(sscanf(last, "smooth %lf %lf", &want[0], &want[1]), 2);
    assert_near(s.finder, want[0]);
    assert_near(s.fastai, want[1]);
    if (im_lr_range_suggest(&curve, &got, &text) < 0)
        fail_msg("%s", text.s);
    assert_int_equal(got.steepest, g->want.steepest);
    assert_int_equal(got.valley, g->want.valley);
    assert_int_equal(got.minimum, g->want.minimum);
    assert_near(im_lr_range_lr(1e-7, 10, 0, g->steps), g->first_lr);
    assert_near(im_lr_range_lr(1e-7, 10, g->taken - 1, g->steps), g->last_lr);
}

static void suggestions_are_those_of_the_originals(void **state)
{
    FILE *f = fopen(GOLDEN_DIR "/lr_range.txt", "re");
    char *line = malloc(LINE_BYTES), *losses = malloc(LINE_BYTES);
    int cases = 0;

    (void)state;
    assert_non_null(f);
    for (struct golden g; fgets(line, LINE_BYTES, f); cases++) {
        assert_int_equal(sscanf(line, "case %zu %zu %zu %zu %zu %lf %lf", &g.steps, &g.taken,
                                &g.want.steepest, &g.want.valley, &g.want.minimum, &g.first_lr, &g.last_lr),
                         7);
        assert_non_null(fgets(losses, LINE_BYTES, f));
        assert_non_null(fgets(line, LINE_BYTES, f));
        check_case(&g, losses + strlen("loss"), line);
    }
    fclose(f);
    free(line);
    free(losses);
    assert_int_equal(cases, 6);
}

static void a_loss_that_is_not_finite_ends_the_test(void **state)
{
    struct im_lr_range_smooth s = {0};

    (void)state;
    assert_false(im_lr_range_add(&s, 2.5));
    assert_true(im_lr_range_add(&s, (double)NAN));
    assert_true(im_lr_range_add(&s, (double)INFINITY));
    assert_true(s.count == 1 && s.finder == 2.5 && fabs(s.fastai - 2.5) < 1e-12);
}

/* Suggests from losses as they came; -EINVAL: `text` says why not. */
static int suggest(const double *loss, size_t count, size_t steps, struct im_lr_range_suggestion *ret,
                   struct im_text *text)
{
    double finder[POINTS_MAX], fastai[POINTS_MAX];
    const struct im_lr_range_curve curve = {loss, finder, fastai, count, steps};
    struct im_lr_range_smooth s = {0};

    for (size_t i = 0; i < count; i++) {
        im_lr_range_add(&s, loss[i]);
        finder[i] = s.finder;
        fastai[i] = s.fastai;
    }
    return im_lr_range_suggest(&curve, ret, text);
}

static void too_few_points_suggest_nothing(void **state)
{
    double loss[IM_LR_RANGE_POINTS_MIN];
    struct im_lr_range_suggestion got;
    struct im_text text = {""};

    (void)state;
    for (size_t i = 0; i < IM_LR_RANGE_POINTS_MIN; i++)
        loss[i] = 2.3 - 0.1 * (double)i;
    assert_int_equal(suggest(loss, IM_LR_RANGE_POINTS_MIN - 1, 100, &got, &text), -EINVAL);
    assert_non_null(strstr(text.s, "diverged after 19 of 100 steps"));
    assert_int_equal(suggest(loss, IM_LR_RANGE_POINTS_MIN, 200, &got, &text), -EINVAL);
    assert_int_equal(suggest(loss, IM_LR_RANGE_POINTS_MIN, 100, &got, &text), 0);
}

/* One class; and noise around one level, as with rates that change nothing. */
static void losses_that_do_not_fall_suggest_nothing(void **state)
{
    double loss[POINTS_MAX];
    struct im_lr_range_suggestion got;
    struct im_text text = {""};
    uint32_t random = 1;

    (void)state;
    for (size_t i = 0; i < 100; i++)
        loss[i] = 0;
    assert_int_equal(suggest(loss, 100, 100, &got, &text), -EINVAL);
    assert_non_null(strstr(text.s, "the loss did not fall: no rate can be suggested"));
    for (size_t i = 0; i < POINTS_MAX; i++) {
        random = random * 1664525 + 1013904223;
        loss[i] = 2.3 + 0.2 * ((double)(random >> 8) / (1 << 24) - 0.5);
    }
    for (size_t count = 60; count <= POINTS_MAX; count *= 2)
        assert_int_equal(suggest(loss, count, count, &got, &text), -EINVAL);
    for (size_t i = 0; i < 100; i++)
        loss[i] = 2.3 + 0.01 * (double)i;
    assert_int_equal(suggest(loss, 100, 100, &got, &text), -EINVAL);
    assert_non_null(strstr(text.s, "the loss did not fall before it rose"));
}

/* resnet20, SGD, batches of 16 images, 1e-7 to 10 in 100 steps: nothing is learnt before the rates are too high, and
 * torch-lr-finder's steepest fall is that from a loss of 3.4 back to one of 2.2, at a rate of 0.89. */
static const double tail_only[] = {
    2.58, 2.34, 2.39, 2.53, 2.29, 2.44, 2.13, 2.42, 2.5,  2.43, 2.51, 2.54, 2.32, 2.41, 2.54, 2.68, 2.5,
    2.38, 2.39, 2.28, 2.7,  2.39, 2.7,  2.32, 2.26, 2.42, 2.28, 2.29, 2.56, 2.38, 2.49, 2.35, 2.67, 2.48,
    2.22, 2.62, 2.4,  2.44, 2.76, 2.48, 2.47, 2.63, 2.34, 2.09, 2.51, 2.45, 2.39, 2.33, 2.4,  2.38, 2.16,
    2.28, 2.42, 2.39, 2.36, 2.43, 2.35, 2.27, 2.25, 2.35, 2.32, 2.31, 2.48, 2.36, 2.42, 2.65, 2.67, 2.4,
    2.4,  2.56, 2.75, 2.53, 2.84, 2.92, 2.66, 2.27, 3.36, 3.51, 3.44, 3.02, 2.43, 2.85, 3.47, 2.67, 2.82,
    2.47, 2.26, 2.2,  3.27, 3.02, 2.62, 2.51, 2.26, 2.34, 2.54, 3.07, 3.24, 5.61, 4.15, 14};

/* resnet20, AdamW, batches of 32 images of CIFAR-10, the same rates: falls from step 40 on, rises from step 86 on. */
static const double falls_then_rises[] = {
    2.21, 2.44, 2.49, 2.55, 2.46, 2.15, 2.44, 2.41, 2.49, 2.47, 2.53, 2.53, 2.45, 2.44, 2.43, 2.45, 2.24,
    2.4,  2.47, 2.54, 2.51, 2.5,  2.59, 2.52, 2.52, 2.54, 2.34, 2.38, 2.42, 2.39, 2.53, 2.53, 2.39, 2.45,
    2.55, 2.4,  2.24, 2.42, 2.43, 2.51, 2.49, 2.23, 2.28, 2.48, 2.28, 2.18, 2.22, 2.29, 2.26, 2.42, 2.09,
    2.59, 2.18, 2.14, 2.24, 2.16, 2.19, 2.4,  2.22, 2.16, 2.32, 2.3,  2.02, 2.32, 2.22, 2.27, 2.13, 2.2,
    2.31, 2.76, 2.4,  2.44, 2.37, 2.47, 2.52, 2.69, 2.19, 2.75, 2.28, 2.85, 2.23, 2.22, 2.47, 2.44, 2.31,
    2.28, 2.19, 2.51, 2.82, 2.75, 2.89, 2.24, 2.72, 2.47, 2.6,  3.33, 3.59, 112,  315};

static void a_tail_is_not_offered(void **state)
{
    double again[150];
    struct im_lr_range_suggestion got, with_tail;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(suggest(tail_only, IM_COUNT(tail_only), 100, &got, &text), -EINVAL);
    assert_non_null(strstr(text.s, "did not fall before it rose"));
    if (suggest(falls_then_rises, 96, 100, &got, &text) <
        0) /* the last three are another order of magnitude */
        fail_msg("%s", text.s);
    assert_in_range(got.usable, 80, 90);
    assert_in_range(got.steepest, 40, got.usable - 1);
    assert_in_range(got.valley, 40, got.usable - 1);
    assert_true(got.steepest <= got.lowest && got.valley <= got.minimum && got.minimum < got.usable);
    /* What falls steeply after the rise changes nothing. */
    memcpy(again, falls_then_rises, 96 * sizeof *again);
    for (size_t i = 96; i < 110; i++)
        again[i] = i < 100 ? 6 : 0.5;
    assert_int_equal(suggest(again, 110, 100, &with_tail, &text), 0);
    assert_int_equal(with_tail.usable, got.usable);
    assert_int_equal(with_tail.valley, got.valley);
    assert_int_equal(with_tail.minimum, got.minimum);
    assert_int_equal(with_tail.lowest, got.lowest);
    assert_int_equal(with_tail.steepest, got.steepest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suggestions_are_those_of_the_originals),
        cmocka_unit_test(a_loss_that_is_not_finite_ends_the_test),
        cmocka_unit_test(too_few_points_suggest_nothing),
        cmocka_unit_test(losses_that_do_not_fall_suggest_nothing),
        cmocka_unit_test(a_tail_is_not_offered),
    };

    return cmocka_run_group_tests_name("lr_range", tests, NULL, NULL);
}
