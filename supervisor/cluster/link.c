#include "supervisor/cluster/link.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "supervisor/cluster/head.h"
#include "supervisor/cluster/member.h"
#include "supervisor/cluster/transport.h"

#define LOOK_NS (100 * IM_MS) /* between two looks at the clock */
#define TURN_MESSAGES 8192    /* received in one turn at most */
#define STRANGER_NS (10 * IM_SECOND)

/* Between the head and the member of its own node. */
struct packet {
    struct packet *next;
    bool to_head;
    size_t n;
    unsigned char bytes[];
};

struct item {
    struct item *next;
    struct sv_link_news news;
    unsigned char bytes[];
};

struct sv_link {
    struct sv_transport *socket;
    struct sv_head *head; /* of node 0 */
    struct sv_member member;
    struct packet *packet, **packet_end;
    struct item *item, **item_end;
    struct item *shown; /* what the last news points into */
    struct sv_link_counts counts;
    uint64_t closed[SV_NODES_MAX]; /* sessions that a send found closed, in this turn */
    uint32_t closings;
    uint64_t strangers_told;
    bool was_open; /* a member's connection */
    im_ns stranger_at;
    unsigned char bytes[SV_MESSAGE_MAX], sent[SV_MESSAGE_MAX];
};

/* ---- the port of both ---- */

static void keep_news(void *context, const struct sv_link_news *news)
{
    struct sv_link *l = context;
    const size_t n = news->bytes ? news->n : 0;
    struct item *item = malloc(sizeof *item + n);

    im_assert(item != NULL);
    item->next = NULL;
    item->news = *news;
    if (n)
        memcpy(item->bytes, news->bytes, n);
    item->news.bytes = item->bytes;
    item->news.n = n;
    *l->item_end = item;
    l->item_end = &item->next;
}

static void send_local(struct sv_link *l, bool to_head, const unsigned char *bytes, size_t n)
{
    struct packet *p = malloc(sizeof *p + n);

    im_assert(p != NULL);
    *p = (struct packet){.to_head = to_head, .n = n};
    memcpy(p->bytes, bytes, n);
    *l->packet_end = p;
    l->packet_end = &p->next;
}

static void send_far(struct sv_link *l, uint64_t session, const unsigned char *bytes, size_t n)
{
    const int err = sv_transport_send(l->socket, session, bytes, n);

    if (err == 0) {
        l->counts.sent++;
        l->counts.bytes_sent += n;
        return;
    }
    l->counts.dropped++;
    if (err == -EHOSTUNREACH && l->closings < SV_NODES_MAX)
        l->closed[l->closings++] = session;
}

static void send_message(void *context, const struct sv_link_message *m)
{
    struct sv_link *l = context;
    const long n = sv_message_encode(m, l->sent, sizeof l->sent);
    const bool local = l->head && (m->from == l->member.session || m->to == l->member.session);

    im_assert(n > 0);
    if (local)
        send_local(l, m->from == l->member.session, l->sent, (size_t)n);
    else
        send_far(l, m->to, l->sent, (size_t)n);
}

/* ---- open and close ---- */

static uint64_t new_session(void)
{
    uint64_t session = 0;

    while (session == 0)
        im_assert(getrandom(&session, sizeof session, 0) == sizeof session);
    return session;
}

static int open_machines(struct sv_link *l, const struct sv_link_config *config, uint64_t session)
{
    const struct sv_port port = {l, send_message, keep_news};
    char where[300];
    int err;

    snprintf(where, sizeof where, "%s port %" PRIu32, config->meeting->head, config->meeting->port);
    err = sv_member_init(&l->member, config, session, where, &port);
    if (err < 0 || config->meeting->node > 0)
        return err;
    l->head = calloc(1, sizeof *l->head);
    return l->head ? sv_head_init(l->head, config, new_session(), where, &port) : -ENOMEM;
}

int sv_link_open(const struct sv_link_config *config, struct sv_link **ret, struct im_text *text)
{
    const uint64_t session = new_session();
    struct sv_link *l;
    int err;

    if (config->agree && strlen(config->agree) > SV_LINK_AGREE_MAX)
        return im_fail(text, -E2BIG, "what the machines must agree on is longer than %d bytes",
                       SV_LINK_AGREE_MAX);
    l = calloc(1, sizeof *l);
    if (!l)
        return -ENOMEM;
    l->packet_end = &l->packet;
    l->item_end = &l->item;
    err = open_machines(l, config, session);
    if (err == 0)
        err = sv_transport_open(config->meeting, session, &l->socket, text);
    if (err < 0) {
        sv_link_close(&l, 0);
        return err;
    }
    sv_transport_wake(l->socket, 0);
    *ret = l;
    return 0;
}

void sv_link_close(struct sv_link **link, im_ns linger)
{
    struct sv_link *l = *link;

    *link = NULL;
    if (!l)
        return;
    sv_transport_close(&l->socket, linger);
    sv_member_fini(&l->member);
    if (l->head)
        sv_head_fini(l->head);
    free(l->head);
    for (struct packet *p = l->packet, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    for (struct item *i = l->item, *next; i; i = next) {
        next = i->next;
        free(i);
    }
    free(l->shown);
    free(l);
}

/* ---- a turn ---- */

/* A head of another version is recognised by its answer; members of another version get one that they recognise. */
static void meet_another_version(struct sv_link *l, const struct sv_link_message *m)
{
    struct sv_link_news news = {.kind = SV_LINK_REFUSED, .warning = true};
    struct sv_link_message who = {.kind = SV_WHO, .to = m->from};

    if (l->head) {
        who.from = l->head->session;
        send_message(l, &who);
        return;
    }
    if (l->member.is_refused)
        return;
    l->member.is_refused = true;
    snprintf(news.text, sizeof news.text,
             "the head speaks another version of the protocol between machines: use the same imsuper on all "
             "of them");
    keep_news(l, &news);
}

static void receive_one(struct sv_link *l, im_ns now, long n, uint64_t session, uint32_t who)
{
    struct sv_link_message m;
    const int err = sv_message_decode(l->bytes, (size_t)n, &m);

    l->counts.received++;
    l->counts.bytes_received += (uint64_t)n;
    if (err == 0 && l->head && m.from == session && session)
        sv_head_message(l->head, now, who, &m);
    else if (err == 0 && !l->head)
        sv_member_message(&l->member, now, &m);
    else if (err == -EPROTO && (!l->head || m.from == session))
        meet_another_version(l, &m);
    else
        l->counts.dropped++;
}

static void receive_all(struct sv_link *l, im_ns now)
{
    uint64_t session;
    uint32_t who;

    for (int i = 0; i < TURN_MESSAGES; i++) {
        const long n = sv_transport_receive(l->socket, l->bytes, sizeof l->bytes, &session, &who);

        if (n < 0)
            return;
        receive_one(l, now, n, session, who);
    }
}

static void deliver_local(struct sv_link *l, im_ns now)
{
    while (l->packet) {
        struct packet *p = l->packet;
        struct sv_link_message m;
        int err = sv_message_decode(p->bytes, p->n, &m);

        l->packet = p->next;
        if (!l->packet)
            l->packet_end = &l->packet;
        im_assert(err == 0);
        if (p->to_head)
            sv_head_message(l->head, now, l->member.hello.node, &m);
        else
            sv_member_message(&l->member, now, &m);
        free(p);
    }
}

static void tell_strangers(struct sv_link *l, im_ns now)
{
    struct sv_link_news news = {.kind = SV_LINK_TELL, .warning = true};
    char from[SV_ADDRESS_MAX];

    l->counts.strangers = sv_transport_strangers(l->socket, from);
    if (l->counts.strangers == l->strangers_told || (l->stranger_at && now - l->stranger_at < STRANGER_NS))
        return;
    snprintf(
        news.text, sizeof news.text,
        "%" PRIu64
        " connection%s%s%s turned away, because of the key: a machine of this run has another key file, or "
        "it is none of this run",
        l->counts.strangers - l->strangers_told,
        l->counts.strangers - l->strangers_told == 1 ? " was" : "s were", from[0] ? " from " : "", from);
    l->strangers_told = l->counts.strangers;
    l->stranger_at = now;
    keep_news(l, &news);
}

static void look_at_connection(struct sv_link *l)
{
    const bool is_open = sv_transport_is_open(l->socket);

    if (is_open && !l->was_open)
        sv_member_connected(&l->member);
    l->member.refusals = sv_transport_refusals(l->socket);
    l->member.is_cut = sv_transport_cut(l->socket, &(uint64_t){0});
    l->was_open = is_open;
    snprintf(l->member.trouble, sizeof l->member.trouble, "%s", sv_transport_trouble(l->socket));
}

void sv_link_turn(struct sv_link *l)
{
    const im_ns now = im_now();
    uint64_t cut;

    sv_transport_serve(l->socket);
    receive_all(l, now);
    deliver_local(l, now);
    for (uint32_t i = 0; i < l->closings; i++)
        sv_head_closed(l->head, now, l->closed[i]);
    l->closings = 0;
    if (l->head) {
        tell_strangers(l, now);
        while (sv_transport_cut(l->socket, &cut))
            sv_head_cut(l->head, now, cut);
        sv_head_tick(l->head, now);
    } else {
        look_at_connection(l);
    }
    sv_member_tick(&l->member, now);
    deliver_local(l, now);
    if (l->head)
        sv_head_tick(l->head, now);
    deliver_local(l, now);
    sv_transport_wake(l->socket, sv_transport_has_more(l->socket) ? 0 : LOOK_NS);
}

int sv_link_fd(const struct sv_link *l)
{
    return sv_transport_fd(l->socket);
}

bool sv_link_news(struct sv_link *l, struct sv_link_news *ret)
{
    free(l->shown);
    l->shown = l->item;
    if (!l->item)
        return false;
    *ret = l->item->news;
    l->item = l->item->next;
    if (!l->item)
        l->item_end = &l->item;
    return true;
}

/* ---- requests of the node: sent with the next turn, which comes soon ---- */

void sv_link_ready(struct sv_link *l, uint32_t number, const uint64_t *positions, uint32_t count,
                   uint64_t saved)
{
    sv_member_ready(&l->member, number, positions, count, saved);
    sv_transport_wake(l->socket, 0);
}

int sv_link_publish(struct sv_link *l, uint32_t number, const char *key, const void *bytes, size_t n)
{
    sv_transport_wake(l->socket, 0);
    return sv_member_publish(&l->member, number, key, bytes, n);
}

int sv_link_fetch(struct sv_link *l, uint32_t number, const char *key)
{
    sv_transport_wake(l->socket, 0);
    return sv_member_fetch(&l->member, number, key);
}

void sv_link_ask_generation(struct sv_link *l, uint32_t number, const char *reason)
{
    sv_member_ask_generation(&l->member, number, reason);
    sv_transport_wake(l->socket, 0);
}

void sv_link_ask_stop(struct sv_link *l, bool now, const char *reason)
{
    sv_member_ask_stop(&l->member, now ? SV_STOP_NOW : SV_STOP_SAVE, reason);
    sv_transport_wake(l->socket, 0);
}

int sv_link_ask(struct sv_link *l, uint32_t node, uint64_t id, const void *bytes, size_t n)
{
    const int err = sv_member_talk(&l->member, SV_ASK, node, id, bytes, n);

    sv_transport_wake(l->socket, 0);
    return err;
}

int sv_link_answer(struct sv_link *l, uint32_t node, uint64_t id, const void *bytes, size_t n)
{
    const int err = sv_member_talk(&l->member, SV_ANSWER, node, id, bytes, n);

    sv_transport_wake(l->socket, 0);
    return err;
}

void sv_link_report(struct sv_link *l, uint64_t position, const uint64_t *positions, uint32_t count,
                    uint64_t saved, const uint64_t number[SV_LINK_NUMBERS])
{
    sv_member_report(&l->member, position, positions, count, saved, number);
}

void sv_link_finish(struct sv_link *l, int status, const char *reason)
{
    if (l->head)
        sv_head_finish(l->head, status, reason);
    sv_member_finish(&l->member, status, reason);
    sv_transport_wake(l->socket, 0);
}

bool sv_link_is_over(const struct sv_link *l)
{
    return l->head ? sv_head_is_over(l->head) : sv_member_is_over(&l->member);
}

bool sv_link_node(const struct sv_link *l, uint32_t node, struct sv_node *ret)
{
    *ret = (struct sv_node){.state = SV_NODE_MISSING};
    if (node >= l->member.hello.nodes)
        return false;
    if (l->head)
        sv_head_describe(l->head, node, ret);
    else if (node < l->member.table_rows)
        *ret = l->member.table[node];
    else
        return false;
    return true;
}

void sv_link_want_table(struct sv_link *l, bool wanted)
{
    sv_member_want_table(&l->member, wanted);
}

const struct sv_generation *sv_link_generation(const struct sv_link *l)
{
    return sv_member_generation(&l->member);
}

struct sv_link_counts sv_link_counts(const struct sv_link *l)
{
    struct sv_link_counts c = l->counts;

    c.dropped += l->member.dropped + (l->head ? l->head->dropped : 0);
    return c;
}
