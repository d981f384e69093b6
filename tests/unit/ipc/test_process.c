/* The process table: NONE -> SPAWN -> RUN -> DEAD -> NONE, and nobody in anybody else's place. */
#include "tests/unit/ipc/small_run.h"

#include <errno.h>
#include <pthread.h>

#include "ipc/cell_word.h"
#include "ipc/process.h"

enum { INDEX = 1 };

static uint32_t slot_of(const struct small_run *s)
{
    return im_run_slot(&s->run, IM_ROLE_AUGMENTER, INDEX);
}

static uint32_t announce(struct small_run *s)
{
    return im_process_announce(&s->run, IM_ROLE_AUGMENTER, INDEX);
}

static int32_t pid_of(const struct small_run *s)
{
    return atomic_load_explicit(&s->run.process[slot_of(s)].pid, memory_order_acquire);
}

static void test_a_life_from_announcement_to_clearing(void **state)
{
    struct small_run *s = *state;
    uint32_t slot = slot_of(s), me = announce(s);

    assert_int_equal(im_process_state(&s->run, slot), IM_PROCESS_SPAWN);
    assert_int_equal(im_process_incarnation(&s->run, slot), me);
    assert_false(im_process_is_current(&s->run, slot, me));
    assert_int_equal(im_process_enter(&s->run, slot, me), 0);
    assert_int_equal(im_process_state(&s->run, slot), IM_PROCESS_RUN);
    assert_true(im_process_is_current(&s->run, slot, me));
    assert_int_equal(pid_of(s), getpid());
    assert_int_equal(im_process_mark_dead(&s->run, slot, me), 0);
    assert_int_equal(im_process_state(&s->run, slot), IM_PROCESS_DEAD);
    assert_false(im_process_is_current(&s->run, slot, me));
    im_process_clear(&s->run, slot);
    assert_int_equal(im_process_state(&s->run, slot), IM_PROCESS_NONE);
    assert_int_equal(pid_of(s), 0);
}

static void test_incarnations_are_never_reused(void **state)
{
    struct small_run *s = *state;
    uint32_t last = 0;

    for (int i = 0; i < 1000; i++) {
        uint32_t now = announce(s);

        assert_true(now > last);
        last = now;
        im_process_mark_dead(&s->run, slot_of(s), now);
        im_process_clear(&s->run, slot_of(s));
    }
}

static void test_incarnations_end_and_do_not_wrap(void **state)
{
    struct small_run *s = *state;

    atomic_store_explicit(&s->run.control->next_incarnation, IM_OWNER_MAX, memory_order_relaxed);
    assert_int_equal(announce(s), IM_OWNER_MAX);
    for (int i = 0; i < 10; i++)
        assert_int_equal(announce(s), 0);
    atomic_store_explicit(&s->run.control->next_incarnation, UINT32_MAX, memory_order_relaxed); /* damage */
    for (int i = 0; i < 10; i++)
        assert_int_equal(announce(s), 0);
}

static void test_a_child_that_is_late_loses_and_leaves_its_successor_alone(void **state)
{
    struct small_run *s = *state;
    uint32_t slot = slot_of(s), late = announce(s), successor;

    im_process_mark_dead(&s->run, slot, late);
    assert_int_equal(im_process_enter(&s->run, slot, late), -ESTALE);
    im_process_clear(&s->run, slot);
    assert_int_equal(im_process_enter(&s->run, slot, late), -ESTALE);
    successor = announce(s);
    assert_int_equal(im_process_enter(&s->run, slot, late), -ESTALE);
    assert_int_equal(im_process_incarnation(&s->run, slot), successor);
    assert_int_equal(pid_of(s), 0);
    assert_int_equal(im_process_enter(&s->run, slot, successor), 0);
}

static void test_entering_twice_is_stale(void **state)
{
    struct small_run *s = *state;
    uint32_t me = announce(s);

    assert_int_equal(im_process_enter(&s->run, slot_of(s), me), 0);
    assert_int_equal(im_process_enter(&s->run, slot_of(s), me), -ESTALE);
}

static void test_only_the_current_incarnation_can_be_marked_dead(void **state)
{
    struct small_run *s = *state;
    uint32_t slot = slot_of(s), old = announce(s), now;

    im_process_mark_dead(&s->run, slot, old);
    im_process_clear(&s->run, slot);
    assert_int_equal(im_process_mark_dead(&s->run, slot, old), -ESTALE);
    assert_int_equal(im_process_mark_dead(&s->run, slot, 0), -ESTALE);
    now = announce(s);
    assert_int_equal(im_process_mark_dead(&s->run, slot, old), -ESTALE);
    assert_int_equal(im_process_state(&s->run, slot), IM_PROCESS_SPAWN);
    assert_int_equal(im_process_mark_dead(&s->run, slot, now), 0);
    assert_int_equal(im_process_mark_dead(&s->run, slot, now),
                     0); /* a successor of the supervisor says it again */
}

static void test_an_announcement_clears_what_the_predecessor_left(void **state)
{
    struct small_run *s = *state;
    struct im_process *p = &s->run.process[slot_of(s)];

    atomic_store_explicit(&p->active_ticket, 77, memory_order_relaxed);
    atomic_store_explicit(&p->active_since_ns, 78, memory_order_relaxed);
    atomic_store_explicit(&p->position, 79, memory_order_relaxed);
    atomic_store_explicit(&p->ready_ns, 80, memory_order_relaxed);
    atomic_store_explicit(&p->start_time, 81, memory_order_relaxed);
    atomic_store_explicit(&p->turned_ns, 82, memory_order_relaxed);
    atomic_store_explicit(&p->waiting_ns, 83, memory_order_relaxed);
    atomic_store_explicit(&p->slow_reads, 84, memory_order_relaxed);
    atomic_store_explicit(&p->failed, 85, memory_order_relaxed);
    announce(s);
    assert_int_equal(atomic_load_explicit(&p->turned_ns, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->waiting_ns, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->slow_reads, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->failed, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->active_ticket, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->active_since_ns, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->position, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->ready_ns, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&p->start_time, memory_order_relaxed), 0);
    assert_int_equal(p->role, IM_ROLE_AUGMENTER);
    assert_int_equal(p->index, INDEX);
}

static void *enter(void *argument)
{
    struct small_run *s = argument;

    return im_process_enter(&s->run, slot_of(s), im_process_incarnation(&s->run, slot_of(s))) == 0 ? s : NULL;
}

static void test_entering_races_with_marking_dead_and_one_of_them_wins(void **state)
{
    struct small_run *s = *state;

    for (int i = 0; i < 300; i++) {
        uint32_t me = announce(s);
        pthread_t thread;
        void *won;

        assert_int_equal(pthread_create(&thread, NULL, enter, s), 0);
        assert_int_equal(im_process_mark_dead(&s->run, slot_of(s), me), 0);
        pthread_join(thread, &won);
        assert_int_equal(im_process_state(&s->run, slot_of(s)), IM_PROCESS_DEAD);
        im_process_clear(&s->run, slot_of(s));
    }
}

static int same_start_time_twice(void *argument)
{
    uint64_t one = im_process_start_time(getpid());

    (void)argument;
    return one != 0 && one == im_process_start_time(getpid()) ? 0 : 1;
}

static void test_start_time_tells_processes_apart_and_the_dead(void **state)
{
    pid_t gone;

    (void)state;
    assert_int_equal(in_child(same_start_time_twice, NULL), 0);
    assert_true(im_process_start_time(getpid()) > im_process_start_time(1) || getpid() == 1);
    gone = fork();
    if (gone == 0)
        _exit(0);
    assert_int_equal(waitpid(gone, NULL, 0), gone);
    assert_int_equal(im_process_start_time(gone), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, small_setup, small_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_life_from_announcement_to_clearing),
        TEST(test_incarnations_are_never_reused),
        TEST(test_incarnations_end_and_do_not_wrap),
        TEST(test_a_child_that_is_late_loses_and_leaves_its_successor_alone),
        TEST(test_entering_twice_is_stale),
        TEST(test_only_the_current_incarnation_can_be_marked_dead),
        TEST(test_an_announcement_clears_what_the_predecessor_left),
        TEST(test_entering_races_with_marking_dead_and_one_of_them_wins),
        TEST(test_start_time_tells_processes_apart_and_the_dead),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
