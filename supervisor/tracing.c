#include "supervisor/tracing.h"

#include <unistd.h>

#include "ipc/spans.h"

#define ASKED_NS (2 * IM_SECOND)

static void request_trace(struct sv_super *s, uint32_t wanted)
{
    for (uint32_t i = 0; i < s->children.count; i++)
        atomic_store_explicit(&s->run.stats[s->children.child[i].slot].spans_wanted, wanted,
                              memory_order_relaxed);
}

struct im_json *sv_trace_answer(struct sv_super *s)
{
    struct im_json *j = im_json_object();

    s->trace_asked = im_now();
    s->trace_off = false;
    request_trace(s, 1);
    im_json_set_str(j, "schema", "imsuper.spans/2");
    im_json_set_int(j, "pid", getpid());
    im_json_set_int(j, "descriptor", s->run.control_segment.fd);
    return j;
}

static bool is_wanted(const struct sv_super *s)
{
    for (uint32_t i = 0; i < s->children.count; i++)
        if (im_spans_wanted(&s->run.stats[s->children.child[i].slot]))
            return true;
    return false;
}

/* Who has asked the supervisor before this one asks this one soon, or does not any more. */
static void take_over(struct sv_super *s)
{
    if (!s->trace_asked && is_wanted(s))
        s->trace_asked = im_now();
}

void sv_trace_turn(struct sv_super *s)
{
    bool asked;

    if (s->trace_off)
        return;
    take_over(s);
    asked = s->trace_asked && im_now() - s->trace_asked < ASKED_NS;
    request_trace(s, asked);
    s->trace_off = !asked;
}
