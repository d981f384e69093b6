/* How the supervisors of several machines find each other and get keys, before any of them talks: from what the
 * launcher says (env.h), or from --nodes, to the address of machine 0 (the head) and a pair of CURVE keys.
 *
 *   PMI       (srun --mpi=pmi2, mpiexec of MPICH) each machine makes its keys and puts the public one; the head puts
 *             its addresses too. Nothing has to be configured.
 *   key file  (all other launchers) the head is the first host; its port comes from the launcher, or from the number of
 *             the job; all machines have the same file, `imsuper cluster key FILE` makes it.
 *   again     a machine that has lost its head keeps what it got from PMI, which is asked once only.
 *   loopback  neither: the head's address must be one of this machine; the key lies in a folder of this user.
 *
 * These functions wait, up to a limit that the caller names: they are for the start of a run, before its loop. */
#ifndef SUPERVISOR_CLUSTER_MEET_H
#define SUPERVISOR_CLUSTER_MEET_H

#include <stdbool.h>

#include "ipc/abi.h"
#include "ipc/base/clock.h"
#include "supervisor/cluster/env.h"
#include "supervisor/cluster/keys.h"

#define SV_NODES_MAX 256
#define SV_ADDRESS_MAX 64 /* of a numeric address with its 0 */

enum sv_meet_way { SV_MEET_NOT_YET, SV_MEET_PMI, SV_MEET_KEY_FILE, SV_MEET_LOOPBACK };

struct sv_meeting;

/* What the user or the launcher's variables say. Zeroed fields are not given. */
struct sv_meet_config {
    uint32_t nodes, node;
    const char *head;     /* name or address of machine 0; NULL or "": only PMI can tell */
    uint32_t port;        /* on which the head listens; 0: sv_meet_port(job) */
    uint64_t job;         /* of the launcher */
    int pmi_fd;           /* -1: there is no PMI */
    const char *key_file; /* NULL or "": none */
    /* A machine that has lost its head: its meeting before, with the keys that PMI gave. NULL: none. */
    const struct sv_meeting *before;
    uint32_t head_machine; /* which machine is the head: machines keep their numbers (takeover.h) */
    im_ns patience;        /* how long to wait for other machines, and for names that do not resolve yet */
    /* Called with a line for the user, every 10 s while something is waited for. May be NULL. */
    void (*say)(void *context, const char *line);
    /* Asked ten times a second: true ends the waiting with -EINTR. May be NULL. */
    bool (*leave)(void *context);
    void *context;
};

/* The same for all launchers: what follows is all that link.h needs. Holds secrets. */
struct sv_meeting {
    enum sv_meet_way way;
    uint32_t nodes, node;
    char head[SV_HOST_MAX]; /* as ZeroMQ connects to it: a name, or a numeric address */
    uint32_t port;          /* of the head */
    char here
        [SV_ADDRESS_MAX]; /* the address of this machine that others reach it at (of the route to the head):
                                  what Gloo and NCCL should listen on */
    int listener; /* of the head: a TCP socket that is bound and listens; -1 elsewhere. May be inherited by a child, or
                                  kept for a successor: sv_link_open() works on a duplicate */
    struct sv_keys keys;
    im_ns
        patience_back; /* how long to wait for a machine that is gone; 0: as long as for one that has not come */
    char start[SV_HOST_MAX +
               64];   /* which start of which launcher this is; "": it cannot be started again by itself */
    bool takes_over;  /* the head: another was it before */
    uint64_t reached; /* of a command that lost its head: the batch that would have come next; 0: not known */
    uint32_t head_machine; /* the number of the head among the machines (takeover.h) */
    struct im_node_place place
        [SV_NODES_MAX]; /* of machines, as far as it was known when this one last lost its head, or ended */
    char *
        copies; /* what tells another copy of the images from the one here, as lines of sv_link_config.agree; malloc'ed; NULL: not known */
};

/* Finds the others. 0. -EINVAL: a wrong option or key file; -EADDRINUSE: the head's port is taken; -ETIMEDOUT: the
 * others did not come, or a name does not resolve; -EINTR: `leave`; each with a sentence that says what to do. */
int sv_meet(const struct sv_meet_config *config, struct sv_meeting *ret, struct im_text *text);

/* Closes the listener and forgets the keys. A zeroed one is fine. */
void sv_meeting_fini(struct sv_meeting *m);

/* "PMI, head vm:41233, key 3f9a-11c0-77de-8b01": for a line of the user. */
const char *sv_meeting_describe(const struct sv_meeting *m, struct im_text *ret);

/* The port of a job whose launcher names none: 26800 + job mod 1000; below the range from which the kernel takes ports
 * for connections. */
uint32_t sv_meet_port(uint64_t job);

#endif
