/* Images a second of a counter that grows by whole batches: from one step to another, not over a window that now holds one more
 * and now one less, by which steps of seconds would seem to be twice as fast each other second. */
#ifndef SUPERVISOR_REPORT_RATE_H
#define SUPERVISOR_REPORT_RATE_H

#include <stdint.h>

#include "ipc/base/clock.h"

enum { SV_RATE_KEPT = 32 };

struct sv_rate_mark {
    im_ns at;
    uint64_t items;
};

/* Zero-initialise. */
struct sv_rate {
    struct sv_rate_mark mark[SV_RATE_KEPT]; /* when it had grown; not too close to each other */
    uint32_t count;                         /* of marks so far */
    struct sv_rate_mark last;               /* when it last grew; at 0: never */
    uint64_t seen;
};

/* Takes the counter's value of now; returns the rate over about `window`, or over two steps where they take longer; 0 before
 * there are two, and when none has come for three times as long as one takes. A counter that falls begins anew. */
double sv_rate_take(struct sv_rate *r, im_ns now, uint64_t items, im_ns window);

#endif
