#include "supervisor/cluster/message.h"

#include <errno.h>
#include <string.h>

#include "ipc/base/count.h"
#include "supervisor/cluster/address.h"
#include "supervisor/cluster/wire.h"

#define MAGIC 0x6c63696d6973 /* "simicl" */
#define RANKS_MAX 4096       /* of a node */

static void positions(struct sv_wire *w, uint64_t position[SV_LINK_POSITIONS])
{
    for (int i = 0; i < SV_LINK_POSITIONS; i++)
        sv_wire_u64(w, &position[i]);
}

static void numbers(struct sv_wire *w, uint64_t number[SV_LINK_NUMBERS])
{
    for (int i = 0; i < SV_LINK_NUMBERS; i++)
        sv_wire_u64(w, &number[i]);
}

static void stop_of(struct sv_wire *w, enum sv_stop *stop)
{
    uint16_t n = (uint16_t)*stop;

    sv_wire_u16(w, &n, SV_STOP_NOW);
    *stop = (enum sv_stop)n;
}

/* ---- the fields of each kind, in their order ---- */

static void hello(struct sv_wire *w, struct sv_link_message *m)
{
    struct sv_hello *h = &m->hello;
    const void *agree = h->agree;

    sv_wire_u32(w, &h->node, SV_NODES_MAX - 1);
    sv_wire_u32(w, &h->nodes, SV_NODES_MAX);
    sv_wire_u32(w, &h->ranks, RANKS_MAX);
    sv_wire_u32(w, &h->running, UINT32_MAX - 1);
    sv_wire_u32(w, &h->seen, UINT32_MAX - 1);
    sv_wire_text(w, h->name, sizeof h->name);
    sv_wire_text(w, h->address, sizeof h->address);
    sv_wire_text(w, h->build, sizeof h->build);
    sv_wire_bytes(w, &agree, &h->agree_bytes, SV_LINK_AGREE_MAX);
    h->agree = agree;
    w->bad |= h->nodes == 0 || h->ranks == 0;
}

static void report(struct sv_wire *w, struct sv_link_message *m)
{
    struct sv_report *r = &m->report;

    sv_wire_u64(w, &r->serial);
    sv_wire_u64(w, &r->order);
    sv_wire_u32(w, &r->seen, UINT32_MAX - 1);
    sv_wire_u32(w, &r->running, UINT32_MAX - 1);
    sv_wire_u32(w, &r->ready, UINT32_MAX - 1);
    positions(w, r->ready_position);
    sv_wire_u64(w, &r->ready_saved);
    sv_wire_u32(w, &r->want, UINT32_MAX - 1);
    stop_of(w, &r->stop);
    sv_wire_bool(w, &r->left);
    sv_wire_bool(w, &r->wants_table);
    sv_wire_i32(w, &r->status);
    sv_wire_text(w, r->reason, sizeof r->reason);
    sv_wire_u64(w, &r->position);
    positions(w, r->snapshot);
    sv_wire_u64(w, &r->saved);
    numbers(w, r->number);
}

static void generation(struct sv_wire *w, struct sv_generation *g)
{
    sv_wire_u32(w, &g->number, UINT32_MAX - 1);
    sv_wire_u32(w, &g->nodes, SV_NODES_MAX);
    for (uint32_t i = 0; i < g->nodes && !w->bad; i++)
        sv_wire_u16(w, &g->ranks[i], RANKS_MAX);
    sv_wire_u64(w, &g->common);
    sv_wire_u64(w, &g->newest);
    sv_wire_u32(w, &g->newest_node, SV_NODES_MAX - 1);
    sv_wire_u64(w, &g->saved);
    w->bad |= g->nodes == 0 || g->number == 0;
}

static void order(struct sv_wire *w, struct sv_link_message *m)
{
    struct sv_order *o = &m->order;

    sv_wire_u64(w, &o->serial);
    sv_wire_bool(w, &o->runs);
    generation(w, &o->generation);
    sv_wire_text(w, o->over, sizeof o->over);
    stop_of(w, &o->stop);
    sv_wire_bool(w, &o->gave_up);
    sv_wire_u32(w, &o->stop_node, SV_NODES_MAX - 1);
    sv_wire_text(w, o->stop_reason, sizeof o->stop_reason);
    sv_wire_bool(w, &o->ended);
    sv_wire_bool(w, &o->left_seen);
    sv_wire_i32(w, &o->status);
    sv_wire_text(w, o->end_reason, sizeof o->end_reason);
}

static void key(struct sv_wire *w, struct sv_link_message *m)
{
    sv_wire_u32(w, &m->value.generation, UINT32_MAX - 1);
    sv_wire_text(w, m->value.key, sizeof m->value.key);
    w->bad |= !m->value.key[0] || m->value.generation == 0;
}

static void value(struct sv_wire *w, struct sv_link_message *m)
{
    key(w, m);
    sv_wire_bytes(w, &m->value.bytes, &m->value.n, SV_LINK_VALUE_MAX);
}

static void talk(struct sv_wire *w, struct sv_link_message *m)
{
    sv_wire_u32(w, &m->talk.from, SV_NODES_MAX - 1);
    sv_wire_u32(w, &m->talk.to, SV_NODES_MAX - 1);
    sv_wire_u64(w, &m->talk.id);
    sv_wire_bool(w, &m->talk.is_gone);
    sv_wire_bytes(w, &m->talk.bytes, &m->talk.n, SV_LINK_TALK_MAX);
}

static void refusal(struct sv_wire *w, struct sv_link_message *m)
{
    sv_wire_text(w, m->refusal, sizeof m->refusal);
}

static void nothing(struct sv_wire *w, struct sv_link_message *m)
{
    (void)w;
    (void)m;
}

static void row(struct sv_wire *w, struct sv_node *node)
{
    uint16_t state = (uint16_t)node->state;
    uint32_t silent_ms =
        node->silent_s > 0 ? (uint32_t)((node->silent_s < 1e6 ? node->silent_s : 1e6) * 1e3) : 0;
    int32_t status = node->status;

    sv_wire_u16(w, &state, SV_NODE_STATES - 1);
    sv_wire_bool(w, &node->is_ready);
    sv_wire_u32(w, &node->ranks, RANKS_MAX);
    sv_wire_text(w, node->name, sizeof node->name);
    sv_wire_text(w, node->address, sizeof node->address);
    sv_wire_u32(w, &silent_ms, 1000000000);
    sv_wire_i32(w, &status);
    sv_wire_u64(w, &node->position);
    positions(w, node->snapshot);
    sv_wire_u64(w, &node->saved);
    numbers(w, node->number);
    if (w->to)
        return;
    node->state = (enum sv_node_state)state;
    node->silent_s = silent_ms / 1e3;
    node->status = status;
}

/* To read: only where the rows are. */
static void take_rows(struct sv_wire *w, struct sv_link_message *m)
{
    m->rows.n = w->bad ? 0 : w->n - w->used;
    m->rows.bytes = w->from + w->used;
    w->used += m->rows.n;
}

static void table(struct sv_wire *w, struct sv_link_message *m)
{
    struct sv_node copy;

    if (!w->to) {
        take_rows(w, m);
        return;
    }
    sv_wire_u32(w, &m->nodes, SV_NODES_MAX);
    for (uint32_t i = 0; i < m->nodes && !w->bad; i++) {
        copy = m->table[i];
        row(w, &copy);
    }
}

static void one_place(struct sv_wire *w, struct im_node_place *place)
{
    sv_wire_text(w, place->address, sizeof place->address);
    sv_wire_u32(w, &place->port, 65535);
    w->bad |= !w->to && place->address[0] && (place->port == 0 || !sv_address_is_numeric(place->address));
}

static void places(struct sv_wire *w, struct sv_link_message *m)
{
    struct im_node_place copy;

    if (!w->to) {
        take_rows(w, m);
        return;
    }
    sv_wire_u32(w, &m->nodes, SV_NODES_MAX);
    for (uint32_t i = 0; i < m->nodes && !w->bad; i++) {
        copy = m->place[i];
        one_place(w, &copy);
    }
}

static const struct {
    const char *name;
    void (*fields)(struct sv_wire *w, struct sv_link_message *m);
} kinds[SV_MESSAGE_KINDS] = {
    [SV_HELLO] = {"hello", hello},  [SV_REPORT] = {"report", report},    [SV_PUBLISH] = {"publish", value},
    [SV_FETCH] = {"fetch", key},    [SV_WELCOME] = {"welcome", nothing}, [SV_REFUSE] = {"refuse", refusal},
    [SV_WHO] = {"who", nothing},    [SV_ORDER] = {"order", order},       [SV_KEPT] = {"kept", key},
    [SV_VALUE] = {"value", value},  [SV_TABLE] = {"table", table},       [SV_ASK] = {"ask", talk},
    [SV_ANSWER] = {"answer", talk}, [SV_PLACES] = {"places", places},
};

/* ---- the whole ---- */

static void header(struct sv_wire *w, uint64_t *magic, uint16_t *version, uint16_t *kind,
                   struct sv_link_message *m)
{
    sv_wire_u64(w, magic);
    sv_wire_u16(w, version, UINT16_MAX);
    sv_wire_u16(w, kind, UINT16_MAX);
    sv_wire_u64(w, &m->from);
    sv_wire_u64(w, &m->to);
}

long sv_message_encode(const struct sv_link_message *m, unsigned char *ret, size_t max)
{
    struct sv_wire w = {.to = ret, .n = max};
    struct sv_link_message copy = *m; /* the functions above take what they may write to */
    uint64_t magic = MAGIC;
    uint16_t version = SV_MESSAGE_VERSION, kind = (uint16_t)m->kind;

    header(&w, &magic, &version, &kind, &copy);
    kinds[m->kind].fields(&w, &copy);
    return w.bad ? -EMSGSIZE : (long)w.used;
}

int sv_message_decode(const void *bytes, size_t n, struct sv_link_message *ret)
{
    struct sv_wire w = {.from = bytes, .n = n};
    uint64_t magic = 0;
    uint16_t version = 0, kind = 0;

    memset(ret, 0, sizeof *ret);
    if (n > SV_MESSAGE_MAX)
        return -EBADMSG;
    header(&w, &magic, &version, &kind, ret);
    if (w.bad || magic != MAGIC)
        return -EBADMSG;
    if (version != SV_MESSAGE_VERSION)
        return -EPROTO;
    if (kind >= IM_COUNT(kinds) || !kinds[kind].fields)
        return -EBADMSG;
    ret->kind = (enum sv_message_kind)kind;
    kinds[kind].fields(&w, ret);
    return w.bad || w.used != n ? -EBADMSG : 0;
}

int sv_table_decode(const struct sv_link_message *m, struct sv_node *ret)
{
    struct sv_wire w = {.from = m->rows.bytes, .n = m->rows.n};
    uint32_t count = 0;

    sv_wire_u32(&w, &count, SV_NODES_MAX);
    for (uint32_t i = 0; i < count && !w.bad; i++) {
        memset(&ret[i], 0, sizeof ret[i]);
        row(&w, &ret[i]);
    }
    return w.bad || w.used != w.n ? -EBADMSG : (int)count;
}

int sv_places_decode(const struct sv_link_message *m, struct im_node_place *ret)
{
    struct sv_wire w = {.from = m->rows.bytes, .n = m->rows.n};
    uint32_t count = 0;

    sv_wire_u32(&w, &count, SV_NODES_MAX);
    for (uint32_t i = 0; i < count && !w.bad; i++) {
        memset(&ret[i], 0, sizeof ret[i]);
        one_place(&w, &ret[i]);
    }
    return w.bad || w.used != w.n ? -EBADMSG : (int)count;
}

const char *sv_message_name(enum sv_message_kind kind)
{
    return (size_t)kind < IM_COUNT(kinds) && kinds[kind].name ? kinds[kind].name : "unknown";
}
