/* Which bytes of an image are read for a crop: no fewer than it needs, in blocks of the file, and whole images where there is any doubt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "ipc/base/count.h"
#include "reader/ranges.h"

#define BYTES 120077
#define SCAN 4500
#define ROOM (1u << 20)
#define PATH "train/a/1.jpg"
#define ABSOLUTE "/data/train/a/1.jpg"
#define IMAGE_KEY 5

struct place {
    char path[64];
    struct im_conf conf;
    struct im_child child;
    struct im_seek_owner owner;
    struct rd_ranges ranges;
    struct im_phase phase;
    struct im_place at;
    struct rd_source_of source;
    struct au_seek seek;
    struct im_seek_link link;
    unsigned char bytes[BYTES];
};

/* An index of 30 rows of 40 MCUs, whose codes have nearly the same length each. */
static void add_index(struct place *p)
{
    unsigned char record[IM_SEEK_BYTES_MAX];
    size_t n;

    assert_true(au_seek_plan(&p->seek, 40, 30, BYTES - SCAN));
    p->seek.count = (uint32_t)au_seek_total(&p->seek);
    for (uint32_t i = 0; i < p->seek.count; i++)
        p->seek.points[i] =
            (struct au_seek_point){.bit = (uint64_t)i * 8 * (BYTES - SCAN - 2) / p->seek.count};
    n = au_seek_pack(&p->seek, record, sizeof record);
    assert_true(n > 0);
    assert_int_equal(im_seek_add(&p->owner, IMAGE_KEY, record, n), 0);
}

/* The link of an image of n bytes at an offset; another's, if there was one, is dropped. */
static void add_link(struct place *p, uint64_t offset, uint32_t n)
{
    const uint64_t key = im_seek_link_key(ABSOLUTE, offset);
    size_t size;

    p->link = (struct im_seek_link){.image = IMAGE_KEY,
                                    .scan = SCAN,
                                    .width = 640,
                                    .height = 480,
                                    .mcu_width = 16,
                                    .mcu_height = 16,
                                    .looks_sideways = 1,
                                    .looks_up = 1,
                                    .phase = im_seek_link_phase(offset)};
    size = im_seek_link_fill(&p->link, p->bytes, n);
    assert_true(size > 0);
    im_seek_drop(&p->owner, key);
    assert_int_equal(im_seek_add(&p->owner, key, &p->link, size), 0);
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct im_text text;
    int fd;

    assert_non_null(p);
    snprintf(p->path, sizeof p->path, "/tmp/imsuper-ranges-XXXXXX");
    fd = mkstemp(p->path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < BYTES; i++)
        p->bytes[i] = (unsigned char)(i * 131 + i / 251);
    assert_int_equal(im_seek_own(p->path, 10, &p->owner, &text), 0);
    im_conf_defaults(&p->conf);
    snprintf(p->conf.seek_file, sizeof p->conf.seek_file, "%s", p->path);
    p->conf.read_ranges = IM_RANGES_ON;
    p->child = (struct im_child){.conf = &p->conf};
    p->phase = (struct im_phase){.split = IM_TRAIN, .epoch = 3, .image_size = 224};
    p->at = (struct im_place){.phase = &p->phase};
    add_index(p);
    rd_ranges_open(&p->ranges, &p->child, "/data");
    *state = p;
    return 0;
}

static int tear_down(void **state)
{
    struct place *p = *state;

    rd_ranges_close(&p->ranges);
    im_seek_disown(&p->owner);
    au_seek_fini(&p->seek);
    unlink(p->path);
    free(p);
    return 0;
}

static struct rd_range find(struct place *p, uint64_t item)
{
    return rd_ranges_find(&p->ranges, &p->at, item, &p->source, PATH, ROOM, false);
}

/* What the crop of an item needs, by the byte. */
static void needed(struct place *p, uint64_t item, uint64_t *ret_from, uint64_t *ret_to)
{
    const struct au_scan_shape shape = {SCAN, 16, 16, true, true};
    struct au_job job = {.split = IM_TRAIN, .seed = p->conf.seed, .sample = item, .epoch = 3, .size = 224};
    struct au_crop crop;

    assert_int_equal(au_crop_options_make(&p->conf, &job.crop), 0);
    crop = au_crop_make(&job, 640, 480);
    assert_true(au_seek_extent(&p->seek, &shape, &crop.box, ret_from, ret_to));
}

static bool is_block(uint64_t offset, uint32_t at)
{
    return (offset + at) % IM_LINK_BLOCK == 0;
}

static void check_items(struct place *p, uint64_t offset)
{
    const uint32_t head = (uint32_t)((offset + SCAN + 4095) / 4096 * 4096 - offset);
    uint32_t parts = 0;

    for (uint64_t item = 0; item < 500; item++) {
        struct rd_range range = find(p, item);
        uint64_t from, to;

        needed(p, item, &from, &to);
        if (range.two.to == 0) {
            assert_int_equal(range.link, 0); /* there is one that does */
            /* Less than two blocks would be saved, or nearly so: each end of the part may take one. */
            assert_true(BYTES - to + (from > head ? from - head : 0) < 8192 + 2 * 4096);
            continue;
        }
        parts++;
        assert_int_equal(range.link, im_seek_link_key(ABSOLUTE, offset));
        assert_int_equal(range.phase, offset % 4096);
        assert_int_equal(range.image, IMAGE_KEY);
        assert_int_equal(range.bytes, BYTES);
        assert_int_equal(range.two.head, head);
        assert_true(range.two.from >= head && (range.two.from <= from || range.two.from == head));
        assert_true(range.two.from == head ||
                    (is_block(offset, range.two.from) && from - range.two.from < 4096));
        assert_true(range.two.to >= to || range.two.to == BYTES);
        assert_true(range.two.to == BYTES || (is_block(offset, range.two.to) && range.two.to - to < 4096) ||
                    range.two.to == head);
        assert_true(range.bytes - range.two.to + range.two.from - range.two.head >= 8192);
        assert_true(rd_ranges_agree(&p->ranges, &range, p->bytes));
    }
    assert_true(parts > 200);
}

static void parts_hold_what_the_crop_needs_in_blocks(void **state)
{
    struct place *p = *state;

    add_link(p, 0, BYTES);
    check_items(p, 0);
    for (uint64_t offset = 512; offset <= 5120; offset += 512) {
        p->source = (struct rd_source_of){.container = 1, .offset = offset, .bytes = BYTES};
        add_link(p, offset, BYTES);
        check_items(p, offset);
    }
}

static uint64_t an_item_with_parts(struct place *p)
{
    uint64_t item = 0;

    while (find(p, item).two.to == 0 && item < 100)
        item++;
    assert_true(item < 100);
    return item;
}

static void another_crop_needs_other_parts(void **state)
{
    struct place *p = *state;
    struct rd_range first, other;
    uint64_t item;

    add_link(p, 0, BYTES);
    item = an_item_with_parts(p);
    first = find(p, item);
    other = find(p, item);
    assert_memory_equal(&first, &other, sizeof first);
    p->phase.epoch = 4;
    other = find(p, item);
    assert_true(first.two.from != other.two.from || first.two.to != other.two.to);
    p->phase.epoch = 3;
    p->ranges.seed++;
    other = find(p, item);
    assert_true(first.two.from != other.two.from || first.two.to != other.two.to);
}

/* Whole, and no link is wanted, or one that does. */
static void what_is_in_doubt_is_read_whole(void **state)
{
    struct place *p = *state;
    const uint64_t key = im_seek_link_key(ABSOLUTE, 0);
    struct rd_range range;
    uint64_t item;

    range = find(p, 1); /* nothing is there */
    assert_true(range.link == key && range.two.to == 0);
    add_link(p, 0, BYTES);
    item = an_item_with_parts(p);
    range = rd_ranges_find(&p->ranges, &p->at, item, &p->source, PATH, ROOM, true); /* parts did not do */
    assert_true(range.link == key && range.two.to == 0);
    range = rd_ranges_find(&p->ranges, &p->at, item, &p->source, "train/a/2.jpg", ROOM, false);
    assert_true(range.link != key && range.two.to == 0);
    p->phase.split = IM_VAL;
    range = find(p, item);
    assert_true(range.link == 0 && range.two.to == 0);
    p->phase.split = IM_TRAIN;
    im_seek_drop(&p->owner, IMAGE_KEY); /* the index is away */
    range = find(p, item);
    assert_true(range.link == key && range.two.to == 0);
}

/* Parts follow one another in a cell that the image does not fit, and are left to whoever decodes it where they do not fit either. */
static void images_larger_than_a_cell_are_read_in_parts(void **state)
{
    static const uint64_t rooms[] = {BYTES, BYTES - 1, BYTES / 2, 4096, 1};
    struct place *p = *state;

    add_link(p, 0, BYTES);
    for (uint64_t item = 0; item < 200; item++) {
        const struct rd_range in_place = find(p, item);
        const struct rd_io_two *two = &in_place.two;

        assert_false(in_place.is_too_large);
        assert_int_equal(two->at, two->from);
        for (size_t i = 0; i < IM_COUNT(rooms); i++) {
            struct rd_range range =
                rd_ranges_find(&p->ranges, &p->at, item, &p->source, PATH, rooms[i], false);
            const uint32_t part = range.two.to - range.two.from;
            unsigned char read[BYTES];

            assert_int_equal(range.two.to, two->to);
            assert_int_equal(range.two.from, two->from);
            assert_int_equal(range.two.head, two->head);
            if (two->to == 0)
                continue;
            assert_int_equal(range.two.at, rooms[i] < BYTES ? two->head : two->from);
            assert_int_equal(range.is_too_large, two->head + part > rooms[i]);
            memset(read, 0, sizeof read);
            memcpy(read, p->bytes, two->head);
            memcpy(read + range.two.at, p->bytes + two->from, part);
            assert_true(rd_ranges_agree(&p->ranges, &range, read));
            if (part > 0) {
                read[range.two.at + part - 1] ^= 1;
                assert_false(rd_ranges_agree(&p->ranges, &range, read));
            }
        }
    }
}

static void small_images_are_read_whole(void **state)
{
    struct place *p = *state;

    add_link(p, 0, 32767);
    for (uint64_t item = 0; item < 100; item++)
        assert_int_equal(find(p, item).two.to, 0);
}

/* A shard that was packed anew. */
static void a_member_of_another_size_or_place_gets_a_new_link(void **state)
{
    struct place *p = *state;
    uint64_t item;

    p->source = (struct rd_source_of){.container = 1, .offset = 1024, .bytes = BYTES};
    add_link(p, 1024, BYTES);
    item = an_item_with_parts(p);
    p->source.bytes = BYTES + 1;
    assert_true(find(p, item).link != 0 && find(p, item).two.to == 0);
    p->source.bytes = BYTES - 1;
    assert_true(find(p, item).link != 0 && find(p, item).two.to == 0);
    p->source.bytes = BYTES;
    assert_true(find(p, item).two.to > 0);
    p->source.offset = 1024 + 4096; /* of the same phase */
    assert_true(find(p, item).link != im_seek_link_key(ABSOLUTE, 1024) && find(p, item).two.to == 0);
}

/* A record that says another phase than that of its place. */
static void a_link_of_another_phase_is_none(void **state)
{
    struct place *p = *state;
    const uint64_t key = im_seek_link_key(ABSOLUTE, 0);
    size_t n;

    add_link(p, 0, BYTES);
    p->link.phase = 512;
    n = im_seek_link_fill(&p->link, p->bytes, BYTES);
    im_seek_drop(&p->owner, key);
    assert_int_equal(im_seek_add(&p->owner, key, &p->link, n), 0);
    for (uint64_t item = 0; item < 100; item++)
        assert_int_equal(find(p, item).two.to, 0);
}

/* Each block that was read is looked at, and no other. */
static void other_bytes_do_not_agree(void **state)
{
    struct place *p = *state;
    struct rd_range range;

    add_link(p, 0, BYTES);
    range = find(p, an_item_with_parts(p));
    for (uint32_t i = 100; i < BYTES; i += 1021) {
        const bool is_read = i < range.two.head || (i >= range.two.from && i < range.two.to);

        p->bytes[i] ^= 1;
        assert_int_equal(rd_ranges_agree(&p->ranges, &range, p->bytes), !is_read);
        p->bytes[i] ^= 1;
    }
    range.image++;
    assert_false(rd_ranges_agree(&p->ranges, &range, p->bytes));
    range.image--;
    range.bytes--;
    assert_false(rd_ranges_agree(&p->ranges, &range, p->bytes));
    range.bytes++;
    range.phase = 512;
    assert_false(rd_ranges_agree(&p->ranges, &range, p->bytes));
    range.phase = 0;
    im_seek_drop(&p->owner, range.link);
    assert_false(rd_ranges_agree(&p->ranges, &range, p->bytes));
}

/* Paths of images that are linked into the folder are absolute, and lead to the same link. */
static void the_key_is_that_of_the_absolute_path(void **state)
{
    struct place *p = *state;
    char longest[5000];

    add_link(p, 0, BYTES);
    assert_int_equal(rd_ranges_find(&p->ranges, &p->at, 1, &p->source, ABSOLUTE, ROOM, false).link,
                     rd_ranges_find(&p->ranges, &p->at, 1, &p->source, PATH, ROOM, false).link);
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(rd_ranges_find(&p->ranges, &p->at, 1, &p->source, longest, ROOM, false).link, 0);
}

/* auto: from a quarter of the bytes from the disk on, until it is less than a sixteenth. */
static void auto_goes_by_where_bytes_come_from(void **state)
{
    static const struct {
        uint32_t percent;
        bool was_cold, is_cold;
    } cases[] = {{0, false, false}, {20, false, false}, {30, false, true}, {100, false, true},
                 {20, true, true},  {10, true, true},   {5, true, false},  {0, true, false}};
    struct place *p = *state;

    p->ranges.is_auto = true;
    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        struct rusage usage;

        p->ranges.is_cold = cases[i].was_cold;
        for (int image = 0; image < 64; image++) {
            getrusage(RUSAGE_SELF, &usage);
            p->ranges.disk = (uint64_t)usage.ru_inblock * 512 - UINT64_C(64000) * cases[i].percent;
            assert_int_equal(p->ranges.is_cold, cases[i].was_cold);
            rd_ranges_count(&p->ranges, 100000);
        }
        assert_int_equal(p->ranges.is_cold, cases[i].is_cold);
    }
}

static void off_reads_all_images_whole(void **state)
{
    struct place *p = *state;
    struct rd_range range;
    uint64_t item;

    add_link(p, 0, BYTES);
    item = an_item_with_parts(p);
    rd_ranges_close(&p->ranges);
    p->conf.read_ranges = IM_RANGES_OFF;
    rd_ranges_open(&p->ranges, &p->child, "/data");
    range = find(p, item);
    assert_true(range.link == 0 && range.two.to == 0);
    p->conf.read_ranges = IM_RANGES_AUTO; /* until the disk is read */
    rd_ranges_open(&p->ranges, &p->child, "/data");
    range = find(p, item);
    assert_true(range.link == 0 && range.two.to == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts_hold_what_the_crop_needs_in_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_crop_needs_other_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_in_doubt_is_read_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(images_larger_than_a_cell_are_read_in_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_images_are_read_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_member_of_another_size_or_place_gets_a_new_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_link_of_another_phase_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_bytes_do_not_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_key_is_that_of_the_absolute_path, set_up, tear_down),
        cmocka_unit_test_setup_teardown(auto_goes_by_where_bytes_come_from, set_up, tear_down),
        cmocka_unit_test_setup_teardown(off_reads_all_images_whole, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
