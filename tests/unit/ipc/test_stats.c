/* Statistics: one writer, readers at any time. */
#include <pthread.h>

#include "ipc/stats.h"
#include "tests/unit/ipc/base/unit.h"

static int make_stats(void **state)
{
    *state = aligned_alloc(IM_PAGE, sizeof(struct im_stats));
    if (*state)
        memset(*state, 0, sizeof(struct im_stats));
    return *state ? 0 : -1;
}

static int free_stats(void **state)
{
    free(*state);
    return 0;
}

static void test_counters_and_gauges_read_back(void **state)
{
    struct im_stats *s = *state;
    struct im_stats_view view;

    im_stats_add(s, IM_C_SAMPLES, 3);
    im_stats_add(s, IM_C_SAMPLES, 4);
    im_stats_gauge(s, IM_G_LOSS, -0.125);
    im_stats_read(s, im_now(), &view);
    assert_int_equal(view.counter[IM_C_SAMPLES], 7);
    assert_int_equal(view.counter[IM_C_BYTES], 0);
    assert_true(view.gauge[IM_G_LOSS] == -0.125);
}

static uint64_t total(const struct im_stats_view *view)
{
    uint64_t sum = 0;

    for (int a = 0; a < IM_ACTIVITIES; a++)
        sum += view->time_ns[a];
    return sum;
}

static void test_time_is_counted_to_the_activity_it_was_spent_in(void **state)
{
    struct im_stats *s = *state;
    struct im_stats_view view;
    im_ns began, ended;

    im_stats_enter(s, IM_WORK);
    began = atomic_load_explicit(&s->since_ns, memory_order_relaxed);
    im_stats_enter(s, IM_WAIT_INPUT);
    ended = atomic_load_explicit(&s->since_ns, memory_order_relaxed);
    im_stats_read(s, ended + 1000, &view);
    assert_int_equal(view.time_ns[IM_WORK], ended - began);
    assert_int_equal(view.time_ns[IM_WAIT_INPUT], 1000);
    assert_int_equal(total(&view), ended - began + 1000);
}

static void test_a_reader_with_an_older_clock_counts_nothing_for_the_unfinished(void **state)
{
    struct im_stats *s = *state;
    struct im_stats_view view;

    im_stats_enter(s, IM_WORK);
    im_stats_read(s, 1, &view);
    assert_int_equal(total(&view), 0);
}

static void test_damaged_activity_is_not_an_index(void **state)
{
    struct im_stats *s = *state;
    struct im_stats_view view;

    atomic_store_explicit(&s->activity, UINT64_MAX, memory_order_relaxed);
    atomic_store_explicit(&s->since_ns, 1, memory_order_relaxed);
    im_stats_read(s, im_now(), &view);
    assert_int_equal(total(&view), 0);
    im_stats_enter(s, IM_WORK);
    im_stats_read(s, 0, &view);
    assert_int_equal(total(&view), 0);
}

static void test_quantiles_are_upper_edges_of_buckets(void **state)
{
    struct im_stats *s = *state;

    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 0.5), 0);
    for (int i = 0; i < 90; i++)
        im_stats_time(s, IM_H_ITEM, 1000); /* in [896, 1024) */
    for (int i = 0; i < 10; i++)
        im_stats_time(s, IM_H_ITEM, 1 << 20);
    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 0.5), 1024);
    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 0.9), 1024);
    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 0.99), (1 << 20) + (1 << 16));
    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 1), (1 << 20) + (1 << 16));
    assert_int_equal(im_stats_quantile(s, IM_H_RENDER, 0.5), 0);
}

/* For any one duration: never too low, and too high by what the header says. */
static void test_quantiles_are_as_near_as_stated(void **state)
{
    (void)state;
    for (uint64_t d = 1; d < UINT64_C(1) << 40; d += 1 + d / 97) {
        static struct im_stats one;
        uint64_t told;

        memset(&one, 0, sizeof one);
        im_stats_time(&one, IM_H_DECODE, d);
        told = im_stats_quantile(&one, IM_H_DECODE, 0.5);
        assert_true(told >= d);
        assert_true(told - d <= 128 || (double)(told - d) <= IM_STATS_QUANTILE_ERROR * (double)d);
    }
}

static void test_extreme_durations_stay_inside_the_table(void **state)
{
    struct im_stats *s = *state;

    im_stats_time(s, IM_H_ITEM, 0);
    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 1), 128);
    im_stats_time(s, IM_H_ITEM, UINT64_MAX);
    assert_int_equal(im_stats_quantile(s, IM_H_ITEM, 1), UINT64_C(1) << 40);
}

struct observer {
    const struct im_stats *stats;
    im_ns began;
    _Atomic uint32_t stop;
    uint64_t backwards, too_much;
};

static void *observe(void *argument)
{
    struct observer *o = argument;
    struct im_stats_view before = {0}, view;
    im_ns began = o->began;

    while (!atomic_load_explicit(&o->stop, memory_order_relaxed)) {
        im_ns now = im_now();

        im_stats_read(o->stats, now, &view);
        o->backwards += view.counter[IM_C_SAMPLES] < before.counter[IM_C_SAMPLES];
        o->too_much += total(&view) > im_now() - began;
        before = view;
    }
    return NULL;
}

static void test_a_reader_sees_no_counter_go_back_and_no_more_time_than_there_was(void **state)
{
    struct im_stats *s = *state;
    struct observer o = {.stats = s, .began = im_now()};
    struct im_stats_view view;
    pthread_t thread;

    im_stats_enter(s, IM_IDLE);
    assert_int_equal(pthread_create(&thread, NULL, observe, &o), 0);
    for (int i = 0; i < 10000; i++) {
        im_ns until = im_now() + 20000; /* an activity counted twice stands out from the time a read takes */

        im_stats_enter(s, i % 2 ? IM_WORK : IM_WAIT_IO);
        im_stats_add(s, IM_C_SAMPLES, 1);
        while (im_now() < until)
            ;
    }
    atomic_store_explicit(&o.stop, 1, memory_order_relaxed);
    pthread_join(thread, NULL);
    assert_int_equal(o.backwards, 0);
    assert_int_equal(o.too_much, 0);
    im_stats_read(s, 0, &view);
    assert_int_equal(view.counter[IM_C_SAMPLES], 10000);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_stats, free_stats)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_counters_and_gauges_read_back),
        TEST(test_time_is_counted_to_the_activity_it_was_spent_in),
        TEST(test_a_reader_with_an_older_clock_counts_nothing_for_the_unfinished),
        TEST(test_damaged_activity_is_not_an_index),
        TEST(test_quantiles_are_upper_edges_of_buckets),
        TEST(test_quantiles_are_as_near_as_stated),
        TEST(test_extreme_durations_stay_inside_the_table),
        TEST(test_a_reader_sees_no_counter_go_back_and_no_more_time_than_there_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
