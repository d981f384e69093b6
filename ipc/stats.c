#include "ipc/stats.h"

#include <stdbool.h>
#include <string.h>

#include "ipc/spans.h"

#define READS_MAX 4
#define UNIT_BITS 7 /* 128 ns: nothing shorter is distinguished */
#define SUB_BITS 4  /* 16 buckets a power of two */
#define SUBS (1u << SUB_BITS)

static void bump(_Atomic uint64_t *word, uint64_t n)
{
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n, memory_order_relaxed);
}

void im_stats_enter(struct im_stats *s, enum im_activity activity)
{
    im_ns now = im_now();
    uint64_t was = atomic_load_explicit(&s->activity, memory_order_relaxed);
    im_ns since = atomic_load_explicit(&s->since_ns, memory_order_relaxed);

    /* since_ns is 0 while the sum and the activity change: a reader that sees one of them old and one new
     * would count the same time twice. Release on each, so that who sees the new value (acquire) sees
     * since_ns changed too. */
    atomic_store_explicit(&s->since_ns, 0, memory_order_relaxed);
    if (was < IM_ACTIVITIES && since != 0) {
        atomic_store_explicit(&s->time_ns[was],
                              atomic_load_explicit(&s->time_ns[was], memory_order_relaxed) + now - since,
                              memory_order_release);
        im_spans_add(s, im_span_of_activity((enum im_activity)was), since, now - since);
    }
    atomic_store_explicit(&s->activity, activity, memory_order_release);
    atomic_store_explicit(&s->since_ns, now, memory_order_release);
}

void im_stats_add(struct im_stats *s, enum im_counter counter, uint64_t n)
{
    bump(&s->counter[counter], n);
}

/* The first SUBS buckets are a unit wide, those of the next power of two too, then each twice as wide. */
static unsigned bucket_of(im_ns duration)
{
    const uint64_t units = duration >> UNIT_BITS;
    unsigned power, bucket;

    if (units < SUBS)
        return (unsigned)units;
    power = 63u - (unsigned)__builtin_clzll(units);
    bucket = (power - SUB_BITS + 1) * SUBS + ((unsigned)(units >> (power - SUB_BITS)) & (SUBS - 1));
    return bucket < IM_HISTOGRAM_BUCKETS ? bucket : IM_HISTOGRAM_BUCKETS - 1;
}

static uint64_t upper_edge(unsigned bucket)
{
    const unsigned doublings = bucket / SUBS > 0 ? bucket / SUBS - 1 : 0;
    const uint64_t in_power = bucket < SUBS ? bucket : SUBS + bucket % SUBS;

    return (in_power + 1) << (doublings + UNIT_BITS);
}

static void add_time(struct im_stats *s, enum im_histogram histogram, im_ns began, im_ns duration)
{
    bump(&s->histogram[histogram][bucket_of(duration)], 1);
    if (im_spans_wanted(s))
        im_spans_add(s, im_span_of_histogram(histogram), began, duration);
}

/* The clock is read once: a process that is put aside between two readings would leave spans that overlap. */
void im_stats_since(struct im_stats *s, enum im_histogram histogram, im_ns began)
{
    add_time(s, histogram, began, im_now() - began);
}

void im_stats_time(struct im_stats *s, enum im_histogram histogram, im_ns duration)
{
    add_time(s, histogram, im_spans_wanted(s) ? im_now() - duration : 0, duration);
}

void im_stats_gauge(struct im_stats *s, enum im_gauge gauge, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    atomic_store_explicit(&s->gauge[gauge], bits, memory_order_relaxed);
}

/* Finished time by activity and the unfinished one, from between two changes. False: they changed
 * while we read. */
static bool read_times(const struct im_stats *s, im_ns now, uint64_t *ret_time_ns)
{
    im_ns since = atomic_load_explicit(&s->since_ns, memory_order_acquire);
    uint64_t activity = atomic_load_explicit(&s->activity, memory_order_acquire);

    for (int a = 0; a < IM_ACTIVITIES; a++)
        ret_time_ns[a] = atomic_load_explicit(&s->time_ns[a], memory_order_acquire);
    if (atomic_load_explicit(&s->since_ns, memory_order_relaxed) != since)
        return false;
    if (activity < IM_ACTIVITIES && since != 0 && since < now)
        ret_time_ns[activity] += now - since;
    return true;
}

void im_stats_read(const struct im_stats *s, im_ns now, struct im_stats_view *ret)
{
    /* A writer that changes faster than we read leaves the unfinished activity out. */
    for (int i = 0; i < READS_MAX && !read_times(s, now, ret->time_ns); i++)
        ;
    for (int c = 0; c < IM_COUNTERS; c++)
        ret->counter[c] = atomic_load_explicit(&s->counter[c], memory_order_relaxed);
    for (int g = 0; g < IM_GAUGES; g++) {
        uint64_t bits = atomic_load_explicit(&s->gauge[g], memory_order_relaxed);

        memcpy(&ret->gauge[g], &bits, sizeof bits);
    }
}

uint64_t im_stats_quantile(const struct im_stats *s, enum im_histogram histogram, double quantile)
{
    uint64_t count[IM_HISTOGRAM_BUCKETS], total = 0, below = 0;

    for (int b = 0; b < IM_HISTOGRAM_BUCKETS; b++)
        total += count[b] = atomic_load_explicit(&s->histogram[histogram][b], memory_order_relaxed);
    for (int b = 0; b < IM_HISTOGRAM_BUCKETS && total; b++) {
        below += count[b];
        if ((double)below >= quantile * (double)total)
            return upper_edge((unsigned)b);
    }
    return 0;
}
