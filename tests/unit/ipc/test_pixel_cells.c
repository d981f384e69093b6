/* Cells of decoded images: what was put is found, or nothing is, whatever happened to the file and to whoever wrote it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/clock.h"
#include "ipc/base/count.h"
#include "ipc/base/fault.h"
#include "ipc/base/hash.h"
#include "ipc/pixel_cells.h"

#define SIDE 40u
#define ROOM (3u * SIDE * SIDE * IM_PIXEL_SHAPE_MAX)
#define ANY_SIZE (UINT64_C(1) << 40)

static const struct im_pixel_shape shape = {.samples = {5, 3}, .side = {SIDE, 24}};

struct place {
    char folder[64], path[80];
    int fd;
    struct im_pixel_cells cells;
};

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);

    assert_non_null(p);
    snprintf(p->folder, sizeof p->folder, "/tmp/imsuper-pixels-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->path, sizeof p->path, "%s/x.pixels", p->folder);
    p->fd = im_pixel_cells_file(p->path, &shape, NULL);
    assert_true(p->fd >= 0);
    assert_int_equal(im_pixel_cells_take(p->fd, &shape, ANY_SIZE, false, &p->cells), 0);
    p->cells.may_wait = true;
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    close(p->fd);
    unlink(p->path);
    rmdir(p->folder);
    free(p);
    return 0;
}

static uint64_t key_of(uint64_t number)
{
    return number + 1;
}

static uint64_t stamp_of(uint64_t number)
{
    return number * 1000 + 1;
}

/* The image of a number: its size and pixels follow from it. */
static struct im_pixel_cell image_of(uint64_t number, unsigned char *pixels)
{
    struct im_pixel_cell cell = {.name = {key_of(number), stamp_of(number)},
                                 .width = 20 + (uint32_t)(number % 21),
                                 .height = 24 + (uint32_t)(number * 7 % 70),
                                 .memory = 1000 + number};

    for (size_t i = 0; i < (size_t)3 * cell.width * cell.height; i++)
        pixels[i] = (unsigned char)(im_hash64(&i, sizeof i, number) & 255);
    return cell;
}

static int put(struct im_pixel_cells *cells, enum im_split split, uint64_t sample, uint64_t number)
{
    unsigned char pixels[ROOM];
    const struct im_pixel_cell cell = image_of(number, pixels);

    return im_pixel_cells_put(cells, split, sample, &cell, pixels);
}

/* Are the rows there? What is there must be the image. */
static bool has_rows(struct im_pixel_cells *cells, enum im_split split, uint64_t sample, uint64_t number,
                     uint32_t first, uint32_t count)
{
    static unsigned char pixels[ROOM], found[ROOM];
    const struct im_pixel_cell cell = image_of(number, pixels);
    const size_t row = (size_t)3 * cell.width;
    struct im_pixel_cell got;

    if (im_pixel_cells_find(cells, split, sample, &(struct im_pixel_name){.key = key_of(number)}, &got) != 1)
        return false;
    assert_int_equal(got.width, cell.width);
    assert_int_equal(got.height, cell.height);
    assert_int_equal(got.memory, cell.memory);
    memset(found, 0x5a, sizeof found);
    if (im_pixel_cells_rows(cells, &got, first, count, found) != 1)
        return false;
    assert_memory_equal(found + first * row, pixels + first * row, count * row);
    return true;
}

static bool has(struct im_pixel_cells *cells, enum im_split split, uint64_t sample, uint64_t number)
{
    static unsigned char pixels[ROOM];

    return has_rows(cells, split, sample, number, 0, image_of(number, pixels).height);
}

static void what_is_put_is_found_by_its_key_alone(void **state)
{
    struct im_pixel_cells *cells = &((struct place *)*state)->cells;

    for (uint64_t n = 0; n < 5; n++)
        assert_false(has(cells, IM_TRAIN, n, 100 + n));
    for (uint64_t n = 0; n < 5; n++)
        assert_int_equal(put(cells, IM_TRAIN, n, 100 + n), 0);
    assert_int_equal(put(cells, IM_VAL, 2, 0), 0); /* the last of the file */
    for (uint64_t n = 0; n < 5; n++) {
        assert_true(has(cells, IM_TRAIN, n, 100 + n));
        assert_false(has(cells, IM_TRAIN, n, 101 + n));
    }
    assert_true(has(cells, IM_VAL, 2, 0));
    assert_false(has(cells, IM_VAL, 1, 0));
    assert_false(has(cells, IM_VAL, 3, 0)); /* there is no such sample */
    assert_int_equal(put(cells, IM_VAL, 3, 0), -EINVAL);
    assert_int_equal(put(cells, IM_TRAIN, 1, 7), 0); /* the file has changed */
    assert_true(has(cells, IM_TRAIN, 1, 7));
    assert_false(has(cells, IM_TRAIN, 1, 101));
    assert_true(has(cells, IM_TRAIN, 0, 100));
    assert_true(has(cells, IM_TRAIN, 2, 102));
}

static void any_rows_of_a_cell_can_be_had(void **state)
{
    struct im_pixel_cells *cells = &((struct place *)*state)->cells;
    unsigned char pixels[ROOM];
    const uint32_t height = image_of(9, pixels).height;

    assert_true(height > 2 * IM_PIXEL_BAND);
    assert_int_equal(put(cells, IM_TRAIN, 3, 9), 0);
    for (uint32_t first = 0; first < height; first++)
        for (uint32_t count = 1; first + count <= height; count += 5)
            assert_true(has_rows(cells, IM_TRAIN, 3, 9, first, count));
}

static bool has_stamp(struct im_pixel_cells *cells, uint64_t sample, uint64_t stamp)
{
    struct im_pixel_cell got;

    return im_pixel_cells_find(cells, IM_TRAIN, sample, &(struct im_pixel_name){.stamp = stamp}, &got) == 1;
}

static void a_file_is_known_by_its_stamp_until_it_gets_another(void **state)
{
    struct im_pixel_cells *cells = &((struct place *)*state)->cells;
    struct im_pixel_cell got;

    assert_int_equal(put(cells, IM_TRAIN, 1, 5), 0);
    assert_true(has_stamp(cells, 1, stamp_of(5)));
    assert_false(has_stamp(cells, 1, stamp_of(6)));
    assert_false(has_stamp(cells, 1, 0));
    assert_false(has_stamp(cells, 2, 0)); /* nor is a hole the cell of a file that is not known */
    assert_int_equal(im_pixel_cells_find(cells, IM_TRAIN, 1, &(struct im_pixel_name){.key = key_of(5)}, &got),
                     1);
    assert_int_equal(im_pixel_cells_restamp(cells, &got, 77), 0);
    assert_true(has_stamp(cells, 1, 77));
    assert_false(has_stamp(cells, 1, stamp_of(5)));
    assert_true(has(cells, IM_TRAIN, 1, 5));
    im_pixel_cells_drop(cells, IM_TRAIN, 1);
    assert_false(has(cells, IM_TRAIN, 1, 5));
    assert_false(has_stamp(cells, 1, 77));
}

static void sizes_without_a_cell_are_refused(void **state)
{
    struct im_pixel_cells *cells = &((struct place *)*state)->cells;
    static unsigned char pixels[1];
    const struct im_pixel_cell sizes[] = {
        {.name = {1, 1}, .width = 0, .height = 9},
        {.name = {1, 1}, .width = 9, .height = 0},
        {.name = {1, 1}, .width = SIDE, .height = SIDE * IM_PIXEL_SHAPE_MAX + 1},
        {.name = {1, 1}, .width = UINT32_MAX, .height = UINT32_MAX},
        {.name = {1, 1}, .width = 1, .height = IM_PIXEL_BAND * IM_PIXEL_BANDS_MAX + 1}};

    for (size_t i = 0; i < IM_COUNT(sizes); i++) {
        assert_false(im_pixel_fits(SIDE, sizes[i].width, sizes[i].height));
        assert_int_equal(im_pixel_cells_put(cells, IM_TRAIN, 0, &sizes[i], pixels), -EINVAL);
    }
    assert_true(im_pixel_fits(SIDE, SIDE, (uint64_t)SIDE * IM_PIXEL_SHAPE_MAX));
}

/* Every byte of a cell in turn. */
static void a_damaged_cell_is_none_or_whole(void **state)
{
    struct place *p = *state;
    unsigned char pixels[ROOM];
    const struct im_pixel_cell cell = image_of(4, pixels);
    struct stat st;
    size_t lost = 0;

    assert_int_equal(put(&p->cells, IM_TRAIN, 0, 4), 0);
    assert_int_equal(fstat(p->fd, &st), 0);
    for (off_t at = 4096; at < 4096 + 4096 + (off_t)3 * cell.width * cell.height; at += 13) {
        unsigned char byte, other;

        assert_int_equal(pread(p->fd, &byte, 1, at), 1);
        other = (unsigned char)(byte ^ 0x10);
        assert_int_equal(pwrite(p->fd, &other, 1, at), 1);
        lost += !has(&p->cells, IM_TRAIN, 0, 4);
        assert_int_equal(pwrite(p->fd, &byte, 1, at), 1);
        assert_true(has(&p->cells, IM_TRAIN, 0, 4));
    }
    /* But for what the head's page has behind its numbers. */
    assert_true(lost * 13 > (size_t)3 * cell.width * cell.height);
}

static void a_torn_cell_is_none(void **state)
{
    struct place *p = *state;
    static const char *const points[] = {"pixels.put.before=fail:EIO@1", "pixels.put.half=fail:EIO@1"};

    if (im_fault_arm("", NULL) == -ENOTSUP)
        skip();
    for (size_t i = 0; i < IM_COUNT(points); i++) {
        assert_int_equal(im_fault_arm(points[i], NULL), 0);
        assert_int_equal(put(&p->cells, IM_TRAIN, 0, 5), -EIO);
        assert_int_equal(im_fault_arm("", NULL), 0);
        assert_false(has(&p->cells, IM_TRAIN, 0, 5));
    }
    /* Over another one: the old head and the new pixels are neither. */
    assert_int_equal(put(&p->cells, IM_TRAIN, 0, 6), 0);
    assert_int_equal(im_fault_arm(points[1], NULL), 0);
    assert_int_equal(put(&p->cells, IM_TRAIN, 0, 5), -EIO);
    assert_int_equal(im_fault_arm("", NULL), 0);
    assert_false(has(&p->cells, IM_TRAIN, 0, 5));
    assert_false(has(&p->cells, IM_TRAIN, 0, 6));
    assert_int_equal(put(&p->cells, IM_TRAIN, 0, 5), 0);
    assert_true(has(&p->cells, IM_TRAIN, 0, 5));
}

static void a_cut_file_has_no_cells_and_takes_new_ones(void **state)
{
    struct place *p = *state;

    assert_int_equal(put(&p->cells, IM_VAL, 0, 5), 0);
    assert_int_equal(ftruncate(p->fd, 4096 + 100), 0);
    assert_false(has(&p->cells, IM_VAL, 0, 5));
    assert_int_equal(put(&p->cells, IM_VAL, 0, 5), 0);
    assert_true(has(&p->cells, IM_VAL, 0, 5));
}

static void a_full_cache_takes_no_more_and_keeps_what_it_has(void **state)
{
    struct place *p = *state;

    assert_int_equal(put(&p->cells, IM_TRAIN, 0, 5), 0);
    p->cells.limit = im_pixel_cells_bytes(&p->cells) + 4096;
    assert_int_equal(put(&p->cells, IM_TRAIN, 1, 6), -ENOSPC);
    assert_true(has(&p->cells, IM_TRAIN, 0, 5));
    assert_false(has(&p->cells, IM_TRAIN, 1, 6));
}

/* The disk is not asked for each cell: what it said holds until then. */
static void a_disk_that_is_nearly_full_takes_nothing_until_it_is_asked_again(void **state)
{
    struct place *p = *state;
    uint32_t refused = 0;

#ifndef IMSUPER_FAULTS
    skip();
#endif
    assert_int_equal(im_fault_arm("pixels.room=fail:ENOSPC", NULL), 0);
    while (put(&p->cells, IM_TRAIN, 0, 5) == -ENOSPC && refused < 1000)
        refused++;
    im_fault_arm("", NULL);
    assert_in_range(refused, 32, 256);
    assert_true(has(&p->cells, IM_TRAIN, 0, 5));
    assert_int_equal(put(&p->cells, IM_TRAIN, 1, 6), 0);
}

static void a_file_is_used_again_and_one_of_another_shape_is_emptied(void **state)
{
    struct place *p = *state;
    struct im_pixel_shape other = shape;
    struct im_pixel_cells cells;
    struct im_text text = {""};
    int fd;

    assert_int_equal(put(&p->cells, IM_TRAIN, 0, 5), 0);
    fd = im_pixel_cells_file(p->path, &shape, &text);
    assert_true(fd >= 0);
    assert_int_equal(im_pixel_cells_take(fd, &shape, ANY_SIZE, false, &cells), 0);
    cells.may_wait = true;
    assert_true(has(&cells, IM_TRAIN, 0, 5));
    close(fd);
    other.side[IM_TRAIN]++;
    assert_int_equal(im_pixel_cells_take(p->fd, &other, ANY_SIZE, false, &cells), -EBADMSG);
    fd = im_pixel_cells_file(p->path, &other, &text);
    assert_true(fd >= 0);
    assert_int_equal(im_pixel_cells_take(fd, &other, ANY_SIZE, false, &cells), 0);
    cells.may_wait = true;
    assert_false(has(&cells, IM_TRAIN, 0, 5));
    close(fd);
    assert_int_equal(im_pixel_cells_take(-1, &other, ANY_SIZE, false, &cells), -EBADMSG);
}

/* Whoever makes the file may be stopped, with its lock. */
static void a_lock_that_stays_is_not_waited_for_long(void **state)
{
    struct place *p = *state;
    struct im_pixel_shape other = shape;
    struct im_text text = {""};
    const im_ns began = im_now();

    assert_int_equal(flock(p->fd, LOCK_EX), 0);
    other.side[IM_TRAIN]++;
    assert_int_equal(im_pixel_cells_file(p->path, &other, &text), -EWOULDBLOCK);
    assert_true(im_now() - began < 120 * IM_SECOND);
    assert_non_null(strstr(text.s, "is locked by a process"));
    assert_int_equal(flock(p->fd, LOCK_UN), 0);
}

static void no_link_and_no_folder_is_opened(void **state)
{
    struct place *p = *state;
    struct im_text text = {""};
    char link_path[128];

    snprintf(link_path, sizeof link_path, "%s/link", p->folder);
    assert_int_equal(symlink(p->path, link_path), 0);
    assert_true(im_pixel_cells_file(link_path, &shape, &text) < 0);
    unlink(link_path);
    assert_true(im_pixel_cells_file(p->folder, &shape, &text) < 0);
    assert_true(text.s[0] != 0);
}

static void memory_is_a_file_without_a_name(void **state)
{
    struct im_pixel_cells cells;
    struct im_text text = {""};
    const int fd = im_pixel_cells_memory(&shape, &text);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(im_pixel_cells_take(fd, &shape, ANY_SIZE, true, &cells), 0);
    assert_true(im_pixel_cells_bytes(&cells) < 20000); /* nothing is reserved */
    assert_int_equal(put(&cells, IM_TRAIN, 4, 8), 0);
    assert_true(has(&cells, IM_TRAIN, 4, 8));
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_put_is_found_by_its_key_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(any_rows_of_a_cell_can_be_had, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_is_known_by_its_stamp_until_it_gets_another, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(sizes_without_a_cell_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_cell_is_none_or_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_cell_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_file_has_no_cells_and_takes_new_ones, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_cache_takes_no_more_and_keeps_what_it_has, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_is_nearly_full_takes_nothing_until_it_is_asked_again,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_is_used_again_and_one_of_another_shape_is_emptied, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_lock_that_stays_is_not_waited_for_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_link_and_no_folder_is_opened, set_up, tear_down),
        cmocka_unit_test(memory_is_a_file_without_a_name),
    };

    return cmocka_run_group_tests_name("pixel_cells", tests, NULL, NULL);
}
