#include "ipc/spans.h"

#define KIND_BITS 8

void im_spans_add(struct im_stats *s, unsigned kind, im_ns begin, im_ns length)
{
    const uint64_t n = atomic_load_explicit(&s->spans, memory_order_relaxed);
    struct im_span *span = &s->span[n % IM_SPANS];

    if (!im_spans_wanted(s))
        return;
    /* Release: who sees one of the two words new sees the count of before it, or a newer one. */
    atomic_store_explicit(&span->begin_ns, begin, memory_order_release);
    atomic_store_explicit(&span->length_and_kind, (uint64_t)length << KIND_BITS | kind, memory_order_release);
    atomic_store_explicit(&s->spans, n + 1, memory_order_release);
}

size_t im_spans_read(const struct im_stats *s, uint64_t *from, struct im_span_view *ret, size_t room,
                     uint64_t *ret_lost)
{
    const uint64_t end = atomic_load_explicit(&s->spans, memory_order_acquire);
    uint64_t first = *from > end ? 0 : *from, now;
    size_t n = 0, torn;

    *ret_lost = end - first > IM_SPANS ? end - first - IM_SPANS : 0;
    first += *ret_lost;
    for (uint64_t i = first; i < end && n < room; i++) {
        const struct im_span *span = &s->span[i % IM_SPANS];
        const uint64_t word = atomic_load_explicit(&span->length_and_kind, memory_order_acquire);

        ret[n].begin = atomic_load_explicit(&span->begin_ns, memory_order_acquire);
        ret[n].length = word >> KIND_BITS;
        ret[n].kind = (unsigned)(word & ((1u << KIND_BITS) - 1));
        n++;
    }
    *from = first + n;
    /* Those that the writer came to meanwhile may be of two spans; it may be in the one after its count. */
    now = atomic_load_explicit(&s->spans, memory_order_acquire);
    torn = now >= first + IM_SPANS ? (size_t)(now - first - IM_SPANS) + 1 : 0;
    if (torn > n)
        torn = n;
    *ret_lost += torn;
    for (size_t i = torn; i < n; i++)
        ret[i - torn] = ret[i];
    return n - torn;
}
