/* Axes, and the curves of runs. */
#include <errno.h>
#include <limits.h>
#include <math.h>

#include "supervisor/report/axes.h"
#include "supervisor/report/chart.h"
#include "tests/unit/ipc/base/unit.h"

static void find(const double *y, size_t n, bool log_y, struct sv_axes *ret)
{
    static double x[1000];
    static struct sv_plot_line line;
    static struct sv_plot plot;

    for (size_t i = 0; i < n; i++)
        x[i] = (double)i + 1;
    line = (struct sv_plot_line){.x = x, .y = y, .count = n};
    plot = (struct sv_plot){.line = &line, .lines = 1, .clip_y = true, .log_y = log_y};
    sv_axes_find(&plot, ret);
}

static void one_large_value_does_not_flatten_the_others(void **state)
{
    const double first[] = {12.97, 2.28, 2.1, 2.0}, late[] = {2.5, 2.2, 2.0, 1e6, 1.9, 1.8, 1.7};
    const double same[] = {2, 2, 2, 2, 900};
    struct sv_axes a;

    (void)state;
    find(first, 4, false, &a);
    assert_true(a.y1 > 2.28 && a.y1 < 3);
    find(late, 7, false, &a);
    assert_true(a.y1 > 2.5 && a.y1 < 3);
    find(same, 5, false, &a);
    assert_true(a.y1 > 2 && a.y1 < 3);
}

static void a_loss_that_falls_is_shown_whole(void **state)
{
    double y[90];
    const double two[] = {2.3, 13};
    struct sv_axes a;

    (void)state;
    for (int i = 0; i < 90; i++)
        y[i] = 1 + 6 * exp(-i / 15.0);
    find(y, 90, false, &a);
    assert_true(a.y1 > 7);
    find(two, 2, false, &a); /* which of them is unusual? */
    assert_true(a.y1 > 13);
    y[10] = 1e5;
    find(y, 90, true, &a); /* a logarithmic axis has room */
    assert_true(a.y1 > 5 && a.y0 < 0.1);
}

static void ticks_are_round_and_few(void **state)
{
    const double y[] = {0.13, 0.87}, decades[] = {1e-6, 1e-2}, within[] = {2, 3};
    struct sv_tick tick[SV_TICKS_MAX];
    struct sv_axes a;
    size_t n;

    (void)state;
    find(y, 2, false, &a);
    n = sv_axes_ticks(&a, false, 6, tick);
    assert_true(n >= 3 && n <= 9);
    assert_string_equal(tick[0].word, "0.2");
    find(decades, 2, true, &a);
    n = sv_axes_ticks(&a, false, 6, tick);
    assert_int_equal(n, 5);
    assert_string_equal(tick[0].word, "1e-06");
    find(within, 2, true, &a);
    assert_true(sv_axes_ticks(&a, false, 6, tick) >= 2);
}

static void put(const char *folder, const char *name, const char *content)
{
    char path[PATH_MAX];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", folder, name);
    f = fopen(path, "we");
    assert_non_null(f);
    fputs(content, f);
    fclose(f);
}

#define TABLE "epoch,train_loss,val_loss,train_top1\n1,2.5,2.25,0.25\n2,1.5,,0.5\n"
#define STEPS                                                                                                \
    "{\"event\":\"config\",\"lr\":\"0.1\"}\n"                                                                \
    "{\"step\":20,\"loss\":3,\"lr\":0.1,\"top1\":0.1,\"grad_norm\":5}\n"                                     \
    "{\"step\":40,\"loss\":2,\"lr\":0.05,\"top1\":0.2,\"grad_norm\":4}\n"                                    \
    "not JSON\n"                                                                                             \
    "{\"event\":\"epoch\",\"step\":50,\"epoch\":1,\"lr\":0.01}\n"                                            \
    "{\"step\":60,\"loss\":1,\"lr\":0.0"

static void load(const char *folder, struct sv_chart_run *run)
{
    struct im_text text = {""};

    put(folder, "summary.csv", TABLE);
    put(folder, "metrics.jsonl", STEPS);
    if (sv_chart_run_load(run, folder, &text) < 0)
        fail_msg("%s", text.s);
}

static void the_rate_is_drawn_by_step(void **state)
{
    struct sv_chart_run run;
    struct sv_chart c;
    struct im_text text = {""};

    load(*state, &run);
    assert_int_equal(sv_chart_make(&c, &run, 1, "lr", &(struct sv_chart_style){0}, &text), 0);
    assert_int_equal(c.plot.lines, 1);
    assert_int_equal(c.line[0].count, 3);
    assert_true(c.line[0].x[2] == 50 && c.line[0].y[2] == 0.01);
    assert_string_equal(c.plot.x_label, "step");
    assert_non_null(strstr(c.plot.title, run.name));
    sv_chart_free(&c);
    assert_int_equal(sv_chart_make(&c, &run, 1, "step_loss", &(struct sv_chart_style){0}, &text), 0);
    assert_int_equal(c.line[0].count, 2); /* not of the epoch's line, and without a gap for it */
    sv_chart_free(&c);
    sv_chart_run_free(&run);
}

static void runs_have_colours_and_curves_have_strokes(void **state)
{
    struct sv_chart_run runs[2];
    struct sv_chart c;
    struct im_text text = {""};

    load(*state, &runs[0]);
    load(*state, &runs[1]);
    assert_int_equal(sv_chart_make(&c, runs, 2, "loss", &(struct sv_chart_style){0}, &text), 0);
    assert_int_equal(c.plot.lines, 4);
    assert_true(c.line[0].colour == c.line[1].colour && c.line[0].colour != c.line[2].colour);
    assert_true(c.line[0].dashed && !c.line[1].dashed);
    assert_true(c.line[0].label && strstr(c.line[0].label, "train"));
    sv_chart_free(&c);
    /* Smoothed as TensorBoard does: the first value stays, the second is drawn towards it. */
    assert_int_equal(sv_chart_make(&c, runs, 1, "loss", &(struct sv_chart_style){.smooth = 0.5}, &text), 0);
    assert_true(c.line[0].faint && !c.line[0].label && c.line[1].label);
    assert_true(c.line[1].y[0] == 2.5 && fabs(c.line[1].y[1] - (0.25 * 2.5 + 0.5 * 1.5) / 0.75) < 1e-12);
    sv_chart_free(&c);
    assert_int_equal(sv_chart_make(&c, runs, 2, "train_top1", &(struct sv_chart_style){0}, &text), 0);
    sv_chart_free(&c);
    assert_int_equal(sv_chart_make(&c, runs, 2, "acuracy", &(struct sv_chart_style){0}, &text), -EINVAL);
    assert_non_null(strstr(text.s, "did you mean accuracy?"));
    sv_chart_run_free(&runs[0]);
    sv_chart_run_free(&runs[1]);
}

static void a_chart_is_an_svg_element(void **state)
{
    struct sv_chart_run run;
    struct sv_chart c;
    struct im_text text = {""};
    char *svg = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&svg, &n);

    load(*state, &run);
    assert_int_equal(sv_chart_make(&c, &run, 1, "loss", &(struct sv_chart_style){0}, &text), 0);
    sv_plot_svg(&c.plot, f);
    fclose(f);
    assert_true(strncmp(svg, "<svg ", 5) == 0 && strcmp(svg + n - 7, "</svg>\n") == 0);
    assert_non_null(strstr(svg, "class=\"line c0\""));
    assert_non_null(strstr(svg, "class=\"line c1\""));
    assert_null(strstr(svg, "nan"));
    free(svg);
    sv_chart_free(&c);
    sv_chart_run_free(&run);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_large_value_does_not_flatten_the_others),
        cmocka_unit_test(a_loss_that_falls_is_shown_whole),
        cmocka_unit_test(ticks_are_round_and_few),
        IN_FOLDER(the_rate_is_drawn_by_step),
        IN_FOLDER(runs_have_colours_and_curves_have_strokes),
        IN_FOLDER(a_chart_is_an_svg_element),
    };

    return cmocka_run_group_tests_name("chart", tests, NULL, NULL);
}
