/* Who else of a run's machines is there, for one that has lost the head, or is started while another may be it: a connection to
 * each machine's port. A head's socket begins with ZeroMQ's greeting; a machine that looks for a head answers a line
 * and closes. The answers are hints: which machines there are and what they are is proved by their keys, when they join
 * (link.h). */
#ifndef SUPERVISOR_CLUSTER_LOOK_H
#define SUPERVISOR_CLUSTER_LOOK_H

#include "supervisor/cluster/meet.h"
#include "supervisor/cluster/takeover.h"

struct sv_machine_at {
    char name[SV_HOST_MAX];
    uint32_t port;
};

/* The machines of a list: "host", "host:port", "address", "[IPv6]:port", with commas between them. Where an entry names no
 * port it has the first one's, and where that names none, `port`. Returns how many; -EINVAL: it is no such list, or longer than
 * `max`. */
int sv_hosts_of(const char *list, uint32_t port, struct sv_machine_at *ret, uint32_t max);
/* No two are the same: each machine can be the head. */
bool sv_hosts_differ(const struct sv_machine_at *place, uint32_t count);

/* Asks all but `self` at once, for at most `timeout` beside the resolving of names. listener: answers meanwhile; -1: none.
 * ret[count]. */
void sv_look(const struct sv_machine_at *place, uint32_t count, uint32_t self, int listener, im_ns timeout,
             enum sv_seen *ret);

struct sv_look_config {
    const struct sv_machine_at *place;
    uint32_t count, self, min_nodes;
    im_ns patience;
    void (*say)(void *context, const char *line); /* every 10 s. May be NULL */
    bool (*leave)(void *context);                 /* true ends the looking with -EINTR. May be NULL */
    void *context;
};

/* Looks until there is a head, and answers others that look. Its machine; `self`: this one is to be it. -ETIMEDOUT, -EINTR;
 * -EADDRINUSE and others: it cannot listen. Each with a sentence. */
int sv_look_for_head(const struct sv_look_config *config, struct im_text *text);

#endif
