/* What the machine, or the container we are in, lets us use; and which build we are. */
#ifndef IPC_BASE_SYSINFO_H
#define IPC_BASE_SYSINFO_H

#include <stddef.h>
#include <stdint.h>

/* CPUs this process may use, at least 1: its affinity mask, and less where a cgroup's cpu.max allows less
 * (1.5 CPUs count as 2). */
int im_cpu_count(void);

/* Bytes that can still be had without swapping: MemAvailable, and less where a cgroup's limit (memory.max or
 * memory.high; memory.limit_in_bytes of version 1) leaves less. 0: not known. */
uint64_t im_memory_available(void);

/* Bytes that there are, used or not: MemTotal, and less where a cgroup's limit is less. It does not depend on
 * what else runs. 0: not known. */
uint64_t im_memory_total(void);

/* A count that grows when the kernel kills a process for lack of memory: of our cgroup, and of the machine
 * where its count can be read. UINT64_MAX: not known. */
uint64_t im_oom_kills(void);

/* Processes and threads that a cgroup may have (pids.max; --pids-limit of a container, TasksMax of a unit), and has: of
 * the cgroup above us that lets fewest more begin. limit UINT64_MAX: there is none. */
struct im_pids {
    uint64_t limit, used;
};
struct im_pids im_pids(void);

/* The path of a file in the folder of the running program, where the others of the build are; cut to n bytes. */
void im_beside(const char *name, char *ret, size_t n);

/* The same seen below another root ("/tmp/x" for "/tmp/x/proc/meminfo"); `affinity` as the mask would say.
 * For tests. */
int im_cpu_count_at(const char *root, int affinity);
uint64_t im_memory_available_at(const char *root);
uint64_t im_memory_total_at(const char *root);
uint64_t im_oom_kills_at(const char *root);
struct im_pids im_pids_at(const char *root);

/* Version, commit, digest of the headers that processes share, and compile options: equal in all binaries of
 * one build, and different where they could not work together. Processes exchange it and refuse another. */
const char *im_build_id(void);

#endif
