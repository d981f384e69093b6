#include "supervisor/tracing.h"

#include <stdlib.h>

#include "ipc/encoded.h"
#include "ipc/spans.h"

#define ASKED_NS (2 * IM_SECOND)

enum { SPANS_IN_ANSWER = 8000, SPANS_LEAST = 64 }; /* some 300 KiB of JSON (ctl.h) */

static void want(struct sv_super *s, uint32_t wanted)
{
    for (uint32_t i = 0; i < s->children.count; i++)
        atomic_store_explicit(&s->run.stats[s->children.child[i].slot].spans_wanted, wanted,
                              memory_order_relaxed);
}

static size_t room_for_each(const struct sv_super *s)
{
    const size_t share = SPANS_IN_ANSWER / (s->children.count ? s->children.count : 1);

    return share > SPANS_LEAST ? share < IM_SPANS ? share : IM_SPANS : SPANS_LEAST;
}

/* Numbers in threes: begin, length (both in ns), kind. */
static struct im_json *spans_json(const struct im_span_view *span, size_t n)
{
    struct im_json *list = im_json_array();

    for (size_t i = 0; i < n; i++) {
        im_json_append_int(list, (int64_t)span[i].begin);
        im_json_append_int(list, (int64_t)span[i].length);
        im_json_append_int(list, span[i].kind);
    }
    return list;
}

static struct im_json *child_json(const struct sv_super *s, const struct sv_child *child,
                                  const struct im_json *message, struct im_span_view *span, size_t room)
{
    const struct im_stats *stats = &s->run.stats[child->slot];
    struct im_json *j = im_json_object();
    int64_t from = -1;
    uint64_t next, lost = 0;
    size_t n = 0;

    im_json_as_int(im_json_at(im_json_get(message, "from"), child->slot), &from);
    next = from >= 0 ? (uint64_t)from : atomic_load_explicit(&stats->spans, memory_order_acquire);
    if (from >= 0)
        n = im_spans_read(stats, &next, span, room, &lost);
    im_json_set_str(j, "role", im_role_name(child->role));
    im_json_set_int(j, "index", child->index);
    im_json_set_int(j, "slot", child->slot);
    im_json_set_int(j, "pid", child->pid);
    im_json_set_int(j, "next", (int64_t)next);
    im_json_set_int(j, "lost", (int64_t)lost);
    im_json_set(j, "spans", spans_json(span, n));
    return j;
}

struct im_json *sv_trace_answer(struct sv_super *s, const struct im_json *message)
{
    const size_t room = room_for_each(s);
    struct im_span_view *span = calloc(room, sizeof *span);
    struct im_json *j = im_json_object(), *processes = im_json_array();

    s->trace_asked = im_now();
    s->trace_off = false;
    want(s, 1);
    im_json_set_str(j, "schema", "imsuper.spans/1");
    im_json_set_int(j, "now_ns", (int64_t)im_now());
    im_json_set_int(j, "ready_cells", im_encoded_count(&s->run, IM_READY));
    im_json_set_int(j, "ready_batches", s->view.ready_batches);
    for (uint32_t i = 0; span && i < s->children.count; i++)
        im_json_append(processes, child_json(s, &s->children.child[i], message, span, room));
    im_json_set(j, "processes", processes);
    free(span);
    return j;
}

/* Also of a supervisor before this one, whose questions nobody asks any more. */
void sv_trace_turn(struct sv_super *s)
{
    if (s->trace_off || (s->trace_asked && im_now() - s->trace_asked < ASKED_NS))
        return;
    want(s, 0);
    s->trace_off = true;
}
