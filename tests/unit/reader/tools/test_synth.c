/* Synthetic images: the same for the same seed, JPEG files that index as they should, and classes that colour
 * alone does not give away. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/file.h"
#include "reader/dataset/data.h"
#include "reader/tools/jpeg_write.h"
#include "reader/tools/synth.h"
#include "tests/unit/reader/tree.h"

#define SIDE_MAX 96
#define CLASSES 10

static struct rd_synth recipe(uint64_t seed)
{
    return (struct rd_synth){.class_count = CLASSES,
                             .per_class = 60,
                             .val_per_class = 40,
                             .seed = seed,
                             .size_min = 48,
                             .size_max = SIDE_MAX,
                             .quality = 90};
}

static void an_image_follows_from_seed_class_and_number(void **state)
{
    static uint8_t a[SIDE_MAX * SIDE_MAX * 3], b[SIDE_MAX * SIDE_MAX * 3];
    struct rd_synth one = recipe(1), two = recipe(2);
    uint32_t width, height, other_width, other_height;

    (void)state;
    rd_synth_draw(&one, 3, 7, a, &width, &height);
    assert_true(width >= 48 && width <= SIDE_MAX && height >= 48 && height <= SIDE_MAX);
    rd_synth_draw(&one, 3, 7, b, &other_width, &other_height);
    assert_int_equal(width, other_width);
    assert_int_equal(height, other_height);
    assert_memory_equal(a, b, width * height * 3);
    rd_synth_draw(&two, 3, 7, b, &other_width, &other_height);
    assert_true(memcmp(a, b, 48 * 48 * 3) != 0);
    rd_synth_draw(&one, 3, 8, b, &other_width, &other_height);
    assert_true(memcmp(a, b, 48 * 48 * 3) != 0);
    rd_synth_draw(&one, 4, 7, b, &other_width, &other_height);
    assert_true(memcmp(a, b, 48 * 48 * 3) != 0);
}

static void mean_colour(const struct rd_synth *synth, uint32_t class, uint32_t i, double *ret_mean)
{
    static uint8_t rgb[SIDE_MAX * SIDE_MAX * 3];
    uint32_t width, height;

    rd_synth_draw(synth, class, i, rgb, &width, &height);
    for (int c = 0; c < 3; c++)
        ret_mean[c] = 0;
    for (uint32_t k = 0; k < width * height * 3; k++)
        ret_mean[k % 3] += rgb[k] / (double)(width * height);
}

/* A classifier by the mean colour of each class; chance is one in ten. */
static void colour_alone_does_not_tell_classes(void **state)
{
    struct rd_synth synth = recipe(5);
    double centres[CLASSES][3] = {{0}}, mean[3];
    unsigned right = 0, tried = 0;

    (void)state;
    for (uint32_t class = 0; class < CLASSES; class ++) {
        for (uint32_t i = 0; i < synth.per_class; i++) {
            mean_colour(&synth, class, i, mean);
            for (int c = 0; c < 3; c++)
                centres[class][c] += mean[c] / synth.per_class;
        }
    }
    for (uint32_t class = 0; class < CLASSES; class ++) {
        for (uint32_t i = 0; i < synth.val_per_class; i++, tried++) {
            double best = INFINITY;
            uint32_t guess = 0;

            mean_colour(&synth, class, synth.per_class + i, mean);
            for (uint32_t k = 0; k < CLASSES; k++) {
                double distance = 0;

                for (int c = 0; c < 3; c++)
                    distance += (mean[c] - centres[k][c]) * (mean[c] - centres[k][c]);
                if (distance < best) {
                    best = distance;
                    guess = k;
                }
            }
            right += guess == class;
        }
    }
    if (right * 100 > tried * 30)
        fail_msg("mean colour is right in %u of %u", right, tried);
}

/* What does tell them: upright stripes (classes 0 to 4) change from left to right, level ones (5 to 9) from
 * top to bottom. */
static void stripes_tell_what_colour_does_not(void **state)
{
    static uint8_t rgb[SIDE_MAX * SIDE_MAX * 3];
    struct rd_synth synth = recipe(6);
    unsigned right = 0, tried = 0;

    (void)state;
    for (uint32_t class = 0; class < CLASSES; class ++) {
        for (uint32_t i = 0; i < synth.val_per_class; i++, tried++) {
            double across = 0, down = 0;
            uint32_t width, height;

            rd_synth_draw(&synth, class, i, rgb, &width, &height);
            for (uint32_t y = 2; y < height; y++) {
                for (uint32_t x = 2; x < width; x++) {
                    const uint8_t *p = rgb + (y * width + x) * 3 + 1;

                    across += (p[0] - p[-6]) * (p[0] - p[-6]);
                    down += (p[0] - p[-6 * (int)width]) * (p[0] - p[-6 * (int)width]);
                }
            }
            right += (across > down) == (class < 5);
        }
    }
    if (right * 100 < tried * 90)
        fail_msg("the direction of stripes is right in %u of %u only", right, tried);
}

static char *read_image(const struct tree *tree, const char *set, const char *path, size_t *ret_n)
{
    char whole[128], *bytes;

    snprintf(whole, sizeof whole, "%s/%s", set, path);
    assert_int_equal(im_read_file(tree_path(tree, whole), 1 << 20, &bytes, ret_n, NULL), 0);
    return bytes;
}

static void files_are_jpeg_the_same_each_time_and_index_well(void **state)
{
    struct rd_synth synth = recipe(9);
    struct im_text text = {""};
    char folder[PATH_MAX + 32], *a, *b;
    struct rd_data data;
    struct tree tree;
    size_t n, other_n;

    (void)state;
    tree_init(&tree);
    synth.folder = folder;
    synth.per_class = 6;
    synth.val_per_class = 2;
    for (int i = 0; i < 2; i++) {
        snprintf(folder, sizeof folder, "%s/deep/set%d", tree.root, i);
        if (rd_synth_write(&synth, NULL, NULL, &text) < 0)
            fail_msg("%s", text.s);
    }
    assert_int_equal(rd_data_open(&(struct rd_source){.folder = folder}, NULL, &data, &text), 0);
    assert_int_equal(rd_index_count(&data.index, IM_TRAIN), 60);
    assert_int_equal(rd_index_count(&data.index, IM_VAL), 20);
    for (uint64_t id = 0; id < 20; id++) {
        char path[64];

        assert_true(rd_index_relative(&data.index, IM_VAL, id, path, sizeof path) > 0);
        a = read_image(&tree, "deep/set0", path, &n);
        b = read_image(&tree, "deep/set1", path, &other_n);
        assert_int_equal(n, other_n);
        assert_memory_equal(a, b, n);
        assert_memory_equal(a, "\xff\xd8\xff", 3);
        assert_memory_equal(a + n - 2, "\xff\xd9", 2);
        free(a);
        free(b);
    }
    rd_data_close(&data);
    assert_int_equal(rd_synth_write(&synth, NULL, NULL, &text), -EEXIST);
    assert_non_null(strstr(text.s, "is not empty"));
    tree_fini(&tree);
}

static void numbers_out_of_range_are_refused(void **state)
{
    struct rd_synth synth = recipe(1);
    struct im_text text = {""};
    uint8_t pixel[3] = {0}, *bytes;
    size_t n;

    (void)state;
    synth.folder = "/nonexistent/folder";
    synth.class_count = 1;
    assert_int_equal(rd_synth_write(&synth, NULL, NULL, &text), -EINVAL);
    synth.class_count = 2;
    synth.size_min = SIDE_MAX + 1;
    assert_int_equal(rd_synth_write(&synth, NULL, NULL, &text), -EINVAL);
    assert_non_null(strstr(text.s, "--side-min"));
    assert_int_equal(rd_jpeg_encode(pixel, 0, 1, 90, &bytes, &n, &text), -EINVAL);
    assert_int_equal(rd_jpeg_encode(pixel, 70000, 1, 90, &bytes, &n, &text), -EINVAL);
    assert_non_null(strstr(text.s, "cannot encode an image of 70000 x 1: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_follows_from_seed_class_and_number),
        cmocka_unit_test(colour_alone_does_not_tell_classes),
        cmocka_unit_test(stripes_tell_what_colour_does_not),
        cmocka_unit_test(files_are_jpeg_the_same_each_time_and_index_well),
        cmocka_unit_test(numbers_out_of_range_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
