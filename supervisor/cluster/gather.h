/* When a generation ends, and when the next one begins: the head's decisions. */
#ifndef SUPERVISOR_CLUSTER_GATHER_H
#define SUPERVISOR_CLUSTER_GATHER_H

#include "supervisor/cluster/head.h"

/* The generation that runs is over: the next is to begin. Nothing while none runs, or the run is to end. */
void sv_head_gather(struct sv_head *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A node is dead, or has left. */
void sv_head_lose(struct sv_head *h, uint32_t node, const char *why);

/* A node has heard of generation `seen`, of a head before this one: new ones get higher numbers. */
void sv_head_outnumber(struct sv_head *h, uint32_t seen);

/* Begins the generation if all are ready, or those that are enough; gives up where too few are left. */
void sv_head_try_begin(struct sv_head *h);

/* "waiting for 2 of 4 nodes ...": who is there and who is missing. */
void sv_head_tell_gathering(struct sv_head *h);

/* Of head.c, for this file and admit.c. */
void sv_head_tell(struct sv_head *h, bool warning, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sv_head_send(struct sv_head *h, uint64_t to, struct sv_link_message *m);
void sv_head_node_is(struct sv_head *h, uint32_t node, enum sv_node_state state);
void sv_head_give_up(struct sv_head *h, uint32_t node, const char *reason);
void sv_head_order_all(struct sv_head *h);

#endif
