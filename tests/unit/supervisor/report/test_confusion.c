/* Confusion matrices: cells are where they belong, names of few and of many classes are drawn, and the picture keeps its
 * bounds. */
#include <errno.h>
#include <limits.h>

#include <cairo.h>

#include "supervisor/report/confusion.h"
#include "tests/unit/ipc/base/unit.h"

/* Read by LeakSanitizer where there is one: as in plot.c, which is not in this program. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libfontconfig\n";
}

struct picture {
    cairo_surface_t *surface;
    const unsigned char *pixels;
    int width, height, stride;
};

/* Classes that are mostly right, each a little taken for the next one. */
static struct picture draw(const char *folder, uint32_t classes)
{
    uint32_t *count = calloc((size_t)classes * classes, sizeof *count);
    char(*names)[48] = calloc(classes, sizeof *names), path[PATH_MAX];
    const char **name = calloc(classes, sizeof *name);
    struct im_text text = {""};
    struct picture p;

    assert_true(count && names && name);
    for (uint32_t i = 0; i < classes; i++) {
        snprintf(names[i], sizeof names[i], "n%08u some kind of bird \xc3\xa9", i * 37);
        name[i] = names[i];
        count[(size_t)i * classes + i] = 40;
        count[(size_t)i * classes + (i + 1) % classes] += 10;
    }
    snprintf(path, sizeof path, "%s/p.png", folder);
    if (sv_confusion_png(
            &(struct sv_confusion){.title = "t", .class_name = name, .classes = classes, .count = count},
            path, &text) < 0)
        fail_msg("%s", text.s);
    free(count);
    free(names);
    free(name);
    p.surface = cairo_image_surface_create_from_png(path);
    assert_int_equal(cairo_surface_status(p.surface), CAIRO_STATUS_SUCCESS);
    p.pixels = cairo_image_surface_get_data(p.surface);
    p.width = cairo_image_surface_get_width(p.surface);
    p.height = cairo_image_surface_get_height(p.surface);
    p.stride = cairo_image_surface_get_stride(p.surface);
    return p;
}

static void count_pixels(const struct picture *p, int *blue, int *red, int *dark)
{
    *blue = *red = *dark = 0;
    for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++) {
            const unsigned char *bgr = p->pixels + y * p->stride + 4 * x;

            *blue += bgr[0] > bgr[2] + 60;
            *red += bgr[2] > bgr[0] + 60;
            *dark += bgr[0] < 100 && bgr[1] < 100 && bgr[2] < 100;
        }
}

/* Cells have at least this side, and the blue and red ones together the area of the diagonal and its neighbour. */
static void check(const char *folder, uint32_t classes, int side, int side_max)
{
    struct picture p = draw(folder, classes);
    const int area = (int)classes * side * side;
    int blue, red, dark;

    count_pixels(&p, &blue, &red, &dark);
    if (!(blue > area / 2 && red > area / 3 && dark > 2000 && p.width < side_max && p.height < side_max))
        fail_msg("%u classes: %d blue, %d red, %d dark pixels of %d x %d", classes, blue, red, dark, p.width,
                 p.height);
    cairo_surface_destroy(p.surface);
}

static void of_ten_classes(void **state)
{
    check(*state, 10, 60, 1600);
}

static void of_a_hundred_classes(void **state)
{
    check(*state, 100, 15, 2400);
}

static void of_a_thousand_classes(void **state)
{
    check(*state, 1000, 2, 2900);
}

/* More than there are pixels for. */
static void of_more_classes_than_pixels(void **state)
{
    struct picture p = draw(*state, 2500);

    assert_true(p.width < 2900 && p.height < 2900);
    cairo_surface_destroy(p.surface);
}

static void of_one_class(void **state)
{
    struct picture p = draw(*state, 1);

    cairo_surface_destroy(p.surface);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(of_ten_classes, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(of_a_hundred_classes, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(of_a_thousand_classes, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(of_more_classes_than_pixels, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(of_one_class, make_directory, remove_directory),
    };

    return cmocka_run_group_tests_name("confusion", tests, NULL, NULL);
}
