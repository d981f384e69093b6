/* The head's side of the channel: which nodes are there, which generation begins when, with whom and where. A pure
 * function of this state and the events below: no clock, no socket, no random number.
 *
 *   gathering g   waits until every node has said "ready for g" (or those have that are enough, once the others are late),
 *                 then:
 *   running g     until a member is dead, leaves, was started anew, or asks for it: gathering g + 1
 *   stopping      somebody asked to stop, or nodes are missing for too long: no generation begins any more
 *   ended         the head's supervisor has finished
 *
 * Rules that the property tests hold it to (tests/unit/supervisor/cluster/test_cluster.c): a generation has one list of members
 * and one position on all nodes; a node begins it only after it said, in the session that begins it, that it is ready for
 * this one; once messages go through again, all nodes come to run the same generation. */
#ifndef SUPERVISOR_CLUSTER_HEAD_H
#define SUPERVISOR_CLUSTER_HEAD_H

#include "supervisor/cluster/port.h"
#include "supervisor/cluster/values.h"

/* A node as the head sees it. */
struct sv_head_node {
    enum sv_node_state state;
    uint64_t session;
    im_ns heard, changed; /* changed: since when it is missing, dead or gone; */
    im_ns closed;         /* since when its connection is closed; 0: it is open */
    bool is_cut;          /* its machine acknowledges nothing */
    im_ns ordered;        /* when the last order was sent */
    bool left_out; /* the last generation began without it, and it has not come since: nobody waits for it */
    uint32_t ranks;
    char name[SV_NAME_MAX], address[SV_ADDRESS_MAX];
    struct sv_report report;

    im_ns placed; /* when it was sent the places of all last; 0: they have changed */

    uint64_t rival; /* session of another that says to be this node; 0: none */
    im_ns rival_since;
};

struct sv_head {
    struct sv_port port;
    uint64_t session;
    uint32_t nodes, nodes_min, survivors_min;
    uint32_t takeover_min; /* 0: it has not taken over, or its first generation has begun */
    im_ns patience, patience_back, wait;
    bool has_run; /* a generation has begun, of this head or one before */
    char where[300], build[SV_BUILD_MAX];
    char *agree;

    bool has_begun, runs;
    im_ns began, gathering, told_at, ticked, now;
    struct sv_generation generation; /* the one that runs, or is to begin */
    uint64_t begun_by;               /* serial of the first order that said that it runs */
    struct sv_order order;           /* what of it does not change with the generation; serial */
    struct sv_values values;
    struct sv_head_node node[SV_NODES_MAX];
    struct im_node_place place[SV_NODES_MAX]; /* of nodes */
    uint32_t port_of_head;
    uint64_t refused_session; /* the last, so that it is reported once */
    uint64_t dropped;
};

int sv_head_init(struct sv_head *h, const struct sv_link_config *config, uint64_t session, const char *where,
                 const struct sv_port *port);
void sv_head_fini(struct sv_head *h);

/* `who`: the node that the keys prove; UINT32_MAX: they prove only that it belongs to the run. */
void sv_head_message(struct sv_head *h, im_ns now, uint32_t who, const struct sv_link_message *m);
/* The connection of that session is closed. */
void sv_head_closed(struct sv_head *h, im_ns now, uint64_t session);
/* The machine of that session acknowledges nothing that is sent to it (reach.h). */
void sv_head_cut(struct sv_head *h, im_ns now, uint64_t session);
void sv_head_tick(struct sv_head *h,
                  im_ns now); /* sends what is due; after events, and at least ten times a second */

void sv_head_finish(struct sv_head *h, int status, const char *reason);
bool sv_head_is_over(const struct sv_head *h);
/* A node is at that address: it gets a port there that no other has, the head's where that is free. */
void sv_head_place(struct sv_head *h, uint32_t node, const char *address);
bool sv_head_describe(const struct sv_head *h, uint32_t node, struct sv_node *ret);

#endif
