/* What is done with a placement; what it is made of is topology.c's, or where the build has
 * no hwloc, nothing. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ipc/base/err.h"
#include "supervisor/warden/topology.h"

#ifndef IMSUPER_HWLOC
int sv_topology_place(const struct sv_topology_source *source, const char (*pci)[16], uint32_t ranks,
                      struct sv_placement *ret, struct im_text *text)
{
    (void)source, (void)pci, (void)ranks, (void)ret;
    return im_fail(text, -ENODATA,
                   "this program was built without hwloc; install libhwloc-dev and build again");
}
#endif

static bool has(const struct sv_cpus *c, unsigned cpu)
{
    return cpu < SV_CPUS_MAX && (c->bits[cpu / 64] >> (cpu % 64) & 1) != 0;
}

const struct sv_place *sv_placement_worker(const struct sv_placement *p, uint32_t i)
{
    const double golden = 0.6180339887498949 * ((double)i + 0.5);
    uint64_t total = 0, at;

    for (uint32_t n = 0; n < p->nodes; n++)
        total += p->weight[n];
    im_assert(p->nodes > 0 && total > 0);
    /* Steps of the golden section: evenly over the cores, whatever the number of workers. */
    at = (uint64_t)((double)total * (golden - (double)(uint64_t)golden));
    for (uint32_t n = 0; n < p->nodes; n++) {
        if (at < p->weight[n])
            return &p->worker[n];
        at -= p->weight[n];
    }
    return &p->worker[p->nodes - 1];
}

const char *sv_format_cpus(const struct sv_cpus *cpus, char *buffer, size_t n)
{
    size_t used = 0;

    buffer[0] = 0;
    for (unsigned cpu = 0; cpu < SV_CPUS_MAX; cpu++) {
        char part[24];
        unsigned last = cpu;
        int width;

        if (!has(cpus, cpu))
            continue;
        while (has(cpus, last + 1))
            last++;
        width = snprintf(part, sizeof part, last > cpu ? "%s%u-%u" : "%s%u", used ? "," : "", cpu, last);
        if (used + (size_t)width + sizeof ",..." > n) {
            snprintf(buffer + used, n - used, ",...");
            break;
        }
        memcpy(buffer + used, part, (size_t)width + 1);
        used += (size_t)width;
        cpu = last;
    }
    return buffer;
}

void sv_place_enter(const struct sv_place *place)
{
    uint64_t any = 0;

    for (size_t i = 0; i < SV_CPUS_MAX / 64; i++)
        any |= place->cpus.bits[i];
    if (any)
        syscall(SYS_sched_setaffinity, 0, sizeof place->cpus.bits, place->cpus.bits);
    if (place->node >= 0 && place->node < SV_NUMA_NODES_MAX) {
        unsigned long mask[SV_NUMA_NODES_MAX / (8 * sizeof(unsigned long))] = {0};

        mask[0] = 1UL << place->node;
        syscall(SYS_set_mempolicy, MPOL_PREFERRED, mask, (unsigned long)SV_NUMA_NODES_MAX + 1);
    }
}
