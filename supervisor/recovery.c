/* Events "process.recovered" and "supervisor.recovered": the seconds from a death to the moment when the successor
 * was ready. Where successors die too, from the first of these deaths. What a reset ended is part of what the
 * trainer's death cost, and is not told apart. */
#include "supervisor/super.h"

static void note_supervisor(struct sv_super *s)
{
    _Atomic uint64_t *lost = &s->run.control->supervisor_lost_ns;
    im_ns at = atomic_load_explicit(lost, memory_order_relaxed);
    struct im_json *fields;

    if (at == 0)
        return;
    atomic_store_explicit(lost, 0, memory_order_relaxed);
    fields = im_json_object();
    im_json_set_real(fields, "seconds", (double)(im_now() - at) / 1e9);
    sv_journal_event(&s->journal, "supervisor.recovered", fields);
}

static void note_child(struct sv_super *s, struct sv_child *child)
{
    im_ns ready = atomic_load_explicit(&s->run.process[child->slot].ready_ns, memory_order_acquire);
    struct im_json *fields;

    if (child->lost_at == 0 || child->incarnation == 0 || ready == 0)
        return;
    fields = im_json_object();
    im_json_set_str(fields, "role", im_role_name(child->role));
    im_json_set_int(fields, "index", child->index);
    im_json_set_int(fields, "incarnation", child->incarnation);
    im_json_set_real(fields, "seconds", ready > child->lost_at ? (double)(ready - child->lost_at) / 1e9 : 0);
    sv_journal_event(&s->journal, "process.recovered", fields);
    child->lost_at = 0;
}

void sv_note_recoveries(struct sv_super *s)
{
    note_supervisor(s);
    for (uint32_t i = 0; i < s->children.count; i++)
        note_child(s, &s->children.child[i]);
}
