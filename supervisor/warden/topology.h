/* Which processors a run's processes are started on, on a machine with GPUs. A trainer feeds its GPU from the
 * processors and the memory that lie next to it on the PCI bus, a few cores of its own; readers and
 * augmenters share what is left, each on one NUMA node. Runs on CPUs are left to the scheduler.
 *
 * Facts come from hwloc (cores, NUMA nodes, what cgroups and the affinity mask allow) and, where it does not
 * know a GPU, from sysfs. */
#ifndef SUPERVISOR_WARDEN_TOPOLOGY_H
#define SUPERVISOR_WARDEN_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc/abi.h"

struct im_text;

#define SV_CPUS_MAX 4096
#define SV_NUMA_NODES_MAX 64

/* Processors by the numbers of the operating system. All zero: no restriction. */
struct sv_cpus {
    uint64_t bits[SV_CPUS_MAX / 64];
};

/* Where a process is started. */
struct sv_place {
    struct sv_cpus cpus;
    int node; /* NUMA node whose memory it prefers, by the number of the operating system; -1: any */
};

struct sv_placement {
    bool applies;          /* false: of another machine's description, only to be shown */
    uint32_t ranks, nodes; /* nodes: that readers and augmenters are spread over */
    struct sv_place trainer[IM_RANKS_MAX];
    struct sv_place worker[SV_NUMA_NODES_MAX];
    uint32_t weight[SV_NUMA_NODES_MAX]; /* cores of each worker place */
    uint32_t far;                       /* trainers for which nothing near their GPU may be used */
};

struct sv_topology_source {
    const char *xml;       /* hwloc's description in a file; NULL: this machine, or HWLOC_XMLFILE */
    const char *synthetic; /* or hwloc's short form: "pack:2 numa:1 core:8 pu:2"; NULL */
    const char *sysfs;     /* where sysfs is mounted */
};

/* Places `ranks` trainers next to the GPUs of these PCI addresses ("0000:1b:00.0"). With fewer than two cores
 * for each GPU of a node nothing is set aside: its trainers and workers share all of it. -ENODATA with a
 * sentence when the machine cannot be described. */
int sv_topology_place(const struct sv_topology_source *source, const char (*pci)[16], uint32_t ranks,
                      struct sv_placement *ret, struct im_text *text);

/* Of reader or augmenter number i: places in proportion to their cores, the same for the same i. */
const struct sv_place *sv_placement_worker(const struct sv_placement *p, uint32_t i);

/* "0-3,64-67"; cut with "..." where it does not fit. Returns buffer. */
const char *sv_format_cpus(const struct sv_cpus *cpus, char *buffer, size_t n);

/* Makes it so for the calling process and what it executes. Async-signal-safe; what the kernel refuses is
 * left as it was. */
void sv_place_enter(const struct sv_place *place);

#endif
