/* The encoded ring, one step at a time. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/count.h"
#include "ipc/encoded.h"
#include "ipc/wait.h"

enum { READER = 11, OTHER = 12, AUGMENTER = 13 };

static struct im_encoded claim(struct small_run *s, uint64_t expected)
{
    struct im_encoded e;

    assert_int_equal(im_encoded_claim(&s->run, READER, UINT64_MAX, &e), 1);
    assert_int_equal(e.ticket, expected);
    return e;
}

static struct im_encoded take(struct small_run *s, uint64_t expected)
{
    struct im_encoded e;

    assert_int_equal(im_encoded_take(&s->run, &s->plan, AUGMENTER, &e), 1);
    assert_int_equal(e.ticket, expected);
    return e;
}

static void test_claim_goes_by_age_until_the_ring_is_full(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    for (uint64_t t = 0; t < SMALL_CELLS; t++) {
        e = claim(s, t);
        assert_int_equal(e.cell, t % SMALL_CELLS);
        assert_ptr_equal(e.bytes, im_run_cell_bytes(&s->run, e.cell));
        assert_int_equal(small_encoded_word(s, e.cell), im_word(IM_FILLING, READER, t));
    }
    assert_int_equal(im_encoded_claim(&s->run, READER, UINT64_MAX, &e), 0);
}

static void test_claim_stops_at_the_limit(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    assert_int_equal(im_encoded_claim(&s->run, READER, 2, &e), 1);
    assert_int_equal(im_encoded_claim(&s->run, READER, 2, &e), 1);
    assert_int_equal(im_encoded_claim(&s->run, READER, 2, &e), 0);
}

static void test_a_ticket_goes_all_the_way_round(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e = claim(s, 0);

    assert_int_equal(im_encoded_publish(&s->run, READER, &e), 0);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_READY, 0, 0));
    e = take(s, 0);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_TAKEN, AUGMENTER, 0));
    assert_int_equal(im_encoded_release(&s->run, AUGMENTER, &e), 0);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FREE, 0, SMALL_CELLS));
}

static void test_take_is_oldest_first_though_files_arrive_out_of_order(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e[SMALL_CELLS];

    for (uint64_t t = 0; t < SMALL_CELLS; t++)
        e[t] = claim(s, t);
    im_encoded_publish(&s->run, READER, &e[2]);
    take(s, 2);
    im_encoded_publish(&s->run, READER, &e[3]);
    im_encoded_publish(&s->run, READER, &e[0]);
    im_encoded_publish(&s->run, READER, &e[1]);
    take(s, 0);
    take(s, 1);
    take(s, 3);
}

static void test_claim_is_oldest_first_though_cells_come_back_out_of_order(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e[SMALL_CELLS];

    small_publish(s, READER, 0, SMALL_CELLS - 1);
    for (uint64_t t = 0; t < SMALL_CELLS; t++)
        e[t] = take(s, t);
    im_encoded_release(&s->run, AUGMENTER, &e[1]);
    claim(s, 1 + SMALL_CELLS);
    im_encoded_release(&s->run, AUGMENTER, &e[2]);
    im_encoded_release(&s->run, AUGMENTER, &e[0]);
    claim(s, 0 + SMALL_CELLS);
    claim(s, 2 + SMALL_CELLS);
}

static void test_take_refuses_a_ticket_whose_batch_has_no_place_yet(void **state)
{
    struct small_run *s = *state;
    struct im_place at;
    struct im_encoded e;

    small_publish(s, READER, 0, 0);
    assert_int_equal(im_plan_place(&s->plan, 0, &at), 0);
    small_set_batch_word(s, at.rank, at.batch, at.place, im_word(IM_DONE, 0, at.batch));
    assert_int_equal(im_encoded_take(&s->run, &s->plan, AUGMENTER, &e), 0);
    small_set_batch_word(s, at.rank, at.batch, at.place, im_word(IM_WRITING, OTHER, at.batch));
    assert_int_equal(im_encoded_take(&s->run, &s->plan, AUGMENTER, &e), 0);
    small_set_batch_word(s, at.rank, at.batch, at.place, im_word(IM_EMPTY, 0, at.batch + SMALL_BATCHES));
    assert_int_equal(im_encoded_take(&s->run, &s->plan, AUGMENTER, &e), 0);
    small_set_batch_word(s, at.rank, at.batch, at.place, im_word(IM_EMPTY, 0, at.batch));
    take(s, 0);
}

static void test_steps_of_somebody_who_does_not_hold_the_cell_are_stale(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e = claim(s, 0);

    assert_int_equal(im_encoded_publish(&s->run, OTHER, &e), -ESTALE);
    assert_int_equal(im_encoded_release(&s->run, READER, &e), -ESTALE);
    assert_int_equal(im_encoded_publish(&s->run, READER, &e), 0);
    assert_int_equal(im_encoded_publish(&s->run, READER, &e), -ESTALE);
    e = take(s, 0);
    assert_int_equal(im_encoded_release(&s->run, OTHER, &e), -ESTALE);
    assert_int_equal(im_encoded_reject(&s->run, OTHER, &e), -ESTALE);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_TAKEN, AUGMENTER, 0));
}

static void test_a_rejected_ticket_is_read_again_before_younger_ones(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    small_publish(s, READER, 0, 1);
    e = take(s, 0);
    assert_int_equal(im_encoded_reject(&s->run, AUGMENTER, &e), 0);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FREE, 0, 0));
    claim(s, 0);
}

static void test_a_damaged_word_neither_spins_nor_is_handed_out(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    /* A ticket that belongs into another cell: no compare-and-swap could take it. */
    atomic_store_explicit(&s->run.encoded_word[0], im_word(IM_FREE, 0, 1 + 7 * SMALL_CELLS),
                          memory_order_release);
    for (uint64_t t = 1; t < SMALL_CELLS; t++)
        claim(s, t);
    assert_int_equal(im_encoded_claim(&s->run, READER, UINT64_MAX, &e), 0);
    atomic_store_explicit(&s->run.encoded_word[0], im_word(IM_READY, 0, 1 + SMALL_CELLS),
                          memory_order_release);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, AUGMENTER, &e), 0);
}

static void test_wrong_hints_hide_nothing(void **state)
{
    static const uint64_t hints[] = {0, 3, 1000, IM_NUMBER_MAX, UINT64_MAX - 1, UINT64_MAX};
    struct small_run *s = *state;

    for (size_t i = 0; i < IM_COUNT(hints); i++) {
        struct im_encoded e;

        im_run_reset(&s->run, &s->plan, 0);
        atomic_store_explicit(&s->run.control->encoded_free_hint, hints[i], memory_order_relaxed);
        assert_int_equal(im_encoded_claim(&s->run, READER, UINT64_MAX, &e), 1);
        assert_int_equal(im_encoded_publish(&s->run, READER, &e), 0);
        atomic_store_explicit(&s->run.control->encoded_ready_hint, hints[i], memory_order_relaxed);
        take(s, e.ticket);
    }
}

static void test_count_tells_the_cells_of_a_state(void **state)
{
    struct small_run *s = *state;

    small_publish(s, READER, 0, 1);
    claim(s, 2);
    assert_int_equal(im_encoded_count(&s->run, IM_READY), 2);
    assert_int_equal(im_encoded_count(&s->run, IM_FILLING), 1);
    assert_int_equal(im_encoded_count(&s->run, IM_FREE), SMALL_CELLS - 3);
}

/* Waits are bounded, so a wake that is left out costs time and nothing else would show it. */
static void test_whoever_makes_work_wakes_those_who_wait_for_it(void **state)
{
    struct small_run *s = *state;
    struct im_event *ready = &s->run.control->event_ready, *free = &s->run.control->event_free;
    struct im_encoded e = claim(s, 0);
    uint32_t seen = im_event_look(ready);

    assert_int_equal(im_encoded_publish(&s->run, READER, &e), 0);
    assert_int_not_equal(im_event_look(ready), seen);
    e = take(s, 0);
    seen = im_event_look(free);
    assert_int_equal(im_encoded_reject(&s->run, AUGMENTER, &e), 0);
    assert_int_not_equal(im_event_look(free), seen);
    e = claim(s, 0);
    assert_int_equal(im_encoded_publish(&s->run, READER, &e), 0);
    e = take(s, 0);
    seen = im_event_look(free);
    assert_int_equal(im_encoded_release(&s->run, AUGMENTER, &e), 0);
    assert_int_not_equal(im_event_look(free), seen);
}

static void test_the_seal_covers_ticket_and_what_is_said_of_the_bytes(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e = claim(s, 0), other;

    *e.meta =
        (struct im_encoded_meta){.sample = 5, .bytes = 9, .label = 2, .from = 4, .to = 8, .image_bytes = 9};
    memcpy(e.bytes, "abcdefghi", 9);
    im_encoded_seal(&e);
    assert_true(im_encoded_is_sealed(&s->run, &e));
    assert_true(im_encoded_is_whole(&e));
    other = e;
    other.ticket++;
    assert_false(im_encoded_is_sealed(&s->run, &other));
#define COVERS(member)                                                                                       \
    do {                                                                                                     \
        e.meta->member ^= 1;                                                                                 \
        assert_false(im_encoded_is_sealed(&s->run, &e));                                                     \
        e.meta->member ^= 1;                                                                                 \
    } while (0)
    COVERS(sample);
    COVERS(label);
    COVERS(bytes);
    COVERS(verdict);
    COVERS(by_reference);
    COVERS(stamp);
    COVERS(link);
    COVERS(image);
    COVERS(head);
    COVERS(from);
    COVERS(to);
    COVERS(phase);
    COVERS(image_bytes);
    COVERS(key);
    COVERS(hash);
#undef COVERS
    assert_true(im_encoded_is_sealed(&s->run, &e));
    e.meta->bytes = (uint32_t)s->run.geometry.cell_bytes + 1;
    e.meta->hash = im_encoded_hash(&e);
    assert_false(im_encoded_is_sealed(&s->run, &e));
}

/* What is not so would be copied from behind the cell, or behind the image's memory. */
static void test_parts_are_within_cell_and_image(void **state)
{
    static const struct {
        uint32_t bytes, by_reference, image_bytes, head, from, to;
        bool fits;
    } cases[] = {
        {9, 0, 9, 2, 4, 8, true}, /* at their places */
        {9, 0, 9, 2, 4, 10, false},
        {9, 0, 9, 5, 4, 8, false},
        {9, 0, 9, 2, 9, 8, false},
        {9, 0, 10000, 4, 900, 905, true}, /* one after the other */
        {9, 0, 10000, 4, 900, 906, false},
        {9, 0, 10000, 4, 900, 904, false},
        {9, 0, 10000, 4, 10000, 10005, false},
        {9, IM_BY_FILE, 10000, 4, 900, 9000, true},
        {9, IM_BY_FILE, 10000, 4, 900, 10001, false},
    };
    struct small_run *s = *state;
    struct im_encoded e = claim(s, 0);

    for (size_t i = 0; i < IM_COUNT(cases); i++) {
        *e.meta = (struct im_encoded_meta){.bytes = cases[i].bytes,
                                           .by_reference = cases[i].by_reference,
                                           .image_bytes = cases[i].image_bytes,
                                           .head = cases[i].head,
                                           .from = cases[i].from,
                                           .to = cases[i].to};
        im_encoded_seal(&e);
        assert_int_equal(im_encoded_is_sealed(&s->run, &e), cases[i].fits);
    }
}

/* Each bit of a cell that was read. */
static void test_a_changed_bit_of_the_bytes_is_found(void **state)
{
    enum { BYTES = 300 };
    struct im_encoded e = claim(*state, 0);

    *e.meta = (struct im_encoded_meta){.sample = 5, .bytes = BYTES};
    for (uint32_t i = 0; i < BYTES; i++)
        e.bytes[i] = (unsigned char)(i * 7);
    im_encoded_seal(&e);
    assert_true(im_encoded_is_whole(&e));
    for (uint32_t bit = 0; bit < 8 * BYTES; bit++) {
        e.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_false(im_encoded_is_whole(&e));
        e.bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    e.meta->bytes--;
    assert_false(im_encoded_is_whole(&e));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_claim_goes_by_age_until_the_ring_is_full),
        TEST(test_claim_stops_at_the_limit),
        TEST(test_a_ticket_goes_all_the_way_round),
        TEST(test_take_is_oldest_first_though_files_arrive_out_of_order),
        TEST(test_claim_is_oldest_first_though_cells_come_back_out_of_order),
        TEST(test_take_refuses_a_ticket_whose_batch_has_no_place_yet),
        TEST(test_steps_of_somebody_who_does_not_hold_the_cell_are_stale),
        TEST(test_a_rejected_ticket_is_read_again_before_younger_ones),
        TEST(test_a_damaged_word_neither_spins_nor_is_handed_out),
        TEST(test_wrong_hints_hide_nothing),
        TEST(test_count_tells_the_cells_of_a_state),
        TEST(test_whoever_makes_work_wakes_those_who_wait_for_it),
        TEST(test_the_seal_covers_ticket_and_what_is_said_of_the_bytes),
        TEST(test_parts_are_within_cell_and_image),
        TEST(test_a_changed_bit_of_the_bytes_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
