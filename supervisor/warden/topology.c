/* Why a core or two of a trainer's own: it launches kernels and waits for them, and its libraries' threads
 * move data for it; an augmenter on the same core delays all ranks by its time slice. Why no more: what a
 * trainer leaves idle would decode images.
 *
 * hwloc is not asked for I/O devices of this machine: its plugins for them load the driver's libraries, and
 * this process must never map CUDA (children are forked from it). sysfs says where a GPU is. A description in
 * XML, which tests use, has its devices in it. */
#include "supervisor/warden/topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hwloc.h>

#include "ipc/base/err.h"
#include "ipc/base/file.h"

#define CORES_OF_TRAINER 2
#define SYSFS_BYTES_MAX 65536

struct machine {
    hwloc_topology_t topology;
    hwloc_bitmap_t usable; /* processors of this process */
    const char *sysfs;
};

static void copy_cpus(hwloc_const_bitmap_t from, struct sv_cpus *ret)
{
    *ret = (struct sv_cpus){0};
    for (int cpu = hwloc_bitmap_first(from); cpu >= 0 && cpu < SV_CPUS_MAX;
         cpu = hwloc_bitmap_next(from, cpu))
        ret->bits[cpu / 64] |= UINT64_C(1) << (cpu % 64);
}

/* What cgroups and the affinity mask leave of the machine. */
static int find_usable(struct machine *m)
{
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();

    m->usable = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(m->topology));
    if (!mask || !m->usable) {
        hwloc_bitmap_free(mask);
        return -ENOMEM;
    }
    if (hwloc_topology_is_thissystem(m->topology) &&
        hwloc_get_cpubind(m->topology, mask, HWLOC_CPUBIND_PROCESS) == 0 && !hwloc_bitmap_iszero(mask))
        hwloc_bitmap_and(m->usable, m->usable, mask);
    hwloc_bitmap_free(mask);
    return 0;
}

static int machine_open(const struct sv_topology_source *source, struct machine *m, struct im_text *text)
{
    const bool described = source->xml || getenv("HWLOC_XMLFILE");
    int err = 0;

    *m = (struct machine){.sysfs = source->sysfs};
    if (hwloc_topology_init(&m->topology) < 0)
        return im_fail(text, -ENODATA, "hwloc cannot be used: %s", strerror(errno));
    if (source->xml)
        err = hwloc_topology_set_xml(m->topology, source->xml);
    else if (source->synthetic)
        err = hwloc_topology_set_synthetic(m->topology, source->synthetic);
    if (err == 0 && described)
        err = hwloc_topology_set_io_types_filter(m->topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    if (err < 0 || hwloc_topology_load(m->topology) < 0)
        return im_fail(text, -ENODATA, "hwloc cannot read the machine's topology%s%s: %s",
                       source->xml ? " from " : "", source->xml ? source->xml : "", strerror(errno));
    return find_usable(m) < 0 ? im_fail(text, -ENOMEM, "no memory") : 0;
}

static void machine_close(struct machine *m)
{
    hwloc_bitmap_free(m->usable);
    if (m->topology)
        hwloc_topology_destroy(m->topology);
}

/* As sysfs has it: "local_cpulist" of the device is what the firmware calls near; without NUMA it is all. */
static int near_by_sysfs(const struct machine *m, const char *pci, hwloc_bitmap_t ret)
{
    char path[512], *list = NULL;
    size_t n = 0;
    int err;

    snprintf(path, sizeof path, "%s/bus/pci/devices/%s/local_cpulist", m->sysfs, pci);
    err = im_read_file(path, SYSFS_BYTES_MAX, &list, &n, NULL);
    if (err == 0 && hwloc_bitmap_list_sscanf(ret, list) < 0)
        err = -EBADMSG;
    free(list);
    return err == 0 && hwloc_bitmap_iszero(ret) ? -ENODATA : err;
}

/* The processors near a GPU that may be used; empty when there are none. */
static int find_near(const struct machine *m, const char *pci, hwloc_bitmap_t ret)
{
    hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(m->topology, pci);
    hwloc_obj_t near = device ? hwloc_get_non_io_ancestor_obj(m->topology, device) : NULL;

    if (near)
        hwloc_bitmap_copy(ret, near->cpuset);
    else if (near_by_sysfs(m, pci, ret) < 0)
        hwloc_bitmap_copy(ret, m->usable); /* nothing is known: anywhere */
    return hwloc_bitmap_and(ret, ret, m->usable);
}

/* The NUMA node that holds most of these processors; NULL where the machine has no nodes. */
static hwloc_obj_t node_of(const struct machine *m, hwloc_const_bitmap_t cpus)
{
    hwloc_bitmap_t both = hwloc_bitmap_alloc();
    hwloc_obj_t best = NULL;
    int most = 0;

    for (hwloc_obj_t n = NULL;
         both && (n = hwloc_get_next_obj_by_type(m->topology, HWLOC_OBJ_NUMANODE, n));) {
        int count;

        hwloc_bitmap_and(both, n->cpuset, cpus);
        count = hwloc_bitmap_weight(both);
        if (count > most) {
            most = count;
            best = n;
        }
    }
    hwloc_bitmap_free(both);
    return best;
}

/* Work on one NUMA node: its GPUs, and the usable processors that no trainer has been given. */
struct share {
    hwloc_obj_t node;
    hwloc_bitmap_t cpus; /* usable ones of the node */
    uint32_t gpus;
    int each; /* cores of each trainer; 0: they share the node with everyone */
};

static int cores_in(const struct machine *m, hwloc_const_bitmap_t cpus)
{
    int count = hwloc_get_nbobjs_inside_cpuset_by_type(m->topology, cpus, HWLOC_OBJ_CORE);

    return count > 0 ? count : hwloc_bitmap_weight(cpus);
}

/* Takes `count` cores from the share, the lowest first: with all their processors that may be used. */
static void take_cores(const struct machine *m, struct share *s, int count, hwloc_bitmap_t ret)
{
    hwloc_bitmap_zero(ret);
    for (int i = 0; i < count && !hwloc_bitmap_iszero(s->cpus); i++) {
        hwloc_obj_t pu = hwloc_get_pu_obj_by_os_index(m->topology, (unsigned)hwloc_bitmap_first(s->cpus));
        hwloc_obj_t core = pu ? hwloc_get_ancestor_obj_by_type(m->topology, HWLOC_OBJ_CORE, pu) : NULL;
        hwloc_bitmap_t taken = hwloc_bitmap_alloc();

        if (!taken)
            return;
        if (core)
            hwloc_bitmap_and(taken, core->cpuset, s->cpus);
        else
            hwloc_bitmap_only(taken, (unsigned)hwloc_bitmap_first(s->cpus));
        hwloc_bitmap_or(ret, ret, taken);
        hwloc_bitmap_andnot(s->cpus, s->cpus, taken);
        hwloc_bitmap_free(taken);
    }
}

/* A share for each NUMA node with processors that may be used. Their number, or negative errno. */
static int make_shares(const struct machine *m, struct share *shares)
{
    int count = 0;

    for (hwloc_obj_t n = NULL; (n = hwloc_get_next_obj_by_type(m->topology, HWLOC_OBJ_NUMANODE, n));) {
        hwloc_bitmap_t cpus = hwloc_bitmap_dup(n->cpuset);

        if (!cpus)
            return -ENOMEM;
        hwloc_bitmap_and(cpus, cpus, m->usable);
        if (hwloc_bitmap_iszero(cpus) || count == SV_NUMA_NODES_MAX) {
            hwloc_bitmap_free(cpus); /* memory without processors */
            continue;
        }
        shares[count++] = (struct share){.node = n, .cpus = cpus};
    }
    return count;
}

static struct share *share_of(struct share *shares, int count, hwloc_obj_t node)
{
    for (int i = 0; i < count; i++)
        if (shares[i].node == node)
            return &shares[i];
    return NULL;
}

/* Which share each trainer belongs to; NULL: nothing near its GPU may be used, or nothing is known. */
static int assign(const struct machine *m, const char (*pci)[16], uint32_t ranks, struct share *shares,
                  int count, struct share **ret_home)
{
    hwloc_bitmap_t near = hwloc_bitmap_alloc();

    for (uint32_t r = 0; r < ranks && near; r++) {
        find_near(m, pci[r], near);
        ret_home[r] = hwloc_bitmap_iszero(near) ? NULL : share_of(shares, count, node_of(m, near));
        if (ret_home[r])
            ret_home[r]->gpus++;
    }
    hwloc_bitmap_free(near);
    return near ? 0 : -ENOMEM;
}

static int place_all(const struct machine *m, struct share *shares, int count, struct share **home,
                     struct sv_placement *p)
{
    hwloc_bitmap_t own = hwloc_bitmap_alloc();

    for (int i = 0; i < count; i++) {
        int cores = cores_in(m, shares[i].cpus), gpus = (int)shares[i].gpus;

        if (gpus > 0 && cores >= 2 * gpus)
            shares[i].each = cores >= 2 * CORES_OF_TRAINER * gpus ? CORES_OF_TRAINER : 1;
    }
    for (uint32_t r = 0; r < p->ranks && own; r++) {
        struct sv_place *place = &p->trainer[r];

        place->node = -1;
        p->far += !home[r];
        if (!home[r])
            continue;
        place->node = count > 1 ? (int)home[r]->node->os_index : -1;
        if (home[r]->each > 0)
            take_cores(m, home[r], home[r]->each, own);
        else
            hwloc_bitmap_copy(own, home[r]->cpus);
        copy_cpus(own, &place->cpus);
    }
    for (int i = 0; i < count; i++) {
        p->weight[p->nodes] = (uint32_t)cores_in(m, shares[i].cpus);
        p->worker[p->nodes].node = -1; /* what they write goes to any rank */
        copy_cpus(shares[i].cpus, &p->worker[p->nodes++].cpus);
    }
    hwloc_bitmap_free(own);
    return own ? 0 : -ENOMEM;
}

int sv_topology_place(const struct sv_topology_source *source, const char (*pci)[16], uint32_t ranks,
                      struct sv_placement *ret, struct im_text *text)
{
    struct share shares[SV_NUMA_NODES_MAX] = {0}, *home[IM_RANKS_MAX] = {0};
    struct sv_placement p = {.ranks = ranks};
    struct machine m;
    int err = machine_open(source, &m, text), count = 0;

    im_assert(ranks <= IM_RANKS_MAX);
    if (err == 0)
        count = make_shares(&m, shares);
    if (err == 0 && count <= 0)
        err = im_fail(text, count < 0 ? count : -ENODATA, "hwloc found no usable processors");
    if (err == 0)
        err = assign(&m, pci, ranks, shares, count, home);
    if (err == 0)
        err = place_all(&m, shares, count, home, &p);
    if (err == 0)
        p.applies = hwloc_topology_is_thissystem(m.topology) != 0;
    for (int i = 0; i < count; i++)
        hwloc_bitmap_free(shares[i].cpus);
    machine_close(&m);
    if (err < 0)
        return err;
    *ret = p;
    return 0;
}
