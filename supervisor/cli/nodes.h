/* The machines of a run, before it starts: which they are (--nodes, or a launcher's variables), what this one has of the
 * run, and how they find each other (cluster/meet.h). */
#ifndef SUPERVISOR_CLI_NODES_H
#define SUPERVISOR_CLI_NODES_H

#include <limits.h>
#include <stdbool.h>

#include "ipc/config/conf.h"
#include "supervisor/cluster/meet.h"

/* Sets node_count and node_index from --nodes and --node, or from what a launcher says. One machine: 1 and 0. -EINVAL
 * with a sentence. */
int sv_nodes_choose(struct im_conf *conf, const struct sv_launch *launch, struct im_text *text);

/* On several machines: refuses what needs one, and gives this one its part: node 0 has the run's folder, another node a
 * folder in it, nodes/nodeN, for its own log. -EINVAL with a sentence. */
int sv_nodes_part(struct im_conf *conf, struct im_text *text);

/* While a member finds out how a run is continued, it looks at the run's folder, where it has one in common with node
 * 0: makes that run_dir, and back. Where it has none, nothing is found, and the head refuses what differs from its own. */
void sv_nodes_enter_run(struct im_conf *conf, char ret_own[PATH_MAX]);
void sv_nodes_leave_run(struct im_conf *conf, const char own[PATH_MAX]);

/* Finds the others; sets node_address. `leave`: asked while waiting. Results as sv_meet(). */
int sv_nodes_meet(struct im_conf *conf, const struct sv_launch *launch, bool (*leave)(void *context),
                  struct sv_meeting *ret, struct im_text *text);

#endif
