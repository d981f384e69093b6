/* The learning-rate range test against torch-lr-finder's and fastai's definitions:
 * tests/golden/lr_range.txt. */
#include <errno.h>
#include <math.h>

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
static size_t smooth(const char *numbers, size_t steps, struct im_lr_range_smooth *s, double *finder,
                     double *fastai)
{
    size_t count = 0;

    for (bool over = false; !over && count < steps;) {
        char *end;
        double loss = strtod(numbers, &end);

        assert_ptr_not_equal(end, numbers);
        numbers = end;
        over = im_lr_range_add(s, loss);
        finder[count] = s->finder;
        fastai[count++] = s->fastai;
    }
    return count;
}

static void check_case(const struct golden *g, const char *losses, const char *last)
{
    struct im_lr_range_smooth s = {0};
    double finder[POINTS_MAX], fastai[POINTS_MAX], want[2];
    struct im_lr_range_suggestion got;
    struct im_text text = {""};

    assert_int_equal(smooth(losses, g->steps, &s, finder, fastai), g->taken);
    assert_int_equal(sscanf(last, "smooth %lf %lf", &want[0], &want[1]), 2);
    assert_near(s.finder, want[0]);
    assert_near(s.fastai, want[1]);
    if (im_lr_range_suggest(finder, fastai, g->taken, g->steps, &got, &text) < 0)
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
    assert_int_equal(cases, 7);
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

static void too_few_points_suggest_nothing(void **state)
{
    double loss[IM_LR_RANGE_POINTS_MIN] = {0};
    struct im_lr_range_suggestion got;
    struct im_text text = {""};

    (void)state;
    assert_int_equal(im_lr_range_suggest(loss, loss, IM_LR_RANGE_POINTS_MIN - 1, 100, &got, &text), -EINVAL);
    assert_non_null(strstr(text.s, "diverged after 19 of 100 steps"));
    assert_int_equal(im_lr_range_suggest(loss, loss, IM_LR_RANGE_POINTS_MIN, 200, &got, &text), -EINVAL);
    assert_int_equal(im_lr_range_suggest(loss, loss, IM_LR_RANGE_POINTS_MIN, 100, &got, &text), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(suggestions_are_those_of_the_originals),
        cmocka_unit_test(a_loss_that_is_not_finite_ends_the_test),
        cmocka_unit_test(too_few_points_suggest_nothing),
    };

    return cmocka_run_group_tests_name("lr_range", tests, NULL, NULL);
}
