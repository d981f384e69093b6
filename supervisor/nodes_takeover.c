/* Where node 0 is lost: this machine's command ends as it would otherwise, with its snapshot saved, and executes itself
 * again. Then it looks for a head before it has any part in the run (cli/nodes.h), and whichever it is, it begins as at every
 * start: nothing of the run is changed while trainers live. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "ipc/base/exit.h"
#include "supervisor/cluster/link.h"
#include "supervisor/super.h"

#define FIRST_LOOK_NS (3 * IM_SECOND)
#define LOOK_AGAIN_NS (2 * IM_SECOND)
#define LOOK_NS (300 * IM_MS) /* the loop stands still meanwhile, and nothing is trained */

uint32_t sv_nodes_hosts(const struct im_conf *conf, struct sv_machine_at ret[IM_RANKS_MAX])
{
    const int count =
        *conf->nodes ? sv_hosts_of(conf->nodes, (uint32_t)conf->node_port, ret, IM_RANKS_MAX) : 0;

    return count > 0 && count == conf->node_count &&
                   sv_takeover_is_possible((uint32_t)count, (uint32_t)conf->cluster_min_nodes) &&
                   sv_hosts_differ(ret, (uint32_t)count)
               ? (uint32_t)count
               : 0;
}

void sv_nodes_look_elsewhere(struct sv_super *s, const char *why)
{
    struct sv_nodes *n = &s->nodes;

    if (n->elsewhere || n->stopping || s->finished)
        return;
    sv_screen_warn(&s->screen, SV_ERROR, "%s; this machine saves what it has and looks for another node 0",
                   why);
    n->elsewhere = n->stopping = true;
    n->head_lost = n->number > 0;
    n->lost_at = 0;
    atomic_store_explicit(&s->run.control->node_lost, 1, memory_order_relaxed);
    if (n->number > 0)
        sv_end_with_snapshot(s, IM_EXIT_RESUMABLE, why);
    else
        sv_finish(s, IM_EXIT_RESUMABLE);
}

void sv_nodes_stay(struct sv_super *s)
{
    atomic_store_explicit(&s->run.control->node_lost, 0, memory_order_relaxed);
}

/* Of this node's view, as the head; itself included. */
static uint32_t count_there(const struct sv_super *s)
{
    uint32_t count = 0;
    struct sv_node node;

    for (uint32_t i = 0; i < (uint32_t)s->conf.node_count; i++)
        count += sv_link_node(s->nodes.link, i, &node) &&
                 (node.state == SV_NODE_THERE || node.state == SV_NODE_SILENT);
    return count;
}

/* A generation is over, and no other may begin. */
static void watch_number(struct sv_super *s, uint32_t machines)
{
    const uint32_t least = sv_takeover_least(machines, (uint32_t)s->conf.cluster_min_nodes, true);
    const uint32_t there = count_there(s);
    char why[160];

    if (there >= least)
        return;
    snprintf(why, sizeof why,
             "%" PRIu32 " of %" PRIu32 " machines are left, and the run goes on with %" PRIu32 " or more",
             there, machines, least);
    sv_nodes_look_elsewhere(s, why);
}

/* No generation has begun here, and it waits for others. */
static void look_around(struct sv_super *s, const struct sv_machine_at *place, uint32_t machines)
{
    const uint32_t self =
        sv_takeover_machine((uint32_t)s->conf.node_index, (uint32_t)s->conf.node_head, machines);
    enum sv_seen seen[IM_RANKS_MAX];
    char why[SV_HOST_MAX + 64];

    s->nodes.look_at = im_now() + LOOK_AGAIN_NS;
    sv_look(place, machines, self, -1, LOOK_NS, seen);
    for (uint32_t i = 0; i < machines; i++) {
        const bool is_other = i != self && i != (uint32_t)s->conf.node_head;

        if (!is_other || !(seen[i] == SV_SEEN_HEAD || (seen[i] == SV_SEEN_LOOKING && sv_nodes_is_member(s))))
            continue;
        snprintf(why, sizeof why, "%s %s", place[i].name,
                 seen[i] == SV_SEEN_HEAD ? "is node 0 of this run" : "has lost node 0, too");
        sv_nodes_look_elsewhere(s, why);
        return;
    }
}

void sv_nodes_watch_others(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;
    struct sv_machine_at place[IM_RANKS_MAX];
    uint32_t machines;

    if (n->runs || n->stopping || n->stop_asked || s->finished || s->ending.stage != SV_GOING_ON)
        return;
    machines = sv_nodes_hosts(&s->conf, place);
    if (machines == 0)
        return;
    if (n->number > 0) {
        if (!sv_nodes_is_member(s))
            watch_number(s, machines);
    } else if (sv_nodes_is_member(s) ? !n->joined : count_there(s) < machines) {
        if (n->look_at == 0) /* the others are on their way */
            n->look_at = im_now() + FIRST_LOOK_NS;
        if (im_now() >= n->look_at)
            look_around(s, place, machines);
    }
}
