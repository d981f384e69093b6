#include "supervisor/cli/cluster_model.h"

#include <math.h>

const char *sv_cluster_limit_name(enum sv_cluster_limit limit)
{
    static const char *const names[] = {"step", "network", "data", "storage"};

    return names[limit];
}

static double ring_of(const struct sv_cluster_model *m, uint32_t nodes)
{
    const double n = (double)nodes * m->ranks;

    return nodes > 1 ? 2 * (n - 1) * (m->latency + m->bytes / (n * m->bandwidth)) : 0;
}

static double tree_of(const struct sv_cluster_model *m, uint32_t nodes)
{
    return nodes > 1 ? 2 * ceil(log2(nodes)) * m->latency + 2 * m->bytes / m->bandwidth : 0;
}

static double least(double a, double b)
{
    return b > 0 && b < a ? b : a;
}

/* Without what the machine before it adds. */
static void point(const struct sv_cluster_model *m, uint32_t nodes, struct sv_cluster_point *ret)
{
    const double images = (double)nodes * m->ranks * m->batch, data = nodes * m->node_rate;
    double sum, rate;

    *ret = (struct sv_cluster_point){.nodes = nodes, .ring = ring_of(m, nodes), .tree = tree_of(m, nodes)};
    sum = m->ring ? ret->ring : fmin(ret->ring, ret->tree);
    ret->exposed = fmax(0, sum - m->overlap * m->step);
    ret->step = m->step + ret->exposed + (nodes > 1 ? 2 * m->latency : 0);
    rate = images / ret->step;
    ret->rate = least(least(rate, data), m->storage_rate);
    ret->limit = ret->rate < rate ? (m->storage_rate > 0 && ret->rate == m->storage_rate ? SV_CLUSTER_STORAGE
                                                                                         : SV_CLUSTER_DATA)
                 : ret->step > 2 * m->step ? SV_CLUSTER_NETWORK
                                           : SV_CLUSTER_STEP;
    ret->step = images / ret->rate;
}

void sv_cluster_at(const struct sv_cluster_model *m, uint32_t nodes, struct sv_cluster_point *ret)
{
    struct sv_cluster_point one, before = {.rate = 0};

    point(m, 1, &one);
    point(m, nodes, ret);
    if (nodes > 1)
        point(m, nodes - 1, &before);
    ret->efficiency = ret->rate / (nodes * one.rate);
    ret->gain = (ret->rate - before.rate) / one.rate;
}

uint32_t sv_cluster_end(const struct sv_cluster_model *m, uint32_t low, uint32_t high)
{
    struct sv_cluster_point p;

    for (uint32_t nodes = low > 2 ? low : 2; nodes <= high; nodes++) {
        sv_cluster_at(m, nodes, &p);
        if (p.gain < 0.5)
            return nodes;
    }
    return 0;
}
