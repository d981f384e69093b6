/* A timeline of one process, in its statistics page: each activity that it left and each duration that it measured, while
 * `imsuper trace` reads them. A ring: who reads too late gets the number of those that were lost. While nobody reads them
 * an activity costs one load more. */
#ifndef IPC_SPANS_H
#define IPC_SPANS_H

#include <stdbool.h>
#include <stddef.h>

#include "ipc/abi.h"
#include "ipc/base/clock.h"

/* Kinds: activities, then histograms. */
static inline unsigned im_span_of_activity(enum im_activity activity)
{
    return (unsigned)activity;
}
static inline unsigned im_span_of_histogram(enum im_histogram histogram)
{
    return (unsigned)IM_ACTIVITIES + (unsigned)histogram;
}
#define IM_SPAN_KINDS ((unsigned)IM_ACTIVITIES + (unsigned)IM_HISTOGRAMS)

static inline bool im_spans_wanted(const struct im_stats *s)
{
    return atomic_load_explicit(&s->spans_wanted, memory_order_relaxed) != 0;
}

/* Only the process that the page is of. Does nothing while they are not wanted. */
void im_spans_add(struct im_stats *s, unsigned kind, im_ns begin, im_ns length);

struct im_span_view {
    im_ns begin, length;
    unsigned kind; /* below IM_SPAN_KINDS */
};

/* Copies at most `room` spans from number *from on, the oldest first, moves *from behind them, and says how many before
 * them were lost. A number beyond what there is means that the page was made anew: from its first. */
size_t im_spans_read(const struct im_stats *s, uint64_t *from, struct im_span_view *ret, size_t room,
                     uint64_t *ret_lost);

#endif
