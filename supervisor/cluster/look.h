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
/* No two that have a name are the same: each machine can be the head. */
bool sv_hosts_differ(const struct sv_machine_at *place, uint32_t count);

/* A look at all machines but `self`. It never waits: turns take what has come, until all is known or its time is over. Zeroed:
 * none is under way. */
struct sv_names;
struct sv_look {
    struct sv_machine_at place[SV_NODES_MAX];
    uint32_t count, self;
    struct sv_names *names; /* kept from look to look */
    im_ns until;            /* 0: none is under way */
    int fd[SV_NODES_MAX];   /* of connections; -1: none yet, -2: it is known */
    enum sv_seen seen[SV_NODES_MAX];
};

/* Begins one, of at most `timeout`. A name without an address by then is SV_SEEN_NOTHING. */
void sv_look_begin(struct sv_look *l, const struct sv_machine_at *place, uint32_t count, uint32_t self,
                   im_ns timeout);
/* Waits at most wait_ms for something to happen. listener: answers others meanwhile; -1: none. True: it is over, l->seen is what
 * was seen. */
bool sv_look_turn(struct sv_look *l, int listener, int wait_ms);
void sv_look_end(struct sv_look *l); /* closes all, and forgets the names; a zeroed one is fine */

/* For a start, where something may be waited for: a whole look that begins once all names are resolved, or `patience` is over.
 * leave: as below. */
void sv_look_once(struct sv_look *l, const struct sv_machine_at *place, uint32_t count, uint32_t self,
                  im_ns patience, bool (*leave)(void *context));

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
