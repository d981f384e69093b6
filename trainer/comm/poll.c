#include "trainer/comm/poll.h"

#define LONG_PAUSE IM_MS
#define SHORT_PAUSE (IM_MS / 50)
#define EARLY (2 * IM_MS) /* short pauses begin this long before the expected end, more than a long pause */
#define LATE (10 * IM_MS) /* and end this long after it, and a quarter of the expected wait */

void tr_poll_begin(struct tr_poll *p)
{
    *p = (struct tr_poll){.usual = p->since ? p->last - p->since : p->usual};
}

im_ns tr_poll_pause(struct tr_poll *p, im_ns now, im_ns *ret_waited)
{
    im_ns waited;

    if (p->since == 0)
        p->since = now;
    p->last = now;
    waited = now - p->since;
    *ret_waited = waited;
    return waited + EARLY >= p->usual && waited <= p->usual + p->usual / 4 + LATE ? SHORT_PAUSE : LONG_PAUSE;
}
