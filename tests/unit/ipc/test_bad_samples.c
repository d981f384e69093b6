/* The table of bad samples and the quarantine. */
#include "tests/unit/ipc/small_run.h"

#include "ipc/bad_samples.h"
#include "ipc/base/verdict.h"

static struct im_bad_entry *entry(struct small_run *s, uint32_t i)
{
    return &s->run.bad_sample[i];
}

static uint32_t used(struct small_run *s)
{
    uint32_t n = 0;

    while (n < IM_BAD_MAX && atomic_load_explicit(&entry(s, n)->key, memory_order_relaxed) != 0)
        n++;
    return n;
}

static void test_a_sample_is_told_once_and_counted_always(void **state)
{
    struct small_run *s = *state;

    for (int i = 0; i < 5; i++)
        im_bad_record(&s->run, im_bad_key(IM_TRAIN, 7), 4, "train/n01/x.JPEG");
    assert_int_equal(used(s), 1);
    assert_int_equal(atomic_load_explicit(&entry(s, 0)->count, memory_order_relaxed), 5);
    assert_int_equal(atomic_load_explicit(&entry(s, 0)->verdict, memory_order_acquire), 4);
    assert_string_equal(entry(s, 0)->name, "train/n01/x.JPEG");
}

static void test_the_same_id_of_another_split_is_another_sample(void **state)
{
    struct small_run *s = *state;

    im_bad_record(&s->run, im_bad_key(IM_TRAIN, 0), 1, "a");
    im_bad_record(&s->run, im_bad_key(IM_VAL, 0), 1, "b");
    assert_int_equal(used(s), 2);
}

static void test_an_entry_whose_writer_died_is_completed_by_the_next(void **state)
{
    struct small_run *s = *state;

    atomic_store_explicit(&entry(s, 0)->key, im_bad_key(IM_TRAIN, 3),
                          memory_order_relaxed); /* claimed, then killed */
    im_bad_record(&s->run, im_bad_key(IM_TRAIN, 9), 2, "nine");
    im_bad_record(&s->run, im_bad_key(IM_TRAIN, 3), 5, "three");
    assert_int_equal(used(s), 2);
    assert_int_equal(atomic_load_explicit(&entry(s, 0)->verdict, memory_order_acquire), 5);
    assert_string_equal(entry(s, 0)->name, "three");
}

static void test_more_than_fit_are_counted(void **state)
{
    struct small_run *s = *state;

    for (uint64_t i = 0; i < IM_BAD_MAX + 10; i++)
        im_bad_record(&s->run, im_bad_key(IM_TRAIN, i), 1, "x");
    assert_int_equal(used(s), IM_BAD_MAX);
    assert_int_equal(atomic_load_explicit(&s->run.control->bad_overflow, memory_order_relaxed), 10);
    im_bad_record(&s->run, im_bad_key(IM_TRAIN, 5), 1, "x"); /* known: no overflow */
    assert_int_equal(atomic_load_explicit(&s->run.control->bad_overflow, memory_order_relaxed), 10);
}

static void test_a_name_without_end_is_cut(void **state)
{
    struct small_run *s = *state;
    char *name = malloc(IM_NAME_BYTES); /* AddressSanitizer sees a read past it */

    memset(name, 'n', IM_NAME_BYTES);
    im_bad_record(&s->run, im_bad_key(IM_TRAIN, 0), 1, name);
    assert_int_equal(strlen(entry(s, 0)->name), IM_NAME_BYTES - 1);
    free(name);
}

static void test_quarantine_is_by_split_and_sample(void **state)
{
    struct small_run *s = *state;
    struct im_control *c = s->run.control;

    assert_false(im_bad_is_quarantined(&s->run, im_bad_key(IM_TRAIN, 0)));
    atomic_store_explicit(&c->quarantine[0], im_bad_quarantine_word(im_bad_key(IM_TRAIN, 6)),
                          memory_order_relaxed);
    assert_false(im_bad_is_quarantined(&s->run, im_bad_key(IM_TRAIN, 6)));
    atomic_store_explicit(&c->quarantine_count, 1, memory_order_release);
    assert_true(im_bad_is_quarantined(&s->run, im_bad_key(IM_TRAIN, 6)));
    assert_false(im_bad_is_quarantined(&s->run, im_bad_key(IM_VAL, 6)));
    assert_true(im_bad_quarantine(&s->run, im_bad_key(IM_VAL, 6), IM_VERDICT_MEMORY_LIMIT));
    assert_int_equal(im_bad_is_quarantined(&s->run, im_bad_key(IM_VAL, 6)), IM_VERDICT_MEMORY_LIMIT);
    assert_int_equal(im_bad_is_quarantined(&s->run, im_bad_key(IM_TRAIN, 6)), IM_VERDICT_KILLED);
    for (uint64_t i = 2; i < IM_QUARANTINE_MAX; i++)
        assert_true(im_bad_quarantine(&s->run, im_bad_key(IM_VAL, 100 + i), IM_VERDICT_KILLED));
    assert_false(im_bad_quarantine(&s->run, im_bad_key(IM_VAL, 7), IM_VERDICT_KILLED));
    assert_false(im_bad_is_quarantined(&s->run, im_bad_key(IM_VAL, 7)));
}

static void test_a_damaged_quarantine_count_reads_no_further_than_the_table(void **state)
{
    struct small_run *s = *state;

    atomic_store_explicit(&s->run.control->quarantine_count, UINT32_MAX, memory_order_release);
    assert_false(im_bad_is_quarantined(&s->run, im_bad_key(IM_TRAIN, 6)));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_sample_is_told_once_and_counted_always),
        TEST(test_the_same_id_of_another_split_is_another_sample),
        TEST(test_an_entry_whose_writer_died_is_completed_by_the_next),
        TEST(test_more_than_fit_are_counted),
        TEST(test_a_name_without_end_is_cut),
        TEST(test_quarantine_is_by_split_and_sample),
        TEST(test_a_damaged_quarantine_count_reads_no_further_than_the_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
