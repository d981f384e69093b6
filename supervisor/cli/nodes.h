/* The machines of a run, before it starts: which they are (--nodes, or a launcher's variables), what this one has of the
 * run, and how they find each other (cluster/meet.h). */
#ifndef SUPERVISOR_CLI_NODES_H
#define SUPERVISOR_CLI_NODES_H

#include <limits.h>
#include <stdbool.h>

#include "ipc/config/conf.h"
#include "supervisor/cluster/look.h"
#include "supervisor/cluster/meet.h"

#define SV_NODES_LOST                                                                                        \
    "IMSUPER_LOST_HEAD" /* in the environment of a command that executes itself again because the head is lost: when it began
                          (CLOCK_MONOTONIC, ns), and a descriptor of its meeting (cluster/pass.h) */

/* Sets node_count and node_index from --nodes and --node, or from what a launcher says. One machine: 1 and 0. -EINVAL
 * with a sentence. */
int sv_nodes_choose(struct im_conf *conf, const struct sv_launch *launch, struct im_text *text);

/* Before its part: which machine is node 0, and so which node this one is; sets node_head, node_index and node_port. It is the
 * first of --nodes or the launcher's, or the one that took over where that was lost; a command that lost its head waits for one, and
 * takes_over: this machine is to be it. began: when such a command began; 0: it is none. before: its meeting; or else `place`
 * is what a file says of the machines. Zeroed at first, and kept from one call to the next. Results as sv_look_for_head(). */
struct sv_nodes_found {
    struct sv_meeting before; /* way and keys: of a command that lost its head; place: of both */
    bool has_before, takes_over;
    bool
        looks_again; /* set by the caller: another is node 0, or is about to be; as a command that lost its head */
    im_ns began;
};
int sv_nodes_find_head(struct im_conf *conf, const struct sv_launch *launch, bool (*leave)(void *context),
                       struct sv_nodes_found *ret, struct im_text *text);

/* On several machines: refuses what needs one, and gives this one its part: node 0 has the run's folder, another node a
 * folder in it, nodes/nodeN, for its own log. -EINVAL with a sentence. */
int sv_nodes_part(struct im_conf *conf, struct im_text *text);

/* Has a command that ends with `status` lost its head, and is to look for another? Bits of shared memory may have flipped: one
 * machine has nothing to look for, and a word that is not IM_NODE_LOST says nothing. */
struct im_control;
bool sv_nodes_has_lost_head(const struct im_conf *conf, const struct im_control *control, int status);

/* What the command that looks for another head needs of this one: where machines are, how far this one came. */
void sv_nodes_keep(const struct im_control *control, struct sv_meeting *ret);

/* This command again, from its beginning and under its pid, to look for a head; what `meeting` has of keys and places goes with it.
 * Returns `status` where that fails, with why on standard error. */
int sv_nodes_execute_again(im_ns began, const struct sv_meeting *meeting, int status);

/* Who goes on when node 0 is lost; "": one machine. */
const char *sv_nodes_describe_succession(const struct im_conf *conf, struct im_text *ret);

/* While a member finds out how a run is continued, it looks at the run's folder, where it has one in common with node
 * 0: makes that run_dir, and back. Where it has none, nothing is found, and the head refuses what differs from its own. */
void sv_nodes_enter_run(struct im_conf *conf, char ret_own[PATH_MAX]);
void sv_nodes_leave_run(struct im_conf *conf, const char own[PATH_MAX]);

/* Finds the others; sets node_address. `leave`: asked while waiting. Results as sv_meet(). */
int sv_nodes_meet(struct im_conf *conf, const struct sv_launch *launch, const struct sv_nodes_found *found,
                  bool (*leave)(void *context), struct sv_meeting *ret, struct im_text *text);

#endif
