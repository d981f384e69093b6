#include "supervisor/cluster/takeover.h"

uint32_t sv_takeover_least(uint32_t nodes, uint32_t min_nodes, bool has_head)
{
    if (min_nodes > 0)
        return min_nodes;
    return has_head ? (nodes + 1) / 2 : nodes / 2 + 1;
}

bool sv_takeover_is_possible(uint32_t nodes, uint32_t min_nodes)
{
    return nodes > 2 && 2 * sv_takeover_least(nodes, min_nodes, false) > nodes;
}

uint32_t sv_takeover_node(uint32_t machine, uint32_t head, uint32_t nodes)
{
    return (machine + nodes - head) % nodes;
}

uint32_t sv_takeover_machine(uint32_t node, uint32_t head, uint32_t nodes)
{
    return (node + head) % nodes;
}

int sv_takeover_choose(const enum sv_seen *seen, uint32_t nodes, uint32_t min_nodes, uint32_t self)
{
    uint32_t looking = 0, first = nodes;

    for (uint32_t i = 0; i < nodes; i++)
        if (i != self && seen[i] == SV_SEEN_HEAD)
            return (int)i;
    for (uint32_t i = 0; i < nodes; i++) {
        if (i != self && seen[i] != SV_SEEN_LOOKING)
            continue;
        looking++;
        first = first < i ? first : i;
    }
    return looking >= sv_takeover_least(nodes, min_nodes, false) && first == self ? (int)self : -1;
}
