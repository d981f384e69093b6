/* Names of machines, resolved by threads, for loops that must not stand still: a server of names that does not answer takes
 * seconds. Addresses in figures need no thread. One thread asks, and calls these functions. */
#ifndef SUPERVISOR_CLUSTER_NAMES_H
#define SUPERVISOR_CLUSTER_NAMES_H

#include "supervisor/cluster/address.h"
#include "supervisor/cluster/look.h"

#define SV_NAMES_AGAIN_NS                                                                                    \
    (5 * IM_SECOND) /* after so long a name is asked for again: its address may have changed */

struct sv_names;

/* Begins to resolve them, but that of `self`. An empty name has no address. -ENOMEM. */
int sv_names_open(const struct sv_machine_at *place, uint32_t count, uint32_t self, struct sv_names **ret);
/* A thread that waits for an answer stays until it has one, and frees what is its own. NULL is fine; nulls. */
void sv_names_close(struct sv_names **names);

enum sv_name_state { SV_NAME_ASKED, SV_NAME_UNKNOWN, SV_NAME_KNOWN };

/* What is known of a name now; KNOWN: its last address. */
enum sv_name_state sv_names_get(struct sv_names *names, uint32_t index, struct sv_address *ret);

#endif
