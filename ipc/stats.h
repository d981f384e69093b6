/* Statistics of one process: pages that it alone writes and anyone may read. Plain loads and stores, no
 * read-modify-write: there is one writer. A reader may see a sum that is one item behind; nothing is decided
 * on these numbers. */
#ifndef IPC_STATS_H
#define IPC_STATS_H

#include "ipc/abi.h"
#include "ipc/base/clock.h"

/* The writer enters an activity; the time of the one it leaves is added up. */
void im_stats_enter(struct im_stats *s, enum im_activity activity);

void im_stats_add(struct im_stats *s, enum im_counter counter, uint64_t n);
/* What has lasted since `began` (im_now()) ends now. */
void im_stats_since(struct im_stats *s, enum im_histogram histogram, im_ns began);
/* A part of something, or one of unknown place: as if it ended now. */
void im_stats_time(struct im_stats *s, enum im_histogram histogram, im_ns duration);
void im_stats_gauge(struct im_stats *s, enum im_gauge gauge, double value);

/* What a reader sees: counters and time by activity up to `now`, the unfinished activity included. */
struct im_stats_view {
    uint64_t time_ns[IM_ACTIVITIES];
    uint64_t counter[IM_COUNTERS];
    double gauge[IM_GAUGES];
};
void im_stats_read(const struct im_stats *s, im_ns now, struct im_stats_view *ret);

/* The duration below which `quantile` (0..1) of a histogram lies, in ns; 0 when it is empty. Each power of two has 16
 * buckets of the same width, and the upper edge of one is the answer: never too low, and too high by at most
 * IM_STATS_QUANTILE_ERROR of it (below 2 us: by 128 ns). Durations of more than 18 minutes count as that. */
#define IM_STATS_QUANTILE_ERROR 0.0625
uint64_t im_stats_quantile(const struct im_stats *s, enum im_histogram histogram, double quantile);

#endif
