#include "supervisor/cluster/head.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/cluster/address.h"
#include "supervisor/cluster/admit.h"
#include "supervisor/cluster/gather.h"
#include "supervisor/cluster/takeover.h"

#define TELL_NS (10 * IM_SECOND) /* between two lines about waiting */
#define FIRST_TELL_NS (3 * IM_SECOND)
#define PLACES_NS (10 * IM_SECOND) /* what was sent may have been lost */

/* ---- what it says ---- */

void sv_head_tell(struct sv_head *h, bool warning, const char *format, ...)
{
    struct sv_link_news news = {.kind = SV_LINK_TELL, .warning = warning};
    va_list args;

    va_start(args, format);
    vsnprintf(news.text, sizeof news.text, format, args);
    va_end(args);
    h->port.news(h->port.context, &news);
}

void sv_head_send(struct sv_head *h, uint64_t to, struct sv_link_message *m)
{
    m->from = h->session;
    m->to = to;
    h->port.send(h->port.context, m);
}

void sv_head_node_is(struct sv_head *h, uint32_t node, enum sv_node_state state)
{
    struct sv_head_node *n = &h->node[node];

    if (n->state == state)
        return;
    n->state = state;
    n->left_out &= state != SV_NODE_THERE;
    n->changed = h->now;
    h->port.news(h->port.context, &(struct sv_link_news){.kind = SV_LINK_NODE, .node = node});
}

/* The run must stop. Sent once; `now` after `save` once more. */
static void stop(struct sv_head *h, enum sv_stop how, uint32_t node, const char *reason)
{
    if (how <= h->order.stop)
        return;
    h->order.stop = how;
    h->order.stop_node = node;
    snprintf(h->order.stop_reason, sizeof h->order.stop_reason, "%s", reason);
    sv_head_order_all(h);
}

void sv_head_give_up(struct sv_head *h, uint32_t node, const char *reason)
{
    if (h->order.stop != SV_STOP_NONE)
        return;
    h->order.gave_up = true;
    stop(h, SV_STOP_SAVE, node, reason);
}

/* Sent to all at once: with the next tick. */
void sv_head_order_all(struct sv_head *h)
{
    for (uint32_t i = 0; i < h->nodes; i++)
        h->node[i].ordered = 0;
}

static bool is_heard(const struct sv_head_node *n)
{
    return n->session && (n->state == SV_NODE_THERE || n->state == SV_NODE_SILENT);
}

static void send_order(struct sv_head *h, uint32_t node)
{
    struct sv_head_node *n = &h->node[node];
    struct sv_link_message m = {.kind = SV_ORDER, .order = h->order};

    m.order.serial = ++h->order.serial;
    m.order.runs = h->runs;
    m.order.generation = h->generation;
    m.order.left_seen = n->state == SV_NODE_LEFT;
    if (h->runs && !h->begun_by)
        h->begun_by = m.order.serial;
    n->ordered = h->now;
    sv_head_send(h, n->session, &m);
}

static void send_table(struct sv_head *h, uint64_t to)
{
    struct sv_node *table = calloc(h->nodes, sizeof *table);
    struct sv_link_message m = {.kind = SV_TABLE, .nodes = h->nodes, .table = table};

    for (uint32_t i = 0; table && i < h->nodes; i++)
        sv_head_describe(h, i, &table[i]);
    if (table)
        sv_head_send(h, to, &m);
    free(table);
}

static void send_places(struct sv_head *h, struct sv_head_node *n)
{
    n->placed = h->now;
    sv_head_send(h, n->session,
                 &(struct sv_link_message){.kind = SV_PLACES, .nodes = h->nodes, .place = h->place});
}

static bool is_taken(const struct sv_head *h, uint32_t node, const char *address, uint32_t port)
{
    for (uint32_t i = 0; i < h->nodes; i++)
        if (i != node && h->place[i].port == port && strcmp(h->place[i].address, address) == 0)
            return true;
    return false;
}

void sv_head_place(struct sv_head *h, uint32_t node, const char *address)
{
    struct im_node_place *place = &h->place[node];
    uint32_t port = h->port_of_head;

    if (strcmp(place->address, address) == 0 || !sv_address_is_numeric(address))
        return;
    while (is_taken(h, node, address, port))
        port = port < 65535 ? port + 1 : 1024;
    snprintf(place->address, sizeof place->address, "%s", address);
    place->port = port;
    for (uint32_t i = 0; i < h->nodes; i++)
        h->node[i].placed = 0;
}

static void send_orders(struct sv_head *h)
{
    for (uint32_t i = 0; i < h->nodes; i++) {
        struct sv_head_node *n = &h->node[i];

        if (!is_heard(n) || (n->ordered && h->now - n->ordered < SV_LINK_BEAT_NS))
            continue;
        send_order(h, i);
        if (n->report.wants_table && i > 0)
            send_table(h, n->session);
        if (n->placed == 0 || h->now - n->placed >= PLACES_NS)
            send_places(h, n);
    }
}

/* ---- reports ---- */

static void hear(struct sv_head *h, uint32_t node)
{
    struct sv_head_node *n = &h->node[node];

    n->heard = h->now;
    n->closed = 0;
    n->is_cut = false;
    if (n->state == SV_NODE_SILENT || n->state == SV_NODE_DEAD) {
        sv_head_tell(h, false, "node %u (%s) is heard again", node, n->name);
        sv_head_node_is(h, node, SV_NODE_THERE);
        n->ordered = 0;
    }
}

static void leave(struct sv_head *h, uint32_t node, const struct sv_report *r)
{
    struct sv_head_node *n = &h->node[node];
    char why[SV_LINK_REASON_MAX + SV_NAME_MAX + 64];

    if (n->state == SV_NODE_LEFT)
        return;
    snprintf(why, sizeof why, "node %u (%s) has left with exit status %d%s%s", node, n->name, r->status,
             r->reason[0] ? ": " : "", r->reason);
    sv_head_node_is(h, node, SV_NODE_LEFT);
    if (!h->order.ended && h->order.stop == SV_STOP_NONE)
        sv_head_tell(h, true, "%s", why);
    sv_head_lose(h, node, why);
}

static void report(struct sv_head *h, uint32_t node, const struct sv_report *r)
{
    struct sv_head_node *n = &h->node[node];

    if (r->serial <= n->report.serial) {
        h->dropped++;
        return;
    }
    n->report = *r;
    if (n->state != SV_NODE_LEFT)
        hear(h, node);
    if (r->stop > h->order.stop && !h->order.ended)
        stop(h, r->stop, node, r->reason);
    if (r->left) {
        leave(h, node, r);
        send_order(h, node); /* left_seen */
        return;
    }
    if (r->seen > h->generation.number || (!h->runs && r->running == h->generation.number))
        sv_head_outnumber(h, r->seen);
    if (h->runs && r->want == h->generation.number)
        sv_head_gather(h, "node %u (%s): %s", node, n->name, r->reason);
    else if (h->runs && h->generation.ranks[node] && h->begun_by && r->order >= h->begun_by &&
             r->running != h->generation.number)
        sv_head_gather(h, "node %u (%s) does not run generation %u", node, n->name, h->generation.number);
}

/* ---- values ---- */

static void send_value(struct sv_head *h, uint64_t to, const struct sv_shown *kept)
{
    struct sv_link_message m = {
        .kind = SV_VALUE, .value = {.generation = h->generation.number, .bytes = kept->bytes, .n = kept->n}};

    memcpy(m.value.key, kept->key, sizeof m.value.key);
    sv_head_send(h, to, &m);
}

static void publish(struct sv_head *h, uint32_t node, const struct sv_value *value)
{
    struct sv_shown *kept = sv_values_at(&h->values, value->key);
    struct sv_link_message m = {.kind = SV_KEPT, .value = {.generation = value->generation}};

    if (!kept || sv_values_keep(kept, value->bytes, value->n) < 0) {
        sv_head_tell(h, true, "no room for the value %s of node %u", value->key, node);
        return;
    }
    memcpy(m.value.key, value->key, sizeof m.value.key);
    sv_head_send(h, h->node[node].session, &m);
    for (uint32_t i = 0; i < h->nodes; i++)
        if (kept->waiting[i / 64] >> (i % 64) & 1)
            send_value(h, h->node[i].session, kept);
    memset(kept->waiting, 0, sizeof kept->waiting);
}

static void fetch(struct sv_head *h, uint32_t node, const struct sv_value *value)
{
    struct sv_shown *kept = sv_values_at(&h->values, value->key);

    if (kept && kept->bytes)
        send_value(h, h->node[node].session, kept);
    else if (kept)
        kept->waiting[node / 64] |= (uint64_t)1 << (node % 64);
}

/* ---- questions of one node to another ---- */

static void carry(struct sv_head *h, uint32_t node, const struct sv_link_message *m)
{
    struct sv_link_message out = {.kind = m->kind, .talk = m->talk};
    const uint32_t to = m->talk.to;

    hear(h, node);
    out.talk.from = node;
    out.talk.is_gone = false;
    if (to < h->nodes && is_heard(&h->node[to])) {
        sv_head_send(h, h->node[to].session, &out);
    } else if (m->kind == SV_ASK) {
        out.kind = SV_ANSWER;
        out.talk = (struct sv_talk){.from = to, .to = node, .id = m->talk.id, .is_gone = true};
        sv_head_send(h, h->node[node].session, &out);
    } else {
        h->dropped++;
    }
}

/* ---- events ---- */

static uint32_t node_of(const struct sv_head *h, uint64_t session)
{
    for (uint32_t i = 0; i < h->nodes; i++)
        if (h->node[i].session == session)
            return i;
    return UINT32_MAX;
}

static void of_a_node(struct sv_head *h, uint32_t node, const struct sv_link_message *m)
{
    const bool is_value = m->kind == SV_PUBLISH || m->kind == SV_FETCH;

    if (m->kind == SV_REPORT) {
        report(h, node, &m->report);
    } else if (m->kind == SV_ASK || m->kind == SV_ANSWER) {
        carry(h, node, m);
    } else if (!is_value || !h->runs || m->value.generation != h->generation.number ||
               !h->generation.ranks[node]) {
        h->dropped++;
    } else {
        hear(h, node);
        if (m->kind == SV_PUBLISH)
            publish(h, node, &m->value);
        else
            fetch(h, node, &m->value);
    }
}

void sv_head_message(struct sv_head *h, im_ns now, uint32_t who, const struct sv_link_message *m)
{
    const uint32_t node = node_of(h, m->from);

    h->now = now;
    if (m->from == 0)
        h->dropped++;
    else if (m->kind == SV_HELLO) /* it may still speak to the head before this one */
        sv_head_admit(h, who, m);
    else if (m->to == h->session && node != UINT32_MAX)
        of_a_node(h, node, m);
    else
        sv_head_send(h, m->from, &(struct sv_link_message){.kind = SV_WHO});
}

void sv_head_closed(struct sv_head *h, im_ns now, uint64_t session)
{
    const uint32_t node = node_of(h, session);

    h->now = now;
    if (node != UINT32_MAX && !h->node[node].closed)
        h->node[node].closed = now;
}

void sv_head_cut(struct sv_head *h, im_ns now, uint64_t session)
{
    const uint32_t node = node_of(h, session);

    h->now = now;
    if (node != UINT32_MAX)
        h->node[node].is_cut = true;
}

/* ---- time ---- */

/* A connection that was given up after a silence tells nothing new: a cut, that may end before the node counts as dead. */
static void watch(struct sv_head *h, uint32_t node)
{
    struct sv_head_node *n = &h->node[node];
    const im_ns silence = h->now - n->heard;
    char why[SV_NAME_MAX + 128];

    if (n->closed && n->closed - n->heard < SV_LINK_SILENT_NS && h->now - n->closed > SV_LINK_GONE_NS)
        snprintf(why, sizeof why, "node %u (%s) has closed its connection", node, n->name);
    else if (n->is_cut)
        snprintf(why, sizeof why, "node %u (%s) is cut off: its machine has acknowledged nothing for %d s",
                 node, n->name, (int)(SV_LINK_CUT_NS / IM_SECOND));
    else if (silence > SV_LINK_DEAD_NS)
        snprintf(why, sizeof why, "node %u (%s) has not been heard of for %.0f s", node, n->name,
                 (double)silence / IM_SECOND);
    else if (silence > SV_LINK_SILENT_NS && n->state == SV_NODE_THERE) {
        sv_head_node_is(h, node, SV_NODE_SILENT);
        sv_head_tell(h, true, "node %u (%s) is silent for %.0f s", node, n->name,
                     (double)silence / IM_SECOND);
        return;
    } else {
        return;
    }
    sv_head_node_is(h, node, SV_NODE_DEAD);
    if (!h->order.ended)
        sv_head_tell(h, true, "%s", why);
    sv_head_lose(h, node, why);
}

/* Members of a generation that this head took over, which have not come in time. */
static void watch_expected(struct sv_head *h, uint32_t node)
{
    char why[64];

    if (!h->runs || !h->generation.ranks[node] || h->now - h->began <= SV_LINK_DEAD_NS)
        return;
    snprintf(why, sizeof why, "node %u has not come back", node);
    sv_head_lose(h, node, why);
}

static void head_begin(struct sv_head *h, im_ns now)
{
    h->has_begun = true;
    h->began = h->gathering = now;
    h->told_at = now + FIRST_TELL_NS - TELL_NS;
    for (uint32_t i = 0; i < h->nodes; i++)
        h->node[i].changed = now;
}

static im_ns later(const struct sv_head *h, im_ns at, im_ns gap)
{
    return at + gap < h->now ? at + gap : h->now;
}

/* This process was stopped, or had no processor: that time is nobody's silence. */
static void forgive(struct sv_head *h, im_ns gap)
{
    for (uint32_t i = 0; i < h->nodes; i++) {
        struct sv_head_node *n = &h->node[i];

        n->heard = later(h, n->heard, gap);
        n->closed = n->closed ? later(h, n->closed, gap) : 0;
        n->rival_since = later(h, n->rival_since, gap);
    }
}

void sv_head_tick(struct sv_head *h, im_ns now)
{
    h->now = now;
    if (!h->has_begun)
        head_begin(h, now);
    if (now - h->ticked > SV_LINK_BEAT_NS && h->ticked)
        forgive(h, now - h->ticked);
    h->ticked = now;
    for (uint32_t i = 0; i < h->nodes; i++) {
        if (is_heard(&h->node[i]))
            watch(h, i);
        else if (h->node[i].state == SV_NODE_MISSING)
            watch_expected(h, i);
    }
    if (!h->runs && h->order.stop == SV_STOP_NONE && !h->order.ended) {
        sv_head_try_begin(h);
        if (!h->runs && now - h->told_at >= TELL_NS) {
            h->told_at = now;
            sv_head_tell_gathering(h);
        }
    }
    send_orders(h);
}

/* ---- the rest ---- */

void sv_head_finish(struct sv_head *h, int status, const char *reason)
{
    if (h->order.ended)
        return;
    h->order.ended = true;
    h->order.status = status;
    snprintf(h->order.end_reason, sizeof h->order.end_reason, "%s", reason ? reason : "");
    sv_head_order_all(h);
}

bool sv_head_is_over(const struct sv_head *h)
{
    for (uint32_t i = 1; i < h->nodes; i++)
        if (is_heard(&h->node[i]))
            return false;
    return h->order.ended;
}

bool sv_head_describe(const struct sv_head *h, uint32_t node, struct sv_node *ret)
{
    const struct sv_head_node *n = &h->node[node < h->nodes ? node : 0];

    *ret = (struct sv_node){.state = n->state,
                            .is_ready = (!h->runs || h->generation.ranks[node < h->nodes ? node : 0] == 0) &&
                                        n->report.ready == h->generation.number,
                            .ranks = n->ranks,
                            .status = n->report.status,
                            .position = n->report.position,
                            .saved = n->report.saved};
    memcpy(ret->name, n->name, sizeof ret->name);
    memcpy(ret->address, n->address, sizeof ret->address);
    memcpy(ret->snapshot, n->report.snapshot, sizeof ret->snapshot);
    memcpy(ret->number, n->report.number, sizeof ret->number);
    if (n->heard && h->now > n->heard)
        ret->silent_s = (double)(h->now - n->heard) / IM_SECOND;
    return node < h->nodes;
}

int sv_head_init(struct sv_head *h, const struct sv_link_config *config, uint64_t session, const char *where,
                 const struct sv_port *port)
{
    memset(h, 0, sizeof *h);
    h->port = *port;
    h->session = session;
    h->nodes = config->meeting->nodes;
    h->nodes_min = config->nodes_min ? config->nodes_min : h->nodes;
    h->survivors_min = config->survivors_min ? config->survivors_min : h->nodes;
    h->patience = config->patience;
    h->patience_back = config->patience_back ? config->patience_back : config->patience;
    h->wait = config->wait;
    snprintf(h->where, sizeof h->where, "%s", where);
    snprintf(h->build, sizeof h->build, "%s", config->build ? config->build : "");
    h->port_of_head = config->meeting->port;
    for (uint32_t i = 0; i < h->nodes; i++)
        h->place[i] = config->meeting->place[sv_takeover_machine(i, config->meeting->head_machine, h->nodes)];
    h->place[0] = (struct im_node_place){.port = 0}; /* before another asks for its port */
    sv_head_place(h, 0, config->meeting->here);
    h->runs = config->running.number > 0;
    h->takeover_min = h->runs ? 0 : config->takeover_min;
    h->has_run = h->runs || h->takeover_min > 0;
    h->generation = config->running;
    if (!h->runs)
        h->generation = (struct sv_generation){.number = 1, .nodes = h->nodes};
    h->agree = strdup(config->agree ? config->agree : "");
    return h->agree ? 0 : -ENOMEM;
}

void sv_head_fini(struct sv_head *h)
{
    sv_values_clear(&h->values);
    free(h->agree);
    memset(h, 0, sizeof *h);
}

const char *sv_node_state_name(enum sv_node_state state)
{
    static const char *const name[SV_NODE_STATES] = {"missing", "there", "silent", "dead", "left"};

    return (unsigned)state < SV_NODE_STATES ? name[state] : "unknown";
}
