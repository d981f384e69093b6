/* Words and the layout of the segments. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>

#include "ipc/base/count.h"
#include "ipc/cell_word.h"

static void test_a_word_keeps_its_three_parts(void **state)
{
    static const uint64_t numbers[] = {0, 1, UINT32_MAX, IM_NUMBER_MAX - 1, IM_NUMBER_MAX};
    static const uint32_t owners[] = {0, 1, 0xabcdef, IM_OWNER_MAX};

    (void)state;
    for (unsigned s = 0; s < 16; s++)
        for (size_t o = 0; o < IM_COUNT(owners); o++)
            for (size_t n = 0; n < IM_COUNT(numbers); n++) {
                uint64_t word = im_word((enum im_state)s, owners[o], numbers[n]);

                assert_int_equal(im_word_state(word), s);
                assert_int_equal(im_word_owner(word), owners[o]);
                assert_int_equal(im_word_number(word), numbers[n]);
            }
}

static void test_a_zeroed_word_is_no_state(void **state)
{
    (void)state;
    assert_true(im_word(IM_FREE, 0, 0) != 0 && im_word(IM_EMPTY, 0, 0) != 0);
}

struct range {
    const char *name;
    uint64_t from, bytes;
};

static void check_apart(const struct range *ranges, size_t n, uint64_t end)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t next = i + 1 < n ? ranges[i + 1].from : end;

        if (ranges[i].from + ranges[i].bytes > next)
            fail_msg("%s runs into what follows it", ranges[i].name);
    }
}

static void check_layout(const struct im_geometry *g)
{
    struct im_offsets l;
    uint64_t places = (uint64_t)g->ranks * g->batches * g->batch_size_max;

    assert_int_equal(im_offsets_compute(g, &l), 0);

    const struct range control[] = {
        {"header", 0, sizeof(struct im_control)},
        {"conf", l.conf, IM_CONF_BYTES},
        {"processes", l.processes, g->slots * sizeof(struct im_process)},
        {"stats", l.stats, g->slots * sizeof(struct im_stats)},
        {"encoded words", l.encoded_words, g->encoded_cells * sizeof(uint64_t)},
        {"encoded meta", l.encoded_meta, g->encoded_cells * sizeof(struct im_encoded_meta)},
        {"batch words", l.batch_words, places * sizeof(uint64_t)},
        {"bad samples", l.bad_samples, IM_BAD_MAX * sizeof(struct im_bad_entry)},
        {"peers", l.peers, g->ranks * sizeof(struct im_peer)},
        {"seek rings", l.seek_rings, g->augmenters_max * sizeof(struct im_seek_ring)},
        {"stamps of train", l.stamps[IM_TRAIN], g->samples[IM_TRAIN] * sizeof(uint32_t)},
        {"stamps of val", l.stamps[IM_VAL], g->samples[IM_VAL] * sizeof(uint32_t)},
    };
    const struct range batch[] = {
        {"pixels", 0, g->batch_pixels_max},
        {"labels", l.batch_labels, g->batch_size_max * sizeof(int32_t)},
        {"verdicts", l.batch_verdicts, g->batch_size_max * sizeof(uint32_t)},
        {"samples", l.batch_samples, g->batch_size_max * sizeof(uint64_t)},
    };

    check_apart(control, IM_COUNT(control), l.control_bytes);
    check_apart(batch, IM_COUNT(batch), l.batch_stride);
    assert_int_equal(l.encoded_bytes, g->cell_bytes * g->encoded_cells);
    assert_int_equal(l.batch_bytes, l.batch_stride * g->batches);
    assert_int_equal(l.stats % IM_PAGE, 0);
    assert_int_equal(l.processes % IM_LINE, 0);
    assert_int_equal(l.peers % IM_LINE, 0);
    assert_int_equal(l.batch_samples % sizeof(uint64_t), 0);
    assert_int_equal(l.batch_stride % IM_PAGE, 0);
}

static void test_tables_do_not_overlap(void **state)
{
    struct im_geometry g = small_geometry();

    (void)state;
    check_layout(&g);
    for (uint32_t i = 1; i < 200; i++) {
        g.samples[IM_TRAIN] = 1 + i * 977;
        g.samples[IM_VAL] = i * 13;
        g.encoded_cells = i * 3;
        g.batch_size_max = i;
        g.batch_pixels_max = i * 147 + 1;
        g.batches = 1 + i % IM_BATCHES_MAX;
        g.ranks = 1 + i % IM_RANKS_MAX;
        g.readers_max = 1 + i % 40;
        g.slots = 1 + g.readers_max + g.augmenters_max + g.ranks;
        check_layout(&g);
    }
}

static void test_the_largest_geometry_does_not_overflow(void **state)
{
    struct im_geometry g = {
        .samples = {UINT32_MAX - 1, UINT32_MAX - 1},
        .cell_bytes = UINT64_C(1) << 30,
        .batch_pixels_max = UINT64_C(1) << 40,
        .encoded_cells = IM_CELLS_MAX,
        .ranks = IM_RANKS_MAX,
        .batches = IM_BATCHES_MAX,
        .batch_size_max = 65536,
        .readers_max = 500,
        .augmenters_max = IM_SLOTS_MAX - 1 - 500 - IM_RANKS_MAX,
        .slots = IM_SLOTS_MAX,
        .classes = UINT32_MAX,
    };

    (void)state;
    check_layout(&g);
}

#define REFUSES(change)                                                                                      \
    do {                                                                                                     \
        struct im_geometry g = small_geometry();                                                             \
        struct im_offsets l;                                                                                 \
        change;                                                                                              \
        assert_int_equal(im_offsets_compute(&g, &l), -EINVAL);                                               \
    } while (0)

static void test_sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    REFUSES(g.samples[IM_TRAIN] = 0);
    REFUSES(g.samples[IM_TRAIN] = UINT32_MAX);
    REFUSES(g.samples[IM_VAL] = UINT64_MAX);
    REFUSES(g.cell_bytes = 0);
    REFUSES(g.cell_bytes = IM_PAGE + 1);
    REFUSES(g.cell_bytes = UINT64_MAX - IM_PAGE + 1);
    REFUSES(g.batch_pixels_max = 0);
    REFUSES(g.batch_pixels_max = UINT64_MAX);
    REFUSES(g.encoded_cells = 0);
    REFUSES(g.encoded_cells = IM_CELLS_MAX + 1);
    REFUSES(g.ranks = 0);
    REFUSES((g.ranks = IM_RANKS_MAX + 1, g.slots = 1 + 2 + 3 + g.ranks));
    REFUSES(g.batches = 0);
    REFUSES(g.batches = IM_BATCHES_MAX + 1);
    REFUSES(g.batch_size_max = 0);
    REFUSES(g.batch_size_max = UINT32_MAX);
    REFUSES(g.slots = 0);
    REFUSES(g.slots++);
    REFUSES((g.readers_max = 0, g.slots -= 2));
    REFUSES((g.augmenters_max = UINT32_MAX,
             g.slots = 1 + 2 + UINT32_MAX + SMALL_RANKS)); /* wraps to a small sum */
    REFUSES((g.readers_max = IM_SLOTS_MAX, g.slots = 1 + IM_SLOTS_MAX + 3 + SMALL_RANKS));
    REFUSES(g.classes = 0);
}

static void test_slots_of_roles_do_not_collide(void **state)
{
    struct small_run *s = *state;
    bool taken[16] = {[0] = true}; /* the supervisor's */
    static const struct {
        enum im_role role;
        uint32_t count;
    } roles[] = {{IM_ROLE_READER, 2}, {IM_ROLE_AUGMENTER, 3}, {IM_ROLE_TRAINER, SMALL_RANKS}};

    for (size_t r = 0; r < IM_COUNT(roles); r++)
        for (uint32_t i = 0; i < roles[r].count; i++) {
            uint32_t slot = im_run_slot(&s->run, roles[r].role, i);

            assert_in_range(slot, 1, s->run.geometry.slots - 1);
            assert_false(taken[slot]);
            taken[slot] = true;
        }
}

static void test_reset_gives_each_cell_its_first_number(void **state)
{
    struct small_run *s = *state;
    uint64_t first = im_plan_first_ticket(&s->plan, 5);

    im_run_reset(&s->run, &s->plan, 5);
    for (uint64_t t = first; t < first + SMALL_CELLS; t++)
        assert_int_equal(small_encoded_word(s, (uint32_t)(t % SMALL_CELLS)), im_word(IM_FREE, 0, t));
    for (uint32_t rank = 0; rank < SMALL_RANKS; rank++)
        for (uint64_t g = 5; g < 5 + SMALL_BATCHES; g++)
            for (uint32_t place = 0; place < SMALL_BATCH_SIZE; place++)
                assert_int_equal(small_batch_word(s, rank, g, place), im_word(IM_EMPTY, 0, g));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_word_keeps_its_three_parts),
        cmocka_unit_test(test_a_zeroed_word_is_no_state),
        cmocka_unit_test(test_tables_do_not_overlap),
        cmocka_unit_test(test_the_largest_geometry_does_not_overflow),
        cmocka_unit_test(test_sizes_out_of_range_are_refused),
        cmocka_unit_test_setup_teardown(test_slots_of_roles_do_not_collide, small_setup, small_teardown),
        cmocka_unit_test_setup_teardown(test_reset_gives_each_cell_its_first_number, small_setup,
                                        small_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
