/* Names and addresses of machines, as sockets need them. */
#ifndef SUPERVISOR_CLUSTER_ADDRESS_H
#define SUPERVISOR_CLUSTER_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include "ipc/base/clock.h"
#include "supervisor/cluster/meet.h"

struct sv_address {
    struct sockaddr_storage at;
    socklen_t bytes;
};

/* The first address of a name, or of a numeric address. A negative errno with a sentence; -EAGAIN: try later. */
int sv_address_of(const char *host, uint32_t port, struct sv_address *ret, struct im_text *text);

/* Is it one in figures, without a zone? */
bool sv_address_is_numeric(const char *text);
bool sv_address_is_loopback(const struct sv_address *a);
/* A name for other machines that leads to the loopback interface on its own (/etc/hosts of Debian): not where others come. */
bool sv_address_hides(const struct sv_address *a, const char *name);
void sv_address_show(const struct sv_address *a, char ret[SV_ADDRESS_MAX]); /* numeric, without the port */

/* Binds to this address of this machine and listens. -EADDRNOTAVAIL: it is another machine's; -EADDRINUSE. */
int sv_address_listen(const struct sv_address *a);
/* The same on all addresses of this machine; port 0: any. */
int sv_address_listen_everywhere(uint32_t port);
uint32_t sv_address_port(int listener);
uint32_t sv_address_port_of(const struct sv_address *a);
void sv_address_set_port(struct sv_address *a, uint32_t port);

/* The address of this machine on the way to that one. */
int sv_address_towards(const struct sv_address *a, char ret[SV_ADDRESS_MAX]);

/* Does something accept connections there? Waits for at most `timeout`. 0 or negative errno. */
int sv_address_probe(const struct sv_address *a, im_ns timeout);

/* What others may try to reach this machine: its name, then its addresses, those of the loopback interface last; with ';'
 * between them. */
void sv_address_candidates(char *ret, size_t n);

#endif
