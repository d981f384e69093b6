/* Returning a dead process's cells: each state a cell can be left in, and a supervisor killed after each step
 * of it. */
#include "tests/unit/ipc/small_run.h"

#include <signal.h>

#include "ipc/base/fault.h"
#include "ipc/batch.h"
#include "ipc/encoded.h"
#include "ipc/reclaim.h"

enum { READER = 31, DEAD = 32, ALIVE = 33 };

static struct im_reclaimed reclaim(struct small_run *s, uint32_t incarnation)
{
    struct im_reclaimed ret;

    im_reclaim(&s->run, &s->plan, incarnation, &ret);
    return ret;
}

/* Ticket 0 TAKEN by the dead. */
static struct im_place taken(struct small_run *s, struct im_encoded *e)
{
    struct im_place at;

    small_publish(s, READER, 0, 0);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, DEAD, e), 1);
    assert_int_equal(im_plan_place(&s->plan, e->ticket, &at), 0);
    return at;
}

static void test_filling_becomes_free_for_the_same_ticket(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    assert_int_equal(im_encoded_claim(&s->run, DEAD, UINT64_MAX, &e), 1);
    assert_false(im_encoded_must_compare(&s->run, &(struct im_encoded){.ticket = 1}));
    assert_int_equal(reclaim(s, DEAD).filling, 1);
    assert_true(im_encoded_must_compare(&s->run, &(struct im_encoded){.ticket = 1}));
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FREE, 0, 0));
}

static void test_taken_without_a_place_becomes_ready(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    taken(s, &e);
    assert_int_equal(reclaim(s, DEAD).taken, 1);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_READY, 0, 0));
}

static void test_writing_becomes_empty_and_its_ticket_ready(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;
    struct im_place at = taken(s, &e);
    struct im_reclaimed ret;

    assert_int_equal(im_batch_claim(&s->run, &at, DEAD), 0);
    ret = reclaim(s, DEAD);
    assert_int_equal(ret.writing, 1);
    assert_int_equal(ret.taken, 1);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_EMPTY, 0, at.batch));
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_READY, 0, 0));
}

static uint64_t ended(struct small_run *s, uint32_t cell)
{
    return atomic_load_explicit(&s->run.encoded_meta[cell].ended, memory_order_relaxed);
}

static void test_bytes_that_an_augmenter_ended_on_are_marked(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;
    struct im_place at = taken(s, &e);

    assert_int_equal(ended(s, 0), 0);
    reclaim(s, DEAD);
    assert_int_equal(ended(s, 0), 1);

    /* Committed: nobody takes them again. */
    small_publish(s, READER, 1, 1);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, ALIVE, &e), 1);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, DEAD, &e), 1);
    assert_int_equal(im_plan_place(&s->plan, e.ticket, &at), 0);
    assert_int_equal(im_batch_claim(&s->run, &at, DEAD), 0);
    assert_int_equal(im_batch_commit(&s->run, &at, DEAD), 0);
    reclaim(s, DEAD);
    assert_int_equal(ended(s, 1), 0);
}

static void test_taken_and_committed_is_given_to_the_readers(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;
    struct im_place at = taken(s, &e);

    assert_int_equal(im_batch_claim(&s->run, &at, DEAD), 0);
    assert_int_equal(im_batch_commit(&s->run, &at, DEAD), 0);
    assert_int_equal(reclaim(s, DEAD).done, 1);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FREE, 0, SMALL_CELLS));
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_DONE, 0, at.batch));
}

static void test_taken_committed_and_consumed_is_given_to_the_readers(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;
    struct im_place at = taken(s, &e);

    assert_int_equal(im_batch_claim(&s->run, &at, DEAD), 0);
    assert_int_equal(im_batch_commit(&s->run, &at, DEAD), 0);
    im_batch_free(&s->run, at.rank, at.batch);
    assert_int_equal(reclaim(s, DEAD).done, 1);
    assert_int_equal(small_encoded_word(s, 0), im_word(IM_FREE, 0, SMALL_CELLS));
}

static void test_cells_of_the_living_and_of_nobody_stay(void **state)
{
    struct small_run *s = *state;
    uint64_t before[SMALL_CELLS];
    struct im_encoded e;

    small_publish(s, READER, 0, 1);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, ALIVE, &e), 1);
    assert_int_equal(im_encoded_claim(&s->run, READER, UINT64_MAX, &e), 1);
    for (uint32_t i = 0; i < SMALL_CELLS; i++)
        before[i] = small_encoded_word(s, i);
    reclaim(s, DEAD);
    reclaim(s, 0);
    for (uint32_t i = 0; i < SMALL_CELLS; i++)
        assert_int_equal(small_encoded_word(s, i), before[i]);
}

static void test_a_returned_ticket_comes_before_younger_ones(void **state)
{
    struct small_run *s = *state;
    struct im_encoded e;

    taken(s, &e);
    small_publish(s, READER, 1, 2);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, ALIVE, &e), 1);
    reclaim(s, DEAD);
    assert_int_equal(im_encoded_take(&s->run, &s->plan, ALIVE, &e), 1);
    assert_int_equal(e.ticket, 0);
}

static void test_sleepers_are_woken(void **state)
{
    struct small_run *s = *state;
    struct im_control *c = s->run.control;
    uint32_t free = atomic_load_explicit(&c->event_free.sequence, memory_order_relaxed);
    uint32_t ready = atomic_load_explicit(&c->event_ready.sequence, memory_order_relaxed);
    uint32_t done = atomic_load_explicit(&c->event_done[1].sequence, memory_order_relaxed);

    reclaim(s, DEAD);
    assert_true(atomic_load_explicit(&c->event_free.sequence, memory_order_relaxed) != free);
    assert_true(atomic_load_explicit(&c->event_ready.sequence, memory_order_relaxed) != ready);
    assert_true(atomic_load_explicit(&c->event_done[1].sequence, memory_order_relaxed) != done);
}

/* The dead holds one cell of each kind: FILLING 3, TAKEN 0 and WRITING, TAKEN 1 and DONE, TAKEN 2. */
static void leave_everything(struct small_run *s)
{
    struct im_encoded e[3], filling;
    struct im_place at;

    im_run_reset(&s->run, &s->plan, 0);
    small_publish(s, READER, 0, 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(im_encoded_take(&s->run, &s->plan, DEAD, &e[i]), 1);
    assert_int_equal(im_plan_place(&s->plan, 0, &at), 0);
    assert_int_equal(im_batch_claim(&s->run, &at, DEAD), 0);
    assert_int_equal(im_plan_place(&s->plan, 1, &at), 0);
    assert_int_equal(im_batch_claim(&s->run, &at, DEAD), 0);
    assert_int_equal(im_batch_commit(&s->run, &at, DEAD), 0);
    assert_int_equal(im_encoded_claim(&s->run, DEAD, UINT64_MAX, &filling), 1);
    atomic_store_explicit(&filling.meta->slow_ns, 99, memory_order_relaxed);
}

static void check_everything_returned(struct small_run *s)
{
    struct im_place at;

    assert_int_equal(small_encoded_word(s, 0), im_word(IM_READY, 0, 0));
    assert_int_equal(small_encoded_word(s, 1), im_word(IM_FREE, 0, 1 + SMALL_CELLS));
    assert_int_equal(small_encoded_word(s, 2), im_word(IM_READY, 0, 2));
    assert_int_equal(small_encoded_word(s, 3), im_word(IM_FREE, 0, 3));
    assert_int_equal(atomic_load_explicit(&s->run.encoded_meta[3].slow_ns, memory_order_relaxed), 0);
    assert_int_equal(im_plan_place(&s->plan, 0, &at), 0);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_EMPTY, 0, at.batch));
    assert_int_equal(im_plan_place(&s->plan, 1, &at), 0);
    assert_int_equal(small_batch_word(s, at.rank, at.batch, at.place), im_word(IM_DONE, 0, at.batch));
}

static void test_twice_is_as_once(void **state)
{
    struct small_run *s = *state;
    struct im_reclaimed again;

    leave_everything(s);
    reclaim(s, DEAD);
    check_everything_returned(s);
    again = reclaim(s, DEAD);
    assert_int_equal(again.filling + again.writing + again.taken + again.done, 0);
    check_everything_returned(s);
}

struct interrupted {
    struct small_run *s;
    char rule[64];
};

static int reclaim_and_die(void *argument)
{
    struct interrupted *a = argument;

    if (im_fault_arm(a->rule, NULL) < 0)
        return 1;
    reclaim(a->s, DEAD);
    return 0;
}

/* Kills a supervisor at the point's first, second, ... passing until one comes through; a successor goes on
 * each time. */
static unsigned interrupt_at(struct small_run *s, const char *point)
{
    for (unsigned k = 1;; k++) {
        struct interrupted a = {.s = s};
        int status;

        snprintf(a.rule, sizeof a.rule, "%s=kill@%u", point, k);
        leave_everything(s);
        status = in_child(reclaim_and_die, &a);
        if (WIFEXITED(status)) {
            assert_int_equal(WEXITSTATUS(status), 0);
            return k - 1;
        }
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        reclaim(s, DEAD);
        check_everything_returned(s);
    }
}

static void test_a_supervisor_killed_after_any_step_is_continued(void **state)
{
    struct small_run *s = *state;

#ifndef IMSUPER_FAULTS
    skip();
#endif
    assert_int_equal(interrupt_at(s, "reclaim.sample"), 1);
    assert_int_equal(interrupt_at(s, "reclaim.encoded"), 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_filling_becomes_free_for_the_same_ticket),
        TEST(test_taken_without_a_place_becomes_ready),
        TEST(test_writing_becomes_empty_and_its_ticket_ready),
        TEST(test_bytes_that_an_augmenter_ended_on_are_marked),
        TEST(test_taken_and_committed_is_given_to_the_readers),
        TEST(test_taken_committed_and_consumed_is_given_to_the_readers),
        TEST(test_cells_of_the_living_and_of_nobody_stay),
        TEST(test_a_returned_ticket_comes_before_younger_ones),
        TEST(test_sleepers_are_woken),
        TEST(test_twice_is_as_once),
        TEST(test_a_supervisor_killed_after_any_step_is_continued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
