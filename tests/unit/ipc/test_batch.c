/* The batch ring, one step at a time. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>

#include "ipc/batch.h"
#include "ipc/cell_word.h"
#include "ipc/wait.h"
#include "tests/support/ticket.h"

enum { AUGMENTER = 21, OTHER = 22 };

static struct im_place place_of(const struct small_run *s, uint64_t ticket)
{
    struct im_place at;

    assert_int_equal(im_plan_place(&s->plan, ticket, &at), 0);
    return at;
}

static void finish(struct small_run *s, uint64_t ticket)
{
    struct im_place at = place_of(s, ticket);

    assert_int_equal(im_batch_claim(&s->run, &at, AUGMENTER), 0);
    assert_int_equal(im_batch_commit(&s->run, &at, AUGMENTER), 0);
}

static void finish_batch(struct small_run *s, uint64_t batch, uint32_t rank)
{
    for (uint32_t place = 0; place < im_plan_batch_count(&s->plan, batch, rank); place++)
        finish(s, ticket_at(&s->plan, batch, rank, place));
}

static void test_claim_then_commit(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 3);

    assert_int_equal(im_batch_claim(&s->run, &at, AUGMENTER), 0);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place),
                     im_word(IM_WRITING, AUGMENTER, at.batch));
    assert_int_equal(im_batch_commit(&s->run, &at, AUGMENTER), 0);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_DONE, 0, at.batch));
}

static void test_a_place_that_is_done_says_so(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 0);

    finish(s, 0);
    assert_int_equal(im_batch_claim(&s->run, &at, OTHER), 1);
}

static void test_a_place_of_a_later_batch_was_done(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 0);

    finish_batch(s, 0, 0);
    im_batch_free(&s->run, 0, 0);
    assert_int_equal(im_batch_claim(&s->run, &at, OTHER), 1);
}

static void test_a_place_held_by_another_or_of_an_earlier_batch_is_stale(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 0), later;

    assert_int_equal(im_batch_claim(&s->run, &at, OTHER), 0);
    assert_int_equal(im_batch_claim(&s->run, &at, AUGMENTER), -ESTALE);
    assert_int_equal(im_batch_commit(&s->run, &at, AUGMENTER), -ESTALE);
    later = at;
    later.batch += SMALL_BATCHES;
    assert_int_equal(im_batch_claim(&s->run, &later, AUGMENTER), -ESTALE);
}

static void test_commit_without_claim_or_twice_is_stale(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 0);

    assert_int_equal(im_batch_commit(&s->run, &at, AUGMENTER), -ESTALE);
    finish(s, 0);
    assert_int_equal(im_batch_commit(&s->run, &at, AUGMENTER), -ESTALE);
}

static void test_an_abandoned_place_is_open_for_its_batch(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 0);

    assert_int_equal(im_batch_abandon(&s->run, &at, AUGMENTER), -ESTALE);
    assert_int_equal(im_batch_claim(&s->run, &at, AUGMENTER), 0);
    assert_int_equal(im_batch_abandon(&s->run, &at, OTHER), -ESTALE);
    assert_int_equal(im_batch_abandon(&s->run, &at, AUGMENTER), 0);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_EMPTY, 0, at.batch));
    assert_int_equal(im_batch_abandon(&s->run, &at, AUGMENTER), -ESTALE);
    finish(s, 0);
    assert_int_equal(im_batch_abandon(&s->run, &at, AUGMENTER), -ESTALE);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_DONE, 0, at.batch));
}

static void test_done_counts_in_a_row_only(void **state)
{
    struct small_run *s = *state;

    finish(s, ticket_at(&s->plan, 0, 0, 0));
    finish(s, ticket_at(&s->plan, 0, 0, 2));
    assert_int_equal(im_batch_done(&s->run, 0, 0, 0, 3), 1);
    assert_int_equal(im_batch_done(&s->run, 0, 0, 1, 3), 0);
    finish(s, ticket_at(&s->plan, 0, 0, 1));
    assert_int_equal(im_batch_done(&s->run, 0, 0, 1, 3), 2);
    assert_int_equal(im_batch_done(&s->run, 1, 0, 0, 3), 0);
}

static void test_free_opens_every_place_for_the_batch_one_turn_later(void **state)
{
    struct small_run *s = *state;

    finish(s, ticket_at(&s->plan, 0, 0, 0)); /* a short batch: the other places stayed EMPTY */
    im_batch_free(&s->run, 0, 0);
    for (uint32_t place = 0; place < SMALL_BATCH_SIZE; place++)
        assert_int_equal(small_batch_word(s, 0, 0, place), im_word(IM_EMPTY, 0, SMALL_BATCHES));
    assert_int_equal(small_batch_word(s, 0, 1, 0), im_word(IM_EMPTY, 0, 1));
    assert_int_equal(small_batch_word(s, 1, 0, 0), im_word(IM_EMPTY, 0, 0));
}

static void test_a_batch_was_done_also_when_it_is_given_back(void **state)
{
    struct small_run *s = *state;
    const uint32_t count = im_plan_batch_count(&s->plan, 0, 0);
    struct im_place last = place_of(s, ticket_at(&s->plan, 0, 0, count - 1));

    for (uint32_t place = 0; place + 1 < count; place++)
        finish(s, ticket_at(&s->plan, 0, 0, place));
    assert_false(im_batch_was_done(&s->run, 0, 0, count));
    assert_true(im_batch_was_done(&s->run, 0, 0, count - 1));
    assert_int_equal(im_batch_claim(&s->run, &last, AUGMENTER), 0);
    assert_false(im_batch_was_done(&s->run, 0, 0, count));
    assert_int_equal(im_batch_commit(&s->run, &last, AUGMENTER), 0);
    assert_true(im_batch_was_done(&s->run, 0, 0, count));
    im_batch_free(&s->run, 0, 0);
    assert_true(im_batch_was_done(&s->run, 0, 0, count));
    assert_false(im_batch_was_done(&s->run, 0, SMALL_BATCHES, count));
}

static void test_places_of_a_batch_are_apart_and_inside_the_segment(void **state)
{
    struct small_run *s = *state;

    for (uint32_t rank = 0; rank < SMALL_RANKS; rank++)
        for (uint64_t g = 0; g < SMALL_BATCHES; g++) {
            unsigned char *base = s->run.batch_segment[rank].map;
            struct im_batch_view view;

            im_run_batch_view(&s->run, rank, g, &view);
            assert_ptr_equal(view.pixels, base + g * s->run.layout.batch_stride);
            assert_true((unsigned char *)(view.samples + SMALL_BATCH_SIZE) <=
                        base + (g + 1) * s->run.layout.batch_stride);
        }
}

static void test_ready_count_stops_at_the_first_incomplete_batch(void **state)
{
    struct small_run *s = *state;

    assert_int_equal(im_batch_ready_count(&s->run, &s->plan, 0, 0), 0);
    finish_batch(s, 1, 0);
    assert_int_equal(im_batch_ready_count(&s->run, &s->plan, 0, 0), 0);
    finish_batch(s, 0, 0);
    assert_int_equal(im_batch_ready_count(&s->run, &s->plan, 0, 0), 2);
}

static void test_batch_given_back_in_its_step_hides_no_other(void **state)
{
    struct small_run *s = *state;

    finish_batch(s, 0, 0);
    finish_batch(s, 1, 0);
    im_batch_free(&s->run, 0, 0);
    assert_int_equal(im_batch_ready_count(&s->run, &s->plan, 0, 0), 1);
}

/* Waits are bounded, so a wake that is left out costs time and nothing else would show it. */
static void test_whoever_makes_work_wakes_those_who_wait_for_it(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 0);
    uint32_t done = im_event_look(&s->run.control->event_done[at.rank]);
    uint32_t ready = im_event_look(&s->run.control->event_ready);

    finish(s, 0);
    assert_int_not_equal(im_event_look(&s->run.control->event_done[at.rank]), done);
    im_batch_free(&s->run, at.rank, at.batch);
    assert_int_not_equal(im_event_look(&s->run.control->event_ready), ready);
}

static bool is_sound(const struct im_batch_view *view, uint64_t batch, uint32_t rank, uint32_t place,
                     uint64_t sample)
{
    uint32_t verdict;
    int32_t label;

    return im_batch_read(view, batch, rank, place, sample, &label, &verdict);
}

static void test_what_is_at_a_place_is_tied_to_it(void **state)
{
    struct small_run *s = *state;
    struct im_place at = place_of(s, 3);
    struct im_batch_view view;

    im_run_batch_view(&s->run, at.rank, at.batch, &view);
    assert_false(is_sound(&view, at.batch, at.rank, at.place, 0)); /* nothing was described yet */
    im_batch_describe(&view, &at, 17, 4, 0);
    assert_true(is_sound(&view, at.batch, at.rank, at.place, 17));
    assert_false(is_sound(&view, at.batch, at.rank, at.place, 18));                 /* another sample */
    assert_false(is_sound(&view, at.batch + SMALL_BATCHES, at.rank, at.place, 17)); /* of the turn before */
    assert_false(is_sound(&view, at.batch, at.rank + 1, at.place, 17));
    for (int bit = 0; bit < 32; bit++) {
        view.labels[at.place] ^= (int32_t)(1u << bit);
        assert_false(is_sound(&view, at.batch, at.rank, at.place, 17));
        view.labels[at.place] ^= (int32_t)(1u << bit);
        view.verdicts[at.place] ^= 1u << bit;
        assert_false(is_sound(&view, at.batch, at.rank, at.place, 17));
        view.verdicts[at.place] ^= 1u << bit;
    }
    view.samples[at.place] = 16;
    assert_false(is_sound(&view, at.batch, at.rank, at.place, 16));
    view.samples[at.place] = 17;
    assert_true(is_sound(&view, at.batch, at.rank, at.place, 17));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_claim_then_commit),
        TEST(test_a_place_that_is_done_says_so),
        TEST(test_a_place_of_a_later_batch_was_done),
        TEST(test_a_place_held_by_another_or_of_an_earlier_batch_is_stale),
        TEST(test_commit_without_claim_or_twice_is_stale),
        TEST(test_an_abandoned_place_is_open_for_its_batch),
        TEST(test_done_counts_in_a_row_only),
        TEST(test_free_opens_every_place_for_the_batch_one_turn_later),
        TEST(test_a_batch_was_done_also_when_it_is_given_back),
        TEST(test_places_of_a_batch_are_apart_and_inside_the_segment),
        TEST(test_ready_count_stops_at_the_first_incomplete_batch),
        TEST(test_batch_given_back_in_its_step_hides_no_other),
        TEST(test_whoever_makes_work_wakes_those_who_wait_for_it),
        TEST(test_what_is_at_a_place_is_tied_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
