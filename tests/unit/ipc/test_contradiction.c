/* Rings that work never contradict each other, whatever was moved; a word changed from outside is found where a ticket
 * would be lost or wait for ever. */
#include "ipc/contradiction.h"

#include "ipc/batch.h"
#include "ipc/cell_word.h"
#include "ipc/encoded.h"
#include "tests/unit/ipc/small_run.h"

enum { READER = 11, AUGMENTER = 21 };

static bool lives(void *context, enum im_role role, uint32_t incarnation)
{
    (void)context;
    return incarnation == (role == IM_ROLE_READER ? READER : AUGMENTER);
}

static bool contradicts(struct small_run *s, uint64_t batch)
{
    struct im_text text = {""};
    bool found = im_run_contradicts(&s->run, &s->plan, batch, lives, NULL, &text);

    assert_int_equal(found, text.s[0] != 0);
    return found;
}

/* One ticket from FREE to DONE and its cell to the next; each step must be sound. */
static void deliver(struct small_run *s, uint64_t batch)
{
    struct im_encoded e;
    struct im_place at;

    assert_int_equal(im_encoded_claim(&s->run, READER, s->plan.tickets, &e), 1);
    assert_false(contradicts(s, batch));
    assert_int_equal(im_encoded_publish(&s->run, READER, &e), 0);
    assert_false(contradicts(s, batch));
    assert_int_equal(im_encoded_take(&s->run, &s->plan, AUGMENTER, &e), 1);
    assert_false(contradicts(s, batch));
    assert_int_equal(im_plan_place(&s->plan, e.ticket, &at), 0);
    assert_int_equal(im_batch_claim(&s->run, &at, AUGMENTER), 0);
    assert_false(contradicts(s, batch));
    assert_int_equal(im_batch_commit(&s->run, &at, AUGMENTER), 0);
    assert_false(contradicts(s, batch));
    assert_int_equal(im_encoded_release(&s->run, AUGMENTER, &e), 0);
    assert_false(contradicts(s, batch));
}

static void test_a_whole_run_is_sound_at_every_step(void **state)
{
    struct small_run *s = *state;

    for (uint64_t batch = 0; batch < s->plan.batches; batch++) {
        for (uint32_t n = im_plan_step_count(&s->plan, batch); n > 0; n--)
            deliver(s, batch);
        for (uint32_t rank = 0; rank < SMALL_RANKS; rank++) {
            im_batch_free(&s->run, rank, batch);
            assert_false(contradicts(s, batch)); /* freed early, before the position says so */
        }
    }
    assert_false(contradicts(s, s->plan.batches));
}

/* A GPU's step goes on for long after its batch was given back; augmenters fill the slot meanwhile. */
static void test_a_batch_given_back_in_its_step_may_be_filled_for_its_next_turn(void **state)
{
    struct small_run *s = *state;
    const uint64_t turn = s->run.geometry.batches;
    uint64_t tickets = 0;

    for (uint64_t batch = 0; batch <= turn; batch++) {
        for (uint32_t n = im_plan_step_count(&s->plan, batch); n > 0; n--, tickets++)
            deliver(s, 0);
        for (uint32_t rank = 0; rank < SMALL_RANKS && batch == turn - 1; rank++) {
            im_batch_free(&s->run, rank, 0);
            assert_false(contradicts(s, 0));
        }
    }
    assert_true(tickets > 0 && s->plan.batches > turn);
    /* One place alone of a later turn is none that was given back. */
    im_run_reset(&s->run, &s->plan, 0);
    atomic_store_explicit(im_run_batch_word(&s->run, 0, 0, 0), im_word(IM_EMPTY, 0, turn),
                          memory_order_release);
    assert_true(contradicts(s, 0));
}

/* With a bit of the word changed, at most one of the changes that stay harmless is not found. */
static void check_bits(struct small_run *s, _Atomic uint64_t *word, uint64_t batch, uint64_t harmless)
{
    for (int bit = 0; bit < 64; bit++) {
        atomic_fetch_xor(word, UINT64_C(1) << bit);
        if (!(harmless >> bit & 1) && !contradicts(s, batch))
            fail_msg("bit %d was not found", bit);
        atomic_fetch_xor(word, UINT64_C(1) << bit);
    }
    assert_false(contradicts(s, batch));
}

static void test_each_changed_bit_of_a_waiting_cell_is_found(void **state)
{
    struct small_run *s = *state;

    small_publish(s, READER, 0, 1); /* cells 0 and 1 READY, 2 and 3 FREE */
    /* State: FREE with its lowest bit changed is no state; READY(t) as FREE-like states loses its bytes, and is read
     * again: FREE = 1, FILLING = 2, READY = 3, so bit 61 makes READY FREE. */
    check_bits(s, &s->run.encoded_word[1], 0, UINT64_C(1) << 61);
    check_bits(s, &s->run.encoded_word[2], 0,
               UINT64_C(1) << 61); /* FREE as READY: its hash is wrong, read again */
}

static void test_each_changed_bit_of_a_place_is_found(void **state)
{
    struct small_run *s = *state;

    deliver(s, 0);
    /* The place of ticket 0 is DONE; as EMPTY(0) its ticket would be lost. */
    check_bits(s, im_run_batch_word(&s->run, 0, 0, 0), 0, 0);
    /* That of ticket 1 is EMPTY; DONE too early is what its check finds. EMPTY = 9, DONE = 11. */
    check_bits(s, im_run_batch_word(&s->run, 1, 0, 0), 0, 0);
}

static void test_a_holder_that_does_not_live_is_found(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    assert_int_equal(im_encoded_claim(&s->run, READER + 1, s->plan.tickets, &e), 1);
    assert_true(contradicts(s, 0));
}

static void test_a_lost_ticket_is_found(void **state)
{
    struct small_run *s = *state;

    atomic_store_explicit(&s->run.encoded_word[1], im_word(IM_FREE, 0, 1 + SMALL_CELLS),
                          memory_order_release);
    assert_true(contradicts(s, 0));
    im_run_reset(&s->run, &s->plan, 0);
    assert_false(contradicts(s, 0));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_whole_run_is_sound_at_every_step),
        TEST(test_a_batch_given_back_in_its_step_may_be_filled_for_its_next_turn),
        TEST(test_each_changed_bit_of_a_waiting_cell_is_found),
        TEST(test_each_changed_bit_of_a_place_is_found),
        TEST(test_a_holder_that_does_not_live_is_found),
        TEST(test_a_lost_ticket_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
