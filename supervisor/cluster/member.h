/* A member's side of the channel: what it has of the head's decisions, and what it sends until the head has received
 * it. A pure function of this state and the events below: no clock, no socket, no random number. */
#ifndef SUPERVISOR_CLUSTER_MEMBER_H
#define SUPERVISOR_CLUSTER_MEMBER_H

#include "supervisor/cluster/port.h"

struct sv_member_value; /* one that this node publishes */
struct sv_member_fetch; /* one that it waits for */

struct sv_member {
    struct sv_port port;
    uint64_t session, head; /* head: its session; 0: not joined */
    struct sv_hello hello;
    char *agree;       /* of the hello */
    char where[300];   /* the head's address, for messages */
    char trouble[256]; /* why there is no connection; "": unknown */
    uint32_t refusals; /* attempts to connect, one after the other, that the head's machine has refused */

    bool is_cut; /* the head's machine acknowledges nothing (reach.h) */

    im_ns patience; /* for the first answer of the head; 0: for ever */
    im_ns began, heard, hello_at, report_at, told_at, ticked;
    bool has_begun, is_refused, is_lost, is_silent, is_due; /* is_due: the report has news */

    struct sv_order order; /* the last */
    uint32_t told_over;    /* generation of the last OVER */
    bool told_stop, told_end, is_over;
    struct sv_report report;

    struct sv_member_value *value;
    struct sv_member_fetch *fetch;
    uint32_t values, fetches;
    struct sv_node *table; /* [SV_NODES_MAX], once it was wanted */
    uint32_t table_rows;
    uint64_t dropped;
};

/* `session` is random; where: "host:port" of the head. -ENOMEM. */
int sv_member_init(struct sv_member *m, const struct sv_link_config *config, uint64_t session,
                   const char *where, const struct sv_port *port);
void sv_member_fini(struct sv_member *m);

void sv_member_message(struct sv_member *m, im_ns now, const struct sv_link_message *message);
/* There is a connection, the first or again: what waits is sent at once. */
void sv_member_connected(struct sv_member *m);
void sv_member_tick(struct sv_member *m, im_ns now); /* sends what is due; at least ten times a second */

/* sv_link_...() of the same names. */
void sv_member_ready(struct sv_member *m, uint32_t number, const uint64_t *positions, uint32_t count,
                     uint64_t saved);
int sv_member_publish(struct sv_member *m, uint32_t number, const char *key, const void *bytes, size_t n);
int sv_member_fetch(struct sv_member *m, uint32_t number, const char *key);
int sv_member_talk(struct sv_member *m, enum sv_message_kind kind, uint32_t node, uint64_t id,
                   const void *bytes, size_t n); /* SV_ASK, SV_ANSWER */
void sv_member_ask_generation(struct sv_member *m, uint32_t number, const char *reason);
void sv_member_ask_stop(struct sv_member *m, enum sv_stop stop, const char *reason);
void sv_member_report(struct sv_member *m, uint64_t position, const uint64_t *positions, uint32_t count,
                      uint64_t saved, const uint64_t number[SV_LINK_NUMBERS]);
void sv_member_finish(struct sv_member *m, int status, const char *reason);
bool sv_member_is_over(const struct sv_member *m);
void sv_member_want_table(struct sv_member *m, bool wanted);
const struct sv_generation *sv_member_generation(const struct sv_member *m);

#endif
