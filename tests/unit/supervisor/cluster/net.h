/* A simulated network of nodes, for tests of head and members: messages are encoded, lost, late, doubled, overtaken; links
 * are cut; processes die and are started again. Time is a number. The same seed does the same. */
#ifndef TESTS_UNIT_SUPERVISOR_CLUSTER_NET_H
#define TESTS_UNIT_SUPERVISOR_CLUSTER_NET_H

#include "ipc/base/rng.h"
#include "supervisor/cluster/head.h"
#include "supervisor/cluster/member.h"

#define NET_NODES 6

/* A supervisor's process, and what it does with the news. */
struct net_peer {
    struct net *net;
    uint32_t node;
    bool up;
    struct sv_member member;
    struct sv_head *head; /* of node 0 */
    struct sv_meeting meeting;
    struct sv_link_config config;
    uint64_t session;

    /* The node's: outlives its supervisor, if its trainers do. */
    struct sv_generation running; /* number 0: no trainers */
    uint32_t over;                /* asked to end; ready at ready_at */
    im_ns ready_at;
    uint32_t readied;      /* the last generation that it said to be ready for */
    uint64_t head_session; /* of that */
    uint64_t position[2];
    uint32_t cards; /* bits: values of nodes that came, in this generation */

    bool joined, refused, lost, stopped, gave_up, now, ended;
    int status;
    uint32_t begins, overs, told, told_back, joins;
    uint64_t asked, answered; /* the last question, the last answer */
    uint32_t asked_by;
    char talk[16]; /* of either */
    bool talk_gone;
    char refusal[1024], text[1024], last_over[1024];
    struct im_node_place place[NET_NODES]; /* as it was last told */
    uint32_t places;                       /* how often */
};

struct net_packet {
    im_ns at;
    uint32_t to; /* peer */
    uint32_t from;
    uint64_t session; /* receiver's at the time of sending; a dead one gets nothing */
    size_t n;
    unsigned char *bytes;
};

struct net {
    struct im_rng rng;
    im_ns now;
    uint32_t nodes;
    struct net_peer peer[NET_NODES];
    struct net_packet *packet;
    size_t packets, room;
    uint64_t next_session;

    double loss, doubled; /* shares */
    im_ns delay, jitter;  /* of a message */
    bool cut[NET_NODES];  /* its link to the head */
    bool tells_closed;    /* a dead process closes its connection */
    bool answers;         /* peers get ready, publish and fetch by themselves */
    bool lets_in;         /* the head's node asks for a generation where one is ready that takes no part */
    im_ns work;           /* until a peer is ready */
    uint64_t delivered;
    void (*begun)(struct net_peer *p, const struct sv_generation *g); /* may be NULL */
};

void net_init(struct net *net, uint32_t nodes, uint64_t seed);
void net_fini(struct net *net);

/* Starts the process of a node; `goes_on`: its trainers live, it takes over. `change` may change the configuration. */
void net_start(struct net *net, uint32_t node, bool goes_on);
void net_kill(struct net *net, uint32_t node, bool trainers_too);
void net_run(struct net *net, im_ns duration); /* in steps of 50 ms */
bool net_all_run(const struct net *net);       /* every node the same generation, all cards seen */

#endif
