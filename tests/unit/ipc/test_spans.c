/* Spans: a ring with one writer that never waits. */
#include <pthread.h>
#include <string.h>

#include "ipc/spans.h"
#include "ipc/stats.h"
#include "tests/unit/ipc/base/unit.h"

static int make_stats(void **state)
{
    struct im_stats *s = aligned_alloc(IM_PAGE, sizeof *s);

    if (!s)
        return -1;
    memset(s, 0, sizeof *s);
    atomic_store_explicit(&s->spans_wanted, 1, memory_order_relaxed);
    *state = s;
    return 0;
}

static int free_stats(void **state)
{
    free(*state);
    return 0;
}

static struct im_span_view view[IM_SPANS];

static void test_nothing_is_kept_that_nobody_wants(void **state)
{
    struct im_stats *s = *state;
    uint64_t from = 0, lost;

    atomic_store_explicit(&s->spans_wanted, 0, memory_order_relaxed);
    im_stats_enter(s, IM_WORK);
    im_stats_enter(s, IM_WAIT_INPUT);
    im_stats_time(s, IM_H_ITEM, 5);
    assert_int_equal(im_spans_read(s, &from, view, IM_SPANS, &lost), 0);
    assert_int_equal(lost, 0);
}

static void test_activities_and_durations_follow_each_other(void **state)
{
    struct im_stats *s = *state;
    uint64_t from = 0, lost;
    im_ns began;

    im_stats_enter(s, IM_WORK);
    began = atomic_load_explicit(&s->since_ns, memory_order_relaxed);
    im_stats_time(s, IM_H_ITEM, 7);
    im_stats_enter(s, IM_WAIT_INPUT);
    assert_int_equal(im_spans_read(s, &from, view, IM_SPANS, &lost), 2);
    assert_int_equal(view[0].kind, im_span_of_histogram(IM_H_ITEM));
    assert_int_equal(view[0].length, 7);
    assert_int_equal(view[1].kind, im_span_of_activity(IM_WORK));
    assert_int_equal(view[1].begin, began);
    assert_int_equal(view[1].length, atomic_load_explicit(&s->since_ns, memory_order_relaxed) - began);
    assert_int_equal(from, 2);
    assert_int_equal(im_spans_read(s, &from, view, IM_SPANS, &lost), 0);
}

static void test_what_was_overwritten_is_counted(void **state)
{
    struct im_stats *s = *state;
    uint64_t from = 0, lost;
    size_t n;

    for (uint64_t i = 0; i < IM_SPANS + 10; i++)
        im_spans_add(s, 2, i, i);
    n = im_spans_read(s, &from, view, IM_SPANS, &lost);
    assert_int_equal(n + lost, IM_SPANS + 10);
    assert_int_equal(lost, 11); /* and the one that the writer may be in */
    for (size_t i = 0; i < n; i++)
        assert_int_equal(view[i].begin, lost + i);
    from = 2 * IM_SPANS; /* of a page that was made anew since */
    im_spans_read(s, &from, view, 3, &lost);
    assert_int_equal(from, 10 + 3);
}

struct writer {
    struct im_stats *s;
    _Atomic int stop;
};

static void *write_spans(void *argument)
{
    struct writer *w = argument;

    for (uint64_t i = 0; !atomic_load_explicit(&w->stop, memory_order_relaxed); i++)
        im_spans_add(w->s, (unsigned)(i % IM_SPAN_KINDS), i, i);
    return NULL;
}

/* Beside a writer that never rests, each span is whole and has its number. */
static void test_no_span_is_of_two(void **state)
{
    struct writer w = {.s = *state};
    uint64_t from = 0, lost, seen = 0, all_lost = 0;
    pthread_t thread;
    const im_ns end = im_now() + IM_SECOND / 4;

    assert_int_equal(pthread_create(&thread, NULL, write_spans, &w), 0);
    while (im_now() < end || seen == 0) {
        const uint64_t before = from;
        const size_t n = im_spans_read(w.s, &from, view, IM_SPANS, &lost);

        assert_int_equal(n + lost, from - before);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(view[i].begin, from - n + i);
            assert_int_equal(view[i].length, view[i].begin);
            assert_int_equal(view[i].kind, view[i].begin % IM_SPAN_KINDS);
        }
        seen += n;
        all_lost += lost;
    }
    atomic_store_explicit(&w.stop, 1, memory_order_relaxed);
    pthread_join(thread, NULL);
    assert_int_equal(seen + all_lost, from);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_stats, free_stats)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_is_kept_that_nobody_wants),
        TEST(test_activities_and_durations_follow_each_other),
        TEST(test_what_was_overwritten_is_counted),
        TEST(test_no_span_is_of_two),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
