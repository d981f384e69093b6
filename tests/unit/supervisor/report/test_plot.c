/* Charts: what was asked for is on them, and nothing makes one fail. */
#include <errno.h>
#include <limits.h>
#include <math.h>

#include <cairo.h>

#include "supervisor/report/plot.h"
#include "tests/unit/ipc/base/unit.h"

struct picture {
    cairo_surface_t *surface;
    const unsigned char *pixels;
    int width, height, stride;
};

static struct picture draw(const char *folder, const struct sv_plot *plot)
{
    struct picture p;
    struct im_text text = {""};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/p.png", folder);
    if (sv_plot_png(plot, path, &text) < 0)
        fail_msg("%s", text.s);
    p.surface = cairo_image_surface_create_from_png(path);
    assert_int_equal(cairo_surface_status(p.surface), CAIRO_STATUS_SUCCESS);
    p.pixels = cairo_image_surface_get_data(p.surface);
    p.width = cairo_image_surface_get_width(p.surface);
    p.height = cairo_image_surface_get_height(p.surface);
    p.stride = cairo_image_surface_get_stride(p.surface);
    return p;
}

/* Pixels near to a colour among the columns from x0 to x1. */
static int count_colour(const struct picture *p, int x0, int x1, const int rgb[3])
{
    int count = 0;

    for (int y = 60; y < p->height - 66; y++)
        for (int x = x0; x < x1; x++) {
            const unsigned char *bgr = p->pixels + y * p->stride + 4 * x;

            count += abs(bgr[2] - rgb[0]) < 12 && abs(bgr[1] - rgb[1]) < 12 && abs(bgr[0] - rgb[2]) < 12;
        }
    return count;
}

static const int blue[3] = {31, 120, 181}, red[3] = {214, 38, 41};

static void lines_and_marks_are_where_they_belong(void **state)
{
    const double x[] = {1, 2, 3, 4}, y[] = {1, 1, 1, 1}, later[] = {3, 4}, high[] = {2, 2};
    const struct sv_plot_line lines[] = {{"a", x, y, 4, SV_PLOT_BLUE, .dots = true},
                                         {"b", later, high, 2, SV_PLOT_RED, .faint = false}};
    const struct sv_plot plot = {.title = "t", .x_label = "x", .y_label = "y", .line = lines, .lines = 2};
    struct picture p = draw(*state, &plot);

    assert_true(p.width == 900 && p.height == 560);
    assert_true(count_colour(&p, 95, 480, blue) > 300);
    assert_int_equal(count_colour(&p, 95, 480, red), 0); /* it begins at x = 3 */
    assert_true(count_colour(&p, 600, 860, red) > 200);
    cairo_surface_destroy(p.surface);
}

static void a_logarithmic_axis_spreads_decades_evenly(void **state)
{
    const double x[] = {1e-6, 1e-5, 1e-4}, y[] = {1, 1, 1};
    const struct sv_plot_line line = {NULL, x, y, 2, SV_PLOT_BLUE, .faint = false};
    const struct sv_plot_mark mark = {"m", 1e-4, SV_PLOT_RED};
    const struct sv_plot_line all[] = {line, {NULL, x + 2, y, 1, SV_PLOT_GREEN, .dots = true}};
    const struct sv_plot plot = {.title = "t",
                                 .x_label = "x",
                                 .y_label = "y",
                                 .line = all,
                                 .lines = 2,
                                 .mark = &mark,
                                 .marks = 1,
                                 .log_x = true};
    struct picture p = draw(*state, &plot);

    assert_true(count_colour(&p, 130, 460, blue) > 200);
    assert_int_equal(count_colour(&p, 500, 830, blue), 0); /* the second decade is the right half */
    assert_true(count_colour(&p, 800, 868, red) > 100);
    cairo_surface_destroy(p.surface);
}

static void gaps_and_nothing_at_all_are_drawn_too(void **state)
{
    const double x[] = {1, 2, 3}, y[] = {NAN, INFINITY, NAN}, zero[] = {0};
    const struct sv_plot_line lines[] = {{"a", x, y, 3, SV_PLOT_BLUE, .dots = true},
                                         {"b", zero, x, 1, SV_PLOT_RED, .dots = true}};
    struct sv_plot plot = {
        .title = "t", .x_label = "x", .y_label = "y", .line = lines, .lines = 2, .log_x = true};
    struct picture p = draw(*state, &plot);

    assert_int_equal(count_colour(&p, 95, 860, blue), 0);
    cairo_surface_destroy(p.surface);
    plot.lines = 0;
    p = draw(*state, &plot);
    cairo_surface_destroy(p.surface);
}

static void a_folder_that_is_not_there_is_an_error(void **state)
{
    const struct sv_plot plot = {.title = "t", .x_label = "x", .y_label = "y"};
    struct im_text text = {""};
    char path[PATH_MAX];

    snprintf(path, sizeof path, "%s/none/p.png", (const char *)*state);
    assert_int_equal(sv_plot_png(&plot, path, &text), -ENOTDIR);
    assert_true(text.s[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_and_marks_are_where_they_belong, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_logarithmic_axis_spreads_decades_evenly, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(gaps_and_nothing_at_all_are_drawn_too, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_an_error, make_directory,
                                        remove_directory),
    };

    return cmocka_run_group_tests_name("plot", tests, NULL, NULL);
}
