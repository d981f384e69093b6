/* The socket of a link: libzmq with CURVE. The head's is a ROUTER that lets in the keys of the meeting and no others; a
 * member's is a DEALER. Only this file and keys.c know ZeroMQ. */
#ifndef SUPERVISOR_CLUSTER_TRANSPORT_H
#define SUPERVISOR_CLUSTER_TRANSPORT_H

#include <stdint.h>

#include "ipc/base/clock.h"
#include "supervisor/cluster/meet.h"

struct sv_transport;

/* session: of this end; never 0. Negative errno with a sentence. */
int sv_transport_open(const struct sv_meeting *m, uint64_t session, struct sv_transport **ret,
                      struct im_text *text);
void sv_transport_close(struct sv_transport **s, im_ns linger);

/* Readable when there is something to receive, or the time of sv_transport_wake() has come. */
int sv_transport_fd(const struct sv_transport *s);
void sv_transport_wake(struct sv_transport *s, im_ns after);

/* Answers questions of who may come in, looks at what became of connections, and takes back a wake. Before receiving. */
void sv_transport_serve(struct sv_transport *s);

/* The next message: its bytes in all, cut to `max`; -EAGAIN: there is none. session: of the sender (0 on members);
 * who: the node that its key proves, UINT32_MAX: the key is of all. */
long sv_transport_receive(struct sv_transport *s, void *ret, size_t max, uint64_t *ret_session,
                          uint32_t *ret_who);

/* 0; -EAGAIN: no connection, or too much waits already; -EHOSTUNREACH: that session has no connection (any more). */
int sv_transport_send(struct sv_transport *s, uint64_t session, const void *bytes, size_t n);

/* Is there something to receive that the descriptor may not tell of? */
bool sv_transport_has_more(struct sv_transport *s);

/* Members: is there a connection, with keys exchanged? */
bool sv_transport_is_open(const struct sv_transport *s);
/* Members: how many attempts to connect, one after the other, the head's machine has refused since there was a connection: its
 * kernel answers that nothing listens. 0: there is one, none was yet, or the machine does not answer. */
uint32_t sv_transport_refusals(const struct sv_transport *s);
/* The next connection whose other end acknowledges nothing (reach.h), told once; it is ended. session: on the head. false: there is none. */
bool sv_transport_cut(struct sv_transport *s, uint64_t *ret_session);
/* Members: why there is no connection, as far as is known; "": there is one. */
const char *sv_transport_trouble(const struct sv_transport *s);
/* The head: how many connections were turned away for their key, and from where the last came ("": not known). */
uint64_t sv_transport_strangers(const struct sv_transport *s, char ret_from[SV_ADDRESS_MAX]);

#endif
