/* Where node 0 is lost: this machine's command ends as it would otherwise, with its snapshot saved, and executes itself
 * again. Then it looks for a head before it has any part in the run (cli/nodes.h), and whichever it is, it begins as at every
 * start: nothing of the run is changed while trainers live. */
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "ipc/base/exit.h"
#include "supervisor/cluster/link.h"
#include "supervisor/super.h"

#define FIRST_LOOK_NS (3 * IM_SECOND)
#define LOOK_AGAIN_NS (2 * IM_SECOND)
#define LOOK_NS (IM_SECOND)

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
    atomic_store_explicit(&s->run.control->node_lost, IM_NODE_LOST, memory_order_relaxed);
    if (n->number > 0)
        sv_end_with_snapshot(s, IM_EXIT_RESUMABLE, why);
    else
        sv_finish(s, IM_EXIT_RESUMABLE);
}

void sv_nodes_stay(struct sv_super *s)
{
    atomic_store_explicit(&s->run.control->node_lost, 0, memory_order_relaxed);
}

/* Do the others go on when this machine is lost? */
static bool others_go_on(const struct sv_super *s)
{
    const uint32_t machines = (uint32_t)s->conf.node_count, least = (uint32_t)s->conf.cluster_min_nodes;

    if (!s->nodes.joined || sv_nodes_may_take_over(&s->conf))
        return s->nodes.joined;
    return sv_nodes_is_member(s) && machines > (least > 0 ? least : 1);
}

bool sv_nodes_leave(struct sv_super *s, const char *why)
{
    struct sv_nodes *n = &s->nodes;

    if (!others_go_on(s) || n->stopping || n->finish_told || s->finished || s->ending.stage != SV_GOING_ON)
        return false;
    sv_screen_warn(
        &s->screen, SV_ERROR,
        "%s; the other machines go on without this one, and let it in again when the same command is "
        "started again",
        why);
    n->elsewhere = n->stopping = true; /* the others find its connection closed */
    for (uint32_t i = 0; i < s->children.count; i++)
        sv_child_kill(&s->children.child[i], SIGKILL);
    sv_finish(s, IM_EXIT_RESUMABLE);
    return true;
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

/* What a look has shown: another machine is the head, or one looks for a head, the one that this machine takes for it among them. */
static void judge_look(struct sv_super *s, const struct sv_look *l)
{
    char why[SV_HOST_MAX + 64];

    for (uint32_t i = 0; i < l->count; i++) {
        const bool is_head = l->seen[i] == SV_SEEN_HEAD && i != (uint32_t)s->conf.node_head;
        const bool looks = l->seen[i] == SV_SEEN_LOOKING && sv_nodes_is_member(s);

        if (i == l->self || (!is_head && !looks))
            continue;
        snprintf(why, sizeof why, "%s %s", l->place[i].name,
                 is_head ? "is node 0 of this run" : "looks for node 0, too");
        sv_nodes_look_elsewhere(s, why);
        return;
    }
}

/* No generation has begun here, and it waits for others. */
static void look_around(struct sv_super *s, const struct sv_machine_at *place, uint32_t machines)
{
    struct sv_nodes *n = &s->nodes;
    const uint32_t self =
        sv_takeover_machine((uint32_t)s->conf.node_index, (uint32_t)s->conf.node_head, machines);

    if (!n->look)
        n->look = calloc(1, sizeof *n->look);
    if (!n->look)
        return;
    if (n->look->until == 0 && im_now() >= n->look_at) {
        n->look_at = im_now() + LOOK_AGAIN_NS;
        sv_look_begin(n->look, place, machines, self, LOOK_NS);
    }
    if (n->look->until != 0 && sv_look_turn(n->look, -1, 0))
        judge_look(s, n->look);
}

void sv_nodes_watch_others(struct sv_super *s)
{
    struct sv_nodes *n = &s->nodes;
    struct sv_machine_at place[IM_RANKS_MAX];
    uint32_t machines;

    if (n->runs || n->stopping || n->stop_asked || s->finished || s->ending.stage != SV_GOING_ON)
        return;
    machines = sv_nodes_hosts(&s->conf, s->run.control->nodes_place, place);
    if (machines == 0)
        return;
    if (n->number > 0) {
        if (!sv_nodes_is_member(s))
            watch_number(s, machines);
    } else if (sv_nodes_is_member(s) ? !n->joined : count_there(s) < machines) {
        if (n->look_at == 0) /* the others are on their way */
            n->look_at = im_now() + FIRST_LOOK_NS;
        look_around(s, place, machines);
    }
}
