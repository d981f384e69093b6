/* The ledger must notice each way in which a pass can be wrong. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>

#include "ipc/ledger.h"

static const uint32_t good[SMALL_TRAIN];

/* Enters samples first .. last of training as phase `phase`. */
static void enter(struct small_run *s, uint32_t phase, uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++)
        assert_int_equal(im_ledger_enter(&s->run, IM_TRAIN, phase, &i, good, 1), 0);
}

/* Ends it, entered from sample `from` on in a start of the run that began at `start`. */
static bool end(struct small_run *s, uint32_t phase, uint64_t start, uint64_t from)
{
    const struct im_ledger_pass pass = {.phase = phase, .start = start, .from = from, .total = SMALL_TRAIN};

    return im_ledger_end(&s->run, IM_TRAIN, &pass);
}

static uint64_t read_word(_Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_relaxed);
}

static void test_each_sample_once_is_exact(void **state)
{
    struct small_run *s = *state;
    struct im_ledger *l = &s->run.control->ledger[IM_TRAIN];

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, SMALL_TRAIN - 1);
    assert_true(end(s, 0, 0, 0));
    assert_int_equal(read_word(&l->phases), 1);
    assert_int_equal(read_word(&l->phases_exact), 1);
    assert_int_equal(read_word(&l->total_delivered), SMALL_TRAIN);
}

static void test_a_duplicate_is_noticed_although_the_count_is_right(void **state)
{
    struct small_run *s = *state;

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, SMALL_TRAIN - 2);
    enter(s, 0, 5, 5);
    assert_int_equal(read_word(&s->run.control->ledger[IM_TRAIN].duplicates), 1);
    assert_false(end(s, 0, 0, 0));
    assert_int_equal(read_word(&s->run.control->ledger[IM_TRAIN].phases_exact), 0);
}

static void test_a_missing_sample_is_noticed(void **state)
{
    struct small_run *s = *state;

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 1, SMALL_TRAIN - 1);
    assert_false(end(s, 0, 0, 0));
}

static void test_one_sample_too_many_is_noticed(void **state)
{
    struct small_run *s = *state;

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, SMALL_TRAIN - 1);
    enter(s, 0, 3, 3);
    assert_false(end(s, 0, 0, 0));
}

static void test_a_pass_can_be_continued_from_its_middle(void **state)
{
    struct small_run *s = *state;

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 4, 12, SMALL_TRAIN - 1);
    assert_true(end(s, 4, 12, 12));
    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 6, 13, SMALL_TRAIN - 1);
    assert_false(end(s, 6, 12, 12));
}

static void test_the_same_sample_in_the_next_pass_is_no_duplicate(void **state)
{
    struct small_run *s = *state;

    for (uint32_t phase = 0; phase < 3; phase++) {
        im_ledger_begin(&s->run, IM_TRAIN);
        enter(s, phase, 0, SMALL_TRAIN - 1);
        assert_true(end(s, phase, 0, 0));
    }
}

static void test_splits_do_not_mix(void **state)
{
    struct small_run *s = *state;
    const uint64_t sample = 2;

    im_ledger_begin(&s->run, IM_TRAIN);
    im_ledger_begin(&s->run, IM_VAL);
    assert_int_equal(im_ledger_enter(&s->run, IM_TRAIN, 0, &sample, good, 1), 0);
    assert_int_equal(im_ledger_enter(&s->run, IM_VAL, 0, &sample, good, 1), 0);
    assert_int_equal(read_word(&s->run.control->ledger[IM_VAL].duplicates), 0);
}

static void test_bad_samples_are_counted_and_still_delivered(void **state)
{
    struct small_run *s = *state;
    const uint64_t samples[] = {0, 1, 2};
    const uint32_t verdicts[] = {0, 4, 0};

    im_ledger_begin(&s->run, IM_VAL);
    assert_int_equal(im_ledger_enter(&s->run, IM_VAL, 1, samples, verdicts, 3), 0);
    assert_int_equal(read_word(&s->run.control->ledger[IM_VAL].bad), 1);
    assert_int_equal(read_word(&s->run.control->ledger[IM_VAL].delivered), 3);
}

static void test_an_id_that_is_no_sample_is_refused(void **state)
{
    struct small_run *s = *state;
    const uint64_t none[] = {SMALL_VAL, UINT64_MAX};

    assert_int_equal(im_ledger_enter(&s->run, IM_VAL, 0, &none[0], good, 1), -EBADMSG);
    assert_int_equal(im_ledger_enter(&s->run, IM_VAL, 0, &none[1], good, 1), -EBADMSG);
}

static void test_a_reset_forgets_the_pass_under_way(void **state)
{
    struct small_run *s = *state;

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, 20);
    im_run_reset(&s->run, &s->plan, 0);
    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, SMALL_TRAIN - 1);
    assert_true(end(s, 0, 0, 0));
}

/* A trainer dies at sample 20 of a pass and the next one continues at 16: all samples were delivered by this start. */
static void test_what_dead_trainers_delivered_counts(void **state)
{
    struct small_run *s = *state;
    struct im_ledger *l = &s->run.control->ledger[IM_TRAIN];

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, 19);
    im_run_reset(&s->run, &s->plan, 2);
    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 16, SMALL_TRAIN - 1);
    assert_true(end(s, 0, 0, 16));
    assert_int_equal(read_word(&l->total_delivered), SMALL_TRAIN);
}

/* The same where this start continued the run at 8. */
static void test_what_an_earlier_start_delivered_does_not_count(void **state)
{
    struct small_run *s = *state;
    struct im_ledger *l = &s->run.control->ledger[IM_TRAIN];

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 16, SMALL_TRAIN - 1);
    assert_true(end(s, 0, 8, 16));
    assert_int_equal(read_word(&l->total_delivered), SMALL_TRAIN - 8);
}

static void test_a_pass_that_ends_again_counts_once(void **state)
{
    struct small_run *s = *state;
    struct im_ledger *l = &s->run.control->ledger[IM_TRAIN];

    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 0, SMALL_TRAIN - 1);
    assert_true(end(s, 0, 0, 0));
    im_run_reset(&s->run, &s->plan, 2);
    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 16, SMALL_TRAIN - 1);
    assert_true(end(s, 0, 0, 16));
    assert_int_equal(read_word(&l->phases), 1);
    assert_int_equal(read_word(&l->phases_exact), 1);
    assert_int_equal(read_word(&l->total_delivered), SMALL_TRAIN);
    /* and a third time, with a sample lost */
    im_run_reset(&s->run, &s->plan, 2);
    im_ledger_begin(&s->run, IM_TRAIN);
    enter(s, 0, 17, SMALL_TRAIN - 1);
    assert_false(end(s, 0, 0, 16));
    assert_int_equal(read_word(&l->phases), 2);
    assert_int_equal(read_word(&l->phases_exact), 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_sample_once_is_exact),
        TEST(test_a_duplicate_is_noticed_although_the_count_is_right),
        TEST(test_a_missing_sample_is_noticed),
        TEST(test_one_sample_too_many_is_noticed),
        TEST(test_a_pass_can_be_continued_from_its_middle),
        TEST(test_the_same_sample_in_the_next_pass_is_no_duplicate),
        TEST(test_splits_do_not_mix),
        TEST(test_bad_samples_are_counted_and_still_delivered),
        TEST(test_an_id_that_is_no_sample_is_refused),
        TEST(test_a_reset_forgets_the_pass_under_way),
        TEST(test_what_dead_trainers_delivered_counts),
        TEST(test_what_an_earlier_start_delivered_does_not_count),
        TEST(test_a_pass_that_ends_again_counts_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
