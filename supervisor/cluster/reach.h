/* Does the kernel of another machine still get what is sent to it? Silence of a process says little: it may be stopped, swapping, or without a
 * processor. A kernel acknowledges what comes, whatever its processes do. So a machine is cut off where data that was sent to it
 * stays without acknowledgement for SV_LINK_CUT_NS, and in the second half of that time no attempt to connect to it was answered either,
 * by acceptance or refusal. On a link that loses packets some of those attempts get through; where a firewall swallows them, the data alone tells.
 * Both directions are needed for an acknowledgement, so each end sees a cut of one of them. */
#ifndef SUPERVISOR_CLUSTER_REACH_H
#define SUPERVISOR_CLUSTER_REACH_H

#include "ipc/base/clock.h"
#include "supervisor/cluster/address.h"

#define SV_REACH_PROBES 5

struct sv_reach {
    struct sv_address at; /* where attempts to connect go */
    int fd;               /* of the connection: libzmq's, which closes it at any time; -1: it is closed */
    uint64_t cookie;      /* of the socket, another with the same descriptor has another */
    uint64_t acked;       /* bytes, of the connection */
    bool is_owed;         /* at the last look something that was sent was not acknowledged */
    im_ns heard;          /* when last something was acknowledged or answered, or nothing was owed */
    im_ns looked, probe_at;
    int probe[SV_REACH_PROBES]; /* attempts to connect that are under way; -1: none */
    unsigned probes;
};

void sv_reach_init(struct sv_reach *r);
void sv_reach_fini(struct sv_reach *r);

/* That is the connection now; nothing where it is known already. port: of the other machine, for attempts to connect, whether something listens
 * there or not. */
void sv_reach_take(struct sv_reach *r, im_ns now, int fd, uint32_t port);

/* To be called a few times a second; a longer time between two calls is nobody's silence. */
bool sv_reach_is_cut(struct sv_reach *r, im_ns now);

/* The connection is ended, where it is still there: whoever speaks through it again must come anew, with both directions. */
void sv_reach_end(struct sv_reach *r);

#endif
