#include "supervisor/cluster/gather.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool is_there(const struct sv_head_node *n)
{
    return n->state == SV_NODE_THERE || n->state == SV_NODE_SILENT;
}

static bool is_ready(const struct sv_head *h, uint32_t node)
{
    return is_there(&h->node[node]) && h->node[node].report.ready == h->generation.number;
}

void sv_head_gather(struct sv_head *h, const char *format, ...)
{
    va_list args;

    if (!h->runs || h->order.stop != SV_STOP_NONE || h->order.ended)
        return;
    va_start(args, format);
    vsnprintf(h->order.over, sizeof h->order.over, format, args);
    va_end(args);
    h->runs = false;
    h->generation = (struct sv_generation){.number = h->generation.number + 1, .nodes = h->nodes};
    h->gathering = h->told_at = h->now;
    sv_values_clear(&h->values);
    sv_head_order_all(h);
}

void sv_head_lose(struct sv_head *h, uint32_t node, const char *why)
{
    if (h->runs && h->generation.ranks[node])
        sv_head_gather(h, "%s", why);
}

void sv_head_outnumber(struct sv_head *h, uint32_t seen)
{
    if (seen >= UINT32_MAX - 1 || (h->runs && seen <= h->generation.number))
        return;
    if (h->runs)
        sv_head_gather(h, "a node has heard of generation %u", seen);
    if (h->runs || seen < h->generation.number)
        return;
    h->generation.number = seen + 1;
    sv_head_order_all(h);
}

/* ---- where it starts ---- */

static bool holds(const struct sv_report *r, uint64_t position)
{
    for (int i = 0; i < SV_LINK_POSITIONS; i++)
        if (r->ready_position[i] == position)
            return true;
    return false;
}

static bool all_hold(const struct sv_head *h, uint64_t position)
{
    for (uint32_t i = 0; i < h->nodes; i++)
        if (h->generation.ranks[i] && !holds(&h->node[i].report, position))
            return false;
    return true;
}

static bool is_newer(uint64_t position, uint64_t than)
{
    return position != SV_LINK_NOWHERE && (than == SV_LINK_NOWHERE || position > than);
}

static void choose_positions(struct sv_head *h)
{
    struct sv_generation *g = &h->generation;

    g->common = g->newest = g->saved = SV_LINK_NOWHERE;
    g->newest_node = 0;
    for (uint32_t i = 0; i < h->nodes; i++) {
        const struct sv_report *r = &h->node[i].report;

        for (int k = 0; k < SV_LINK_POSITIONS && g->ranks[i]; k++) {
            const uint64_t position = r->ready_position[k];

            if (is_newer(position, g->newest)) {
                g->newest = position;
                g->newest_node = i;
            }
            if (is_newer(position, g->common) && all_hold(h, position))
                g->common = position;
        }
        if (g->ranks[i] && is_newer(r->ready_saved, g->saved))
            g->saved = r->ready_saved;
    }
}

/* ---- who takes part ---- */

struct count {
    uint32_t there, ready;
    uint32_t late; /* not there for longer than the others wait */
    uint32_t one;  /* such a node */
};

static im_ns patience_for(const struct sv_head *h, uint32_t node, bool enough)
{
    const im_ns patience = h->node[node].state == SV_NODE_DEAD ? h->patience_back : h->patience;

    return enough && h->has_run && h->wait < patience ? h->wait : patience;
}

/* A node that has left does not come back by itself; one that the others go on without is not waited for again. */
static bool is_late(const struct sv_head *h, uint32_t node, bool enough)
{
    const struct sv_head_node *n = &h->node[node];
    const im_ns since = n->changed > h->gathering ? n->changed : h->gathering;

    if (n->state == SV_NODE_LEFT || (enough && n->left_out))
        return true;
    return h->now - since > patience_for(h, node, enough);
}

/* Nodes with which a generation may begin. */
static uint32_t least(const struct sv_head *h)
{
    if (h->takeover_min > 0)
        return h->takeover_min;
    return h->has_run ? h->survivors_min : h->nodes_min;
}

static struct count count_nodes(const struct sv_head *h)
{
    struct count c = {0};

    for (uint32_t i = 0; i < h->nodes; i++) {
        c.ready += is_ready(h, i);
        c.there += is_there(&h->node[i]);
    }
    for (uint32_t i = 0; i < h->nodes; i++)
        if (!is_there(&h->node[i]) && is_late(h, i, c.there >= least(h))) {
            c.late++;
            c.one = i;
        }
    return c;
}

static void name_node(const struct sv_head *h, uint32_t node, char *ret, size_t n)
{
    if (h->node[node].name[0])
        snprintf(ret, n, "%u (%s)", node, h->node[node].name);
    else
        snprintf(ret, n, "%u", node);
}

static void give_up(struct sv_head *h, uint32_t node)
{
    const struct sv_head_node *n = &h->node[node];
    char name[SV_NAME_MAX + 16], why[SV_LINK_REASON_MAX];

    name_node(h, node, name, sizeof name);
    if (n->state == SV_NODE_LEFT)
        snprintf(why, sizeof why, "node %s has left with exit status %d%s%.120s", name, n->report.status,
                 n->report.reason[0] ? ": " : "", n->report.reason);
    else
        snprintf(why, sizeof why, "node %s %s within %.0f s", name,
                 n->state == SV_NODE_DEAD ? "has not come back" : "has not come",
                 (double)patience_for(h, node, false) / IM_SECOND);
    sv_head_give_up(h, node, why);
}

void sv_head_try_begin(struct sv_head *h)
{
    const struct count c = count_nodes(h);

    if (c.there + c.late < h->nodes)
        return; /* others may still come */
    if (c.there < least(h)) {
        give_up(h, c.one);
        return;
    }
    if (c.ready < c.there)
        return;
    for (uint32_t i = 0; i < h->nodes; i++) {
        h->generation.ranks[i] = is_ready(h, i) ? (uint16_t)h->node[i].ranks : 0;
        h->node[i].left_out = h->generation.ranks[i] == 0;
    }
    choose_positions(h);
    h->runs = h->has_run = true;
    h->takeover_min = 0;
    h->begun_by = 0;
    sv_head_order_all(h);
}

/* ---- reports while waiting ---- */

static size_t list_nodes(const struct sv_head *h, bool there, char *ret, size_t n)
{
    size_t used = 0;
    char name[SV_NAME_MAX + 16];

    ret[0] = '\0';
    for (uint32_t i = 0; i < h->nodes && used + sizeof name + 8 < n; i++) {
        if (is_there(&h->node[i]) != there)
            continue;
        name_node(h, i, name, sizeof name);
        used += (size_t)snprintf(ret + used, n - used, "%s%s", used ? ", " : "", name);
    }
    return used;
}

void sv_head_tell_gathering(struct sv_head *h)
{
    const struct count c = count_nodes(h);
    const double seconds = (double)(h->now - h->gathering) / IM_SECOND;
    char there[400], missing[400];

    list_nodes(h, true, there, sizeof there);
    list_nodes(h, false, missing, sizeof missing);
    if (c.there < h->nodes)
        sv_head_tell(h, true, "waiting at %s for %u of %u nodes since %.0f s: there %s; missing %s", h->where,
                     h->nodes - c.there, h->nodes, seconds, there[0] ? there : "none", missing);
    else
        sv_head_tell(h, true, "waiting since %.0f s until all %u nodes are ready: %u are", seconds, h->nodes,
                     c.ready);
}
