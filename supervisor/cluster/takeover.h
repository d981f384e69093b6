/* Which machine is node 0 once node 0 is lost: rules without a clock or a socket.
 *
 * Machines are numbered as --nodes names them, and that never changes. Nodes are numbered from the head: where machine k is
 * the head, machine i is node (i - k) mod n. So node 0 is always the head, whichever machine that is.
 *
 * A side of the machines goes on with at least as many as sv_takeover_least() says, of all that --nodes names: half of them
 * with the head that is in office, more than half where another is to be the head. Two sides never have both, and a
 * machine is on one side at a time, so there are never two runs. What is counted is of the list, not of the last
 * generation: a machine that was started again, and has forgotten what it agreed to, cannot count twice. */
#ifndef SUPERVISOR_CLUSTER_TAKEOVER_H
#define SUPERVISOR_CLUSTER_TAKEOVER_H

#include <stdbool.h>
#include <stdint.h>

/* What was seen of a machine. */
enum sv_seen {
    SV_SEEN_NOTHING,
    SV_SEEN_LOOKING, /* it has lost its head, and looks for one, too */
    SV_SEEN_QUIET,   /* it accepts connections and says nothing: about to be the head, or stopped */
    SV_SEEN_HEAD
};

/* Machines that a side needs. min_nodes: --cluster-min-nodes, 0: not given. */
uint32_t sv_takeover_least(uint32_t nodes, uint32_t min_nodes, bool has_head);

/* Can another machine take over? Not where one side's number and another's may be there at once, as with --cluster-min-nodes 1;
 * nor of two machines, of which neither is more than half: one that hears nothing of the other cannot tell a dead machine from a
 * cut link. */
bool sv_takeover_is_possible(uint32_t nodes, uint32_t min_nodes);

uint32_t sv_takeover_node(uint32_t machine, uint32_t head, uint32_t nodes);
uint32_t sv_takeover_machine(uint32_t node, uint32_t head, uint32_t nodes);

/* The machine that is to be the head of `self`, which looks for one: a head that is seen, the first of several; or else the
 * first of those that look, where they are enough. seen[nodes]; that of `self` is ignored. -1: none yet, look again. */
int sv_takeover_choose(const enum sv_seen *seen, uint32_t nodes, uint32_t min_nodes, uint32_t self);

#endif
