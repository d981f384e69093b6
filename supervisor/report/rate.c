#include "supervisor/report/rate.h"

#include <stddef.h>

#define MARKS_A_WINDOW 8 /* so that those that are kept span some windows */

static const struct sv_rate_mark *newest(const struct sv_rate *r, uint32_t back)
{
    return r->count > back && back < SV_RATE_KEPT ? &r->mark[(r->count - 1 - back) % SV_RATE_KEPT] : NULL;
}

static void note(struct sv_rate *r, im_ns now, uint64_t items, im_ns window)
{
    const struct sv_rate_mark *before = newest(r, 0);

    r->last = (struct sv_rate_mark){now, items};
    if (!before || now - before->at >= window / MARKS_A_WINDOW)
        r->mark[r->count++ % SV_RATE_KEPT] = r->last;
}

/* The newest mark before the window, or the oldest there is, from which it has grown since. */
static const struct sv_rate_mark *find_begin(const struct sv_rate *r, im_ns since)
{
    const struct sv_rate_mark *best = NULL, *m;

    for (uint32_t back = 0; (m = newest(r, back)); back++) {
        if (m->items >= r->last.items || m->at >= r->last.at)
            continue;
        best = m;
        if (m->at <= since)
            break;
    }
    return best;
}

double sv_rate_take(struct sv_rate *r, im_ns now, uint64_t items, im_ns window)
{
    const struct sv_rate_mark *from, *one, *other;
    im_ns step, silence, limit;

    if (items < r->seen)
        *r = (struct sv_rate){.seen = items};
    if (items > r->seen)
        note(r, now, items, window);
    r->seen = items;
    from = find_begin(r, now - window);
    if (!from)
        return 0;
    one = newest(r, 0);
    other = newest(r, 1);
    step = other ? one->at - other->at : r->last.at - one->at;
    silence = now - r->last.at;
    limit = 3 * step > window ? 3 * step : window;
    if (silence > limit)
        return 0;
    return (double)(r->last.items - from->items) * 1e9 /
           (double)((silence > 2 * step ? now : r->last.at) - from->at);
}
