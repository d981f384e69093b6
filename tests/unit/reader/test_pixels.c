/* Which files need not be read: those whose pixels are kept, and that are still what they were. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "reader/pixels.h"

struct place {
    char folder[64];
    int root;
    struct im_conf conf;
    struct im_run run;
    struct im_child child;
    struct rd_pixels pixels;
};

static void write_file(const struct place *p, const char *bytes)
{
    const int fd = openat(p->root, "x.jpg", O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
    close(fd);
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct im_pixel_shape shape;

    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/imsuper-pixels-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    p->root = open(p->folder, O_RDONLY | O_DIRECTORY);
    im_conf_defaults(&p->conf);
    snprintf(p->conf.pixel_cache, sizeof p->conf.pixel_cache, "ram");
    p->run.control = calloc(1, sizeof *p->run.control);
    assert_non_null(p->run.control);
    p->run.geometry.samples[IM_TRAIN] = 3;
    p->child = (struct im_child){.conf = &p->conf, .run = &p->run};
    shape = im_pixel_shape_of(&p->conf, p->run.geometry.samples);
    p->child.pixels_fd = im_pixel_cells_memory(&shape, NULL);
    assert_true(p->child.pixels_fd >= 0);
    rd_pixels_open(&p->pixels, &p->child);
    assert_true(p->pixels.cells.fd >= 0);
    p->pixels.cells.limit = UINT64_MAX;
    write_file(p, "an image");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    unlinkat(p->root, "x.jpg", 0);
    close(p->root);
    rmdir(p->folder);
    close(p->child.pixels_fd);
    free(p->run.control);
    free(p);
    return 0;
}

static bool have(struct place *p, const char *path, uint64_t *ret_stamp)
{
    return rd_pixels_have(&p->pixels, IM_TRAIN, 1, p->root, path, &(struct rd_source_of){0}, ret_stamp);
}

static void keep(struct place *p, uint64_t stamp)
{
    static const unsigned char pixels[3 * 8 * 8];

    assert_int_equal(im_pixel_cells_put(&p->pixels.cells, IM_TRAIN, 1,
                                        &(struct im_pixel_cell){.name = {5, stamp}, .width = 8, .height = 8},
                                        pixels),
                     0);
}

static void a_file_whose_pixels_are_kept_need_not_be_read_until_it_changes(void **state)
{
    struct place *p = *state;
    uint64_t first, again, changed;

    p->pixels.settled = 0;
    assert_false(have(p, "x.jpg", &first));
    assert_true(first != 0);
    keep(p, first);
    assert_true(have(p, "x.jpg", &again));
    assert_int_equal(first, again);
    write_file(p, "an other image");
    assert_false(have(p, "x.jpg", &changed));
    assert_true(changed != 0 && changed != first);
    keep(p, changed);
    assert_true(have(p, "x.jpg", &again));
    assert_false(have(p, "not there", &again));
    assert_int_equal(again, 0);
}

/* Another file of the same size and time in its place. */
static void a_file_in_the_place_of_another_is_read(void **state)
{
    struct place *p = *state;
    struct stat st;
    uint64_t stamp;
    int fd;

    p->pixels.settled = 0;
    assert_false(have(p, "x.jpg", &stamp));
    keep(p, stamp);
    assert_int_equal(fstatat(p->root, "x.jpg", &st, 0), 0);
    fd = openat(p->root, "y", O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, "AN IMAGE", 8), 8);
    assert_int_equal(futimens(fd, (const struct timespec[2]){st.st_atim, st.st_mtim}), 0);
    close(fd);
    assert_int_equal(renameat(p->root, "y", p->root, "x.jpg"), 0);
    assert_false(have(p, "x.jpg", &stamp));
}

static void what_changed_a_moment_ago_is_read(void **state)
{
    struct place *p = *state;
    uint64_t stamp;

    p->pixels.settled = 1000;
    assert_false(have(p, "x.jpg", &stamp));
    assert_int_equal(stamp, 0);
    assert_false(have(p, ".", &stamp)); /* nor is a folder known */
    assert_int_equal(stamp, 0);
}

static void other_options_and_other_parts_of_a_file_have_other_stamps(void **state)
{
    struct place *p = *state;
    uint64_t stamp, other;

    p->pixels.settled = 0;
    have(p, "x.jpg", &stamp);
    rd_pixels_have(&p->pixels, IM_TRAIN, 1, p->root, "x.jpg",
                   &(struct rd_source_of){.container = 1, .offset = 2, .bytes = 3}, &other);
    assert_true(stamp != other);
    rd_pixels_have(&p->pixels, IM_TRAIN, 1, p->root, "x.jpg",
                   &(struct rd_source_of){.container = 1, .offset = 3, .bytes = 3}, &stamp);
    assert_true(stamp != other);
    have(p, "x.jpg", &stamp);
    p->conf.max_pixels--;
    rd_pixels_open(&p->pixels, &p->child);
    p->pixels.settled = 0;
    have(p, "x.jpg", &other);
    assert_true(other != 0 && stamp != other);
}

static void without_a_cache_all_is_read(void **state)
{
    struct place *p = *state;
    uint64_t stamp;

    snprintf(p->conf.pixel_cache, sizeof p->conf.pixel_cache, "off");
    rd_pixels_open(&p->pixels, &p->child);
    p->pixels.settled = 0;
    assert_false(have(p, "x.jpg", &stamp));
    assert_int_equal(stamp, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_whose_pixels_are_kept_need_not_be_read_until_it_changes,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_in_the_place_of_another_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_changed_a_moment_ago_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_options_and_other_parts_of_a_file_have_other_stamps, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_a_cache_all_is_read, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("pixels", tests, NULL, NULL);
}
