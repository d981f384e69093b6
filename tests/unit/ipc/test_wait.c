/* Sleeping and waking: nothing is lost that both sides live to see, and what a death takes along
 * costs one bound. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>

#include "ipc/wait.h"
#include "tests/unit/ipc/base/unit.h"

enum { HOPS = 100000 };

struct table {
    struct im_event ping, pong;
    _Atomic uint32_t ball;    /* even: ours to hit; odd: theirs */
    _Atomic uint32_t told;    /* the last ball whose signal has been given ... */
    _Atomic uint64_t told_at; /* ... and when it had been */
    _Atomic uint32_t lost;
};

static int map_table(void **state)
{
    *state = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return *state == MAP_FAILED ? -1 : 0;
}

static int unmap_table(void **state)
{
    return munmap(*state, sizeof(struct table));
}

static void hit(struct table *t, struct im_event *theirs, uint32_t ball)
{
    atomic_store_explicit(&t->ball, ball + 1, memory_order_release);
    im_event_signal(theirs, 1);
    atomic_store_explicit(&t->told_at, im_now(), memory_order_relaxed);
    atomic_store_explicit(&t->told, ball + 1, memory_order_release);
}

/* A wait that began at `began` ran out, although the signal for the ball that it waited for had been given
 * before it could: however long a busy machine kept either of us from running. */
static bool is_lost(struct table *t, uint32_t parity, im_ns began)
{
    uint32_t ball = atomic_load_explicit(&t->ball, memory_order_acquire);

    return ball % 2 == parity && atomic_load_explicit(&t->told, memory_order_acquire) == ball &&
           atomic_load_explicit(&t->told_at, memory_order_relaxed) < began + IM_WAIT_MAX_NS;
}

/* Hits the ball `hops` times whenever it has our parity. */
static void play(struct table *t, struct im_event *mine, struct im_event *theirs, uint32_t parity,
                 uint32_t hops)
{
    for (uint32_t hop = 0; hop < hops;) {
        uint32_t seen = im_event_look(mine);
        uint32_t ball = atomic_load_explicit(&t->ball, memory_order_acquire);
        im_ns began;

        if (ball % 2 == parity) {
            hit(t, theirs, ball);
            hop++;
            continue;
        }
        began = im_now();
        if (im_event_wait(mine, seen, IM_SECOND) && is_lost(t, parity, began))
            atomic_fetch_add_explicit(&t->lost, 1, memory_order_relaxed);
    }
}

static void *play_odd(void *argument)
{
    struct table *t = argument;

    play(t, &t->pong, &t->ping, 1, HOPS);
    return NULL;
}

static int play_odd_process(void *argument)
{
    play_odd(argument);
    return 0;
}

static void check_table(const struct table *t)
{
    assert_int_equal(atomic_load_explicit(&t->ball, memory_order_relaxed), 2 * HOPS);
    assert_int_equal(atomic_load_explicit(&t->lost, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&t->ping.waiters, memory_order_relaxed), 0);
    assert_int_equal(atomic_load_explicit(&t->pong.waiters, memory_order_relaxed), 0);
}

static void test_no_wake_is_lost_between_two_threads(void **state)
{
    struct table *t = *state;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, play_odd, t), 0);
    play(t, &t->ping, &t->pong, 0, HOPS);
    pthread_join(thread, NULL);
    check_table(t);
}

static void test_no_wake_is_lost_between_two_processes(void **state)
{
    struct table *t = *state;
    pid_t pid = fork();
    int status;

    if (pid == 0)
        _exit(play_odd_process(t));
    play(t, &t->ping, &t->pong, 0, HOPS);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    check_table(t);
}

static im_ns timed_wait(struct im_event *e, uint32_t seen, im_ns timeout)
{
    im_ns began = im_now();

    im_event_wait(e, seen, timeout);
    return im_now() - began;
}

static void test_a_wait_ends_at_its_bound_however_long_was_asked(void **state)
{
    struct table *t = *state;

    assert_in_range(timed_wait(&t->ping, im_event_look(&t->ping), 3600 * IM_SECOND), IM_WAIT_MAX_NS,
                    IM_SECOND);
    assert_in_range(timed_wait(&t->ping, im_event_look(&t->ping), UINT64_MAX), IM_WAIT_MAX_NS, IM_SECOND);
}

static void test_a_shorter_wait_is_shorter(void **state)
{
    struct table *t = *state;
    im_ns shortest = IM_SECOND;

    for (int i = 0; i < 5; i++) {
        im_ns took = timed_wait(&t->ping, im_event_look(&t->ping), 2 * IM_MS);

        assert_true(took >= 2 * IM_MS);
        shortest = took < shortest ? took : shortest;
    }
    assert_true(shortest < IM_WAIT_MAX_NS);
    timed_wait(&t->ping, im_event_look(&t->ping), 0);
}

static void test_a_signal_before_the_wait_is_not_slept_over(void **state)
{
    struct table *t = *state;
    im_ns shortest = IM_SECOND;

    for (int i = 0; i < 5; i++) {
        uint32_t seen = im_event_look(&t->ping);
        im_ns took;

        im_event_signal(&t->ping, 1);
        took = timed_wait(&t->ping, seen, IM_WAIT_MAX_NS);
        shortest = took < shortest ? took : shortest;
    }
    assert_true(shortest < 10 * IM_MS);
}

static _Noreturn void wait_for_ever(struct table *t)
{
    for (;;)
        im_event_wait(&t->ping, im_event_look(&t->ping), IM_WAIT_MAX_NS);
}

/* The killed stays counted: its wakers then make a system call too many, and that is all. */
static void test_a_killed_waiter_harms_nobody(void **state)
{
    struct table *t = *state;
    pid_t pid = fork();

    if (pid == 0)
        wait_for_ever(t);
    while (atomic_load_explicit(&t->ping.waiters, memory_order_acquire) == 0)
        sched_yield();
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_in_range(atomic_load_explicit(&t->ping.waiters, memory_order_relaxed), 0, 1);
    im_event_broadcast(&t->ping);
    atomic_store_explicit(&t->ping.waiters, 0, memory_order_relaxed);
}

static void *publish_and_die(void *argument)
{
    struct table *t = argument;

    atomic_store_explicit(&t->ball, 1, memory_order_release); /* and no signal: the waker was killed here */
    return NULL;
}

static void test_a_wake_that_died_with_its_waker_costs_one_bound(void **state)
{
    struct table *t = *state;
    uint32_t seen = im_event_look(&t->ping);
    im_ns began = im_now();
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, publish_and_die, t), 0);
    while (atomic_load_explicit(&t->ball, memory_order_acquire) == 0)
        im_event_wait(&t->ping, seen, 3600 * IM_SECOND);
    assert_in_range(im_now() - began, 0, IM_SECOND);
    pthread_join(thread, NULL);
}

static void *wait_for_ball(void *argument)
{
    struct table *t = argument;

    for (;;) {
        uint32_t seen = im_event_look(&t->ping);

        if (atomic_load_explicit(&t->ball, memory_order_acquire) != 0)
            return NULL;
        im_event_wait(&t->ping, seen, IM_WAIT_MAX_NS);
    }
}

static void test_a_broadcast_wakes_all(void **state)
{
    struct table *t = *state;
    pthread_t thread[4];

    for (size_t i = 0; i < IM_COUNT(thread); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, wait_for_ball, t), 0);
    while (atomic_load_explicit(&t->ping.waiters, memory_order_acquire) < IM_COUNT(thread))
        sched_yield();
    atomic_store_explicit(&t->ball, 1, memory_order_release);
    im_event_broadcast(&t->ping);
    for (size_t i = 0; i < IM_COUNT(thread); i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load_explicit(&t->ping.waiters, memory_order_relaxed), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, map_table, unmap_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_no_wake_is_lost_between_two_threads),
        TEST(test_no_wake_is_lost_between_two_processes),
        TEST(test_a_wait_ends_at_its_bound_however_long_was_asked),
        TEST(test_a_shorter_wait_is_shorter),
        TEST(test_a_signal_before_the_wait_is_not_slept_over),
        TEST(test_a_killed_waiter_harms_nobody),
        TEST(test_a_wake_that_died_with_its_waker_costs_one_bound),
        TEST(test_a_broadcast_wakes_all),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
