#include "tests/unit/supervisor/cluster/net.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/ipc/base/unit.h"

#define STEP_NS (50 * IM_MS)

struct card {
    uint32_t node, generation;
    uint64_t session;
};

static void put(struct net *net, uint32_t from, uint32_t to, uint64_t session, const unsigned char *bytes,
                size_t n, im_ns at)
{
    if (net->packets == net->room) {
        net->room = net->room ? net->room * 2 : 64;
        net->packet = realloc(net->packet, net->room * sizeof *net->packet);
        assert_non_null(net->packet);
    }
    net->packet[net->packets] =
        (struct net_packet){.at = at, .to = to, .from = from, .session = session, .n = n, .bytes = malloc(n)};
    assert_non_null(net->packet[net->packets].bytes);
    memcpy(net->packet[net->packets++].bytes, bytes, n);
}

/* Between node 0's own head and member nothing is lost. */
static void transmit(struct net *net, uint32_t from, uint32_t to, uint64_t session,
                     const struct sv_link_message *m)
{
    static unsigned char bytes[SV_MESSAGE_MAX];
    const long n = sv_message_encode(m, bytes, sizeof bytes);
    int times = 1;

    assert_true(n > 0);
    if (from != to) {
        times = im_rng_unit(&net->rng) < net->loss ? 0 : im_rng_unit(&net->rng) < net->doubled ? 2 : 1;
        if (net->cut[from] || net->cut[to])
            times = 0;
    }
    while (times-- > 0)
        put(net, from, to, session, bytes, (size_t)n,
            net->now + (from == to ? 0 : net->delay + (im_ns)(im_rng_unit(&net->rng) * (double)net->jitter)));
}

static void member_sends(void *context, const struct sv_link_message *m)
{
    struct net_peer *p = context;

    transmit(p->net, p->node, 0, 0, m);
}

static void head_sends(void *context, const struct sv_link_message *m)
{
    struct net_peer *p = context;

    for (uint32_t i = 0; i < p->net->nodes; i++)
        if (p->net->peer[i].session == m->to) {
            transmit(p->net, 0, i, m->to, m);
            return;
        }
    if (p->net->tells_closed)
        sv_head_closed(p->head, p->net->now, m->to);
}

/* What trainers do when they begin; and a supervisor that takes over, for trainers that still wait. */
static void exchange(struct net_peer *p)
{
    const uint32_t g = p->running.number;
    const struct card card = {p->node, g, p->session};
    char key[16];

    snprintf(key, sizeof key, "card/%u", p->node);
    assert_int_equal(sv_member_publish(&p->member, g, key, &card, sizeof card), 0);
    for (uint32_t i = 0; i < p->net->nodes; i++) {
        snprintf(key, sizeof key, "card/%u", i);
        if (p->running.ranks[i] && !(p->cards >> i & 1))
            assert_int_equal(sv_member_fetch(&p->member, g, key), 0);
    }
}

static void begin(struct net_peer *p, const struct sv_link_news *news)
{
    const uint32_t g = news->generation.number;

    assert_int_equal(g, p->over); /* what it got ready for, and nothing runs */
    assert_int_equal(p->readied, g);
    assert_int_equal(p->running.number, 0);
    assert_true(news->generation.ranks[p->node] > 0);
    p->running = news->generation;
    p->begins++;
    p->cards = 0;
    if (p->net->begun)
        p->net->begun(p, &news->generation);
    exchange(p);
}

static void take_card(struct net_peer *p, const struct sv_link_news *news)
{
    struct card card;

    assert_int_equal(news->n, sizeof card);
    memcpy(&card, news->bytes, sizeof card);
    assert_int_equal(card.generation, p->running.number);
    assert_int_equal((uint32_t)strtoul(news->key + 5, NULL, 10), card.node);
    assert_int_equal(p->cards >> card.node & 1, 0);
    p->cards |= 1u << card.node;
}

static void over(struct net_peer *p, const struct sv_link_news *news)
{
    assert_true(news->number > p->over);
    p->overs++;
    p->over = news->number;
    p->running.number = 0;
    p->ready_at = p->net->now + p->net->work;
    snprintf(p->last_over, sizeof p->last_over, "%s", news->text);
}

static void peer_news(void *context, const struct sv_link_news *news)
{
    struct net_peer *p = context;

    if (news->text[0])
        snprintf(p->text, sizeof p->text, "%s", news->text);
    if (getenv("NET_SHOW"))
        printf("%7.2f node %u: news %d %u %s\n", (double)p->net->now / 1e9, p->node, news->kind, news->number,
               news->text);
    if (news->kind == SV_LINK_OVER)
        over(p, news);
    else if (news->kind == SV_LINK_BEGIN)
        begin(p, news);
    else if (news->kind == SV_LINK_VALUE)
        take_card(p, news);
    if (news->kind == SV_LINK_PLACES) {
        assert_int_equal(news->n, p->net->nodes * sizeof *p->place);
        memcpy(p->place, news->bytes, news->n);
        p->places++;
    }
    p->told += news->kind == SV_LINK_TELL;
    p->told_back += news->kind == SV_LINK_TELL && strstr(news->text, " is back after ") != NULL;
    if (news->kind == SV_LINK_ASKED || news->kind == SV_LINK_ANSWERED) {
        *(news->kind == SV_LINK_ASKED ? &p->asked : &p->answered) = news->id;
        p->asked_by = news->node;
        p->talk_gone = news->gone;
        snprintf(p->talk, sizeof p->talk, "%.*s", (int)news->n, news->n ? (const char *)news->bytes : "");
    }
    p->joins += news->kind == SV_LINK_JOINED;
    if (news->kind == SV_LINK_JOINED && p->running.number)
        exchange(p);
    p->joined |= news->kind == SV_LINK_JOINED;
    p->lost = news->kind == SV_LINK_JOINED ? false : p->lost | (news->kind == SV_LINK_LOST);
    if (news->kind == SV_LINK_REFUSED) {
        p->refused = true;
        snprintf(p->refusal, sizeof p->refusal, "%s", news->text);
    }
    if (news->kind == SV_LINK_STOP) {
        p->stopped = true;
        p->gave_up = news->gave_up;
        p->now = news->now;
    }
    if (news->kind == SV_LINK_END) {
        p->ended = true;
        p->status = news->status;
    }
}

void net_init(struct net *net, uint32_t nodes, uint64_t seed)
{
    memset(net, 0, sizeof *net);
    net->rng = im_rng_at(seed, IM_RNG_TEST, 0, 0);
    net->nodes = nodes;
    net->now = 1000 * IM_SECOND;
    net->delay = IM_MS;
    net->work = 300 * IM_MS;
    net->answers = true;
    for (uint32_t i = 0; i < nodes; i++) {
        struct net_peer *p = &net->peer[i];

        p->net = net;
        p->node = i;
        p->meeting = (struct sv_meeting){.nodes = nodes, .node = i, .here = "10.0.0.1", .port = 29500};
        p->config = (struct sv_link_config){.meeting = &p->meeting,
                                            .ranks = 1 + i % 2,
                                            .name = "host",
                                            .build = "b1",
                                            .agree = "seed=1\nlr=0.1\n",
                                            .patience = 1000 * IM_SECOND};
        p->position[0] = p->position[1] = SV_LINK_NOWHERE;
    }
}

void net_start(struct net *net, uint32_t node, bool goes_on)
{
    struct net_peer *p = &net->peer[node];
    const struct sv_port to_head = {p, member_sends, peer_news}, to_members = {p, head_sends, peer_news};

    assert_false(p->up);
    p->up = true;
    p->session = ++net->next_session;
    p->joined = p->refused = p->lost = p->stopped = p->ended = false;
    if (!goes_on)
        memset(&p->running, 0, sizeof p->running);
    p->config.running = p->running;
    p->over = p->running.number;
    p->ready_at = 0;
    p->readied = 0;
    if (node == 0) {
        p->head = malloc(sizeof *p->head);
        assert_non_null(p->head);
        assert_int_equal(sv_head_init(p->head, &p->config, ++net->next_session, "head:1", &to_members), 0);
    }
    assert_int_equal(sv_member_init(&p->member, &p->config, p->session, "head:1", &to_head), 0);
}

void net_kill(struct net *net, uint32_t node, bool trainers_too)
{
    struct net_peer *p = &net->peer[node];

    if (!p->up)
        return;
    p->up = false;
    sv_member_fini(&p->member);
    if (p->head)
        sv_head_fini(p->head);
    free(p->head);
    p->head = NULL;
    p->session = 0;
    if (trainers_too)
        memset(&p->running, 0, sizeof p->running);
}

static void deliver(struct net *net, const struct net_packet *packet)
{
    struct net_peer *p = &net->peer[packet->to];
    struct sv_link_message m;

    if (packet->from != packet->to && (net->cut[packet->from] || net->cut[packet->to]))
        return;
    if (!p->up || (packet->session && p->session != packet->session))
        return;
    assert_int_equal(sv_message_decode(packet->bytes, packet->n, &m), 0);
    net->delivered++;
    if (packet->session)
        sv_member_message(&p->member, net->now, &m);
    else
        sv_head_message(p->head, net->now, UINT32_MAX, &m);
}

static void deliver_due(struct net *net)
{
    for (size_t i = 0; i < net->packets;) {
        const struct net_packet packet = net->packet[i];

        if (packet.at > net->now) {
            i++;
            continue;
        }
        memmove(&net->packet[i], &net->packet[i + 1], (--net->packets - i) * sizeof packet);
        deliver(net, &packet);
        free(packet.bytes);
    }
}

static void let_in(struct net_peer *p)
{
    const struct sv_generation *g = sv_member_generation(&p->member);
    struct sv_node node;

    for (uint32_t i = 1; g && i < p->net->nodes; i++)
        if (g->ranks[i] == 0 && sv_head_describe(p->head, i, &node) && node.state == SV_NODE_THERE &&
            node.is_ready)
            sv_member_ask_generation(&p->member, g->number, "a node is there");
}

static void live(struct net *net, struct net_peer *p)
{
    if (!p->up)
        return;
    if (net->answers && p->over && p->ready_at && net->now >= p->ready_at) {
        p->ready_at = 0;
        p->readied = p->over;
        sv_member_ready(&p->member, p->over, p->position, 2, SV_LINK_NOWHERE);
    }
    if (p->head && net->lets_in)
        let_in(p);
    if (p->head)
        sv_head_tick(p->head, net->now);
    sv_member_tick(&p->member, net->now);
}

void net_run(struct net *net, im_ns duration)
{
    const im_ns until = net->now + duration;

    while (net->now < until) {
        net->now += STEP_NS;
        deliver_due(net);
        for (uint32_t i = 0; i < net->nodes; i++)
            live(net, &net->peer[i]);
        deliver_due(net); /* between the head and its own member */
    }
}

bool net_all_run(const struct net *net)
{
    const uint32_t number = net->peer[0].running.number;

    for (uint32_t i = 0; i < net->nodes; i++) {
        const struct net_peer *p = &net->peer[i];

        if (!p->up || !p->joined || p->lost || number == 0 || p->running.number != number ||
            p->cards != (1u << net->nodes) - 1)
            return false;
    }
    return true;
}

void net_fini(struct net *net)
{
    for (uint32_t i = 0; i < net->nodes; i++)
        net_kill(net, i, true);
    for (size_t i = 0; i < net->packets; i++)
        free(net->packet[i].bytes);
    free(net->packet);
}
