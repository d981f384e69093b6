/* CPUs and memory as the kernel would grant them. Of CPUs only cgroup version 2 is looked at, Debian's since
 * 11; under version 1 the machine's own number stands, so --readers and --augmenters can be set by hand. Of
 * memory and processes both versions are, for a decode that goes beyond a limit is killed, and a run that gets no
 * more processes cannot work.
 *
 * A limit may sit in any cgroup above ours, so all are asked up to the root that we can see. In a container
 * with a cgroup name space that is the container's own. */
#include "ipc/base/sysinfo.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base/file.h"

enum {
    FILE_BYTES_MAX = 1 << 20,
    CPUS_MAX = 8192,
    DEPTH_MAX = 64 /* of cgroups in each other */
};

/* The file's text, the caller's; NULL when it cannot be read. */
static char *read_text(const char *root, const char *a, const char *b, const char *c)
{
    char path[3 * PATH_MAX];
    char *text = NULL;
    size_t n;

    if (snprintf(path, sizeof path, "%s%s%s%s", root, a, b, c) >= (int)sizeof path)
        return NULL;
    return im_read_file(path, FILE_BYTES_MAX, &text, &n, NULL) == 0 ? text : NULL;
}

/* Where the files of a cgroup version are, and how its line in /proc/self/cgroup names it. */
struct hierarchy {
    const char *mount, *controllers;
};
static const struct hierarchy version_2 = {"/sys/fs/cgroup", ""};
static const struct hierarchy memory_of_version_1 = {"/sys/fs/cgroup/memory", "memory"};
static const struct hierarchy pids_of_version_1 = {"/sys/fs/cgroup/pids", "pids"};

/* "NUMBER:CONTROLLERS:/PATH": the path where `wanted` is one of the controllers ("" is version 2). */
static const char *path_in_line(const char *line, const char *wanted)
{
    const char *names = strchr(line, ':'), *end = names ? strchr(names + 1, ':') : NULL;

    if (!end || end[1] != '/')
        return NULL;
    for (names++; names <= end; names += strcspn(names, ",:") + 1)
        if (strcspn(names, ",:") == strlen(wanted) && strncmp(names, wanted, strlen(wanted)) == 0)
            return end + 1;
    return NULL;
}

/* Our cgroup's path ("" for the root one). False where there is no such hierarchy. */
static bool find_cgroup(const char *root, const struct hierarchy *h, char path[PATH_MAX])
{
    char *text = read_text(root, "/proc/self/cgroup", "", ""), *next = text, *line;
    const char *found = NULL;

    while (!found && (line = strsep(&next, "\n")))
        found = path_in_line(line, h->controllers);
    if (found)
        snprintf(path, PATH_MAX, "%s", strcmp(found, "/") == 0 ? "" : found);
    free(text);
    return found != NULL;
}

/* From "/a/b" to "/a" to ""; 0 when there is nothing above. */
static int go_up(char *path)
{
    char *slash = strrchr(path, '/');

    if (!slash)
        return 0;
    *slash = '\0';
    return 1;
}

/* A decimal number at *at, which moves past it. False where there is none ("max"). */
static bool take_number(const char **at, uint64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoull(*at, &end, 10);
    if (end == *at || errno)
        return false;
    *at = end;
    return true;
}

/* cpu.max is "QUOTA PERIOD" or "max PERIOD". Unlimited: `otherwise`. */
static int read_cpu_limit(const char *root, const char *cgroup, int otherwise)
{
    char *text = read_text(root, "/sys/fs/cgroup", cgroup, "/cpu.max");
    const char *at = text;
    uint64_t quota, period, count = 0;

    if (text && take_number(&at, &quota) && take_number(&at, &period) && period > 0)
        count = quota / period + (quota % period != 0);
    free(text);
    return count > 0 && count < (uint64_t)otherwise ? (int)count : otherwise;
}

int im_cpu_count_at(const char *root, int affinity)
{
    char cgroup[PATH_MAX];
    int count = affinity > 0 ? affinity : 1;

    if (!find_cgroup(root, &version_2, cgroup))
        return count;
    for (int i = 0; i < DEPTH_MAX; i++) {
        count = read_cpu_limit(root, cgroup, count);
        if (!go_up(cgroup))
            break;
    }
    return count;
}

int im_cpu_count(void)
{
    size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    int count = 1;

    if (set && sched_getaffinity(0, size, set) == 0)
        count = CPU_COUNT_S(size, set);
    CPU_FREE(set);
    return im_cpu_count_at("", count);
}

/* What stands behind `key` at the start of a line; NULL when it is not there. */
static const char *find_value(const char *text, const char *key)
{
    size_t n = strlen(key);

    while (text) {
        if (strncmp(text, key, n) == 0 && (text[n] == ' ' || text[n] == ':'))
            return text + n + 1;
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return NULL;
}

/* The number there; 0 when it is not there. */
static uint64_t find_number(const char *text, const char *key)
{
    const char *value = find_value(text, key);

    return value ? strtoull(value, NULL, 10) : 0;
}

/* The first number of a cgroup's file; `otherwise` where there is none ("max", or no such file). */
static uint64_t read_number(const char *root, const char *mount, const char *cgroup, const char *name,
                            uint64_t otherwise)
{
    char *text = read_text(root, mount, cgroup, name);
    const char *at = text;
    uint64_t number = otherwise;

    if (text && !take_number(&at, &number))
        number = otherwise;
    free(text);
    return number;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t read_memory_limit(const char *root, const struct hierarchy *h, const char *cgroup)
{
    if (h == &memory_of_version_1) /* without a limit a number near 2^63 */
        return read_number(root, h->mount, cgroup, "/memory.limit_in_bytes", UINT64_MAX);
    return least(read_number(root, h->mount, cgroup, "/memory.max", UINT64_MAX),
                 read_number(root, h->mount, cgroup, "/memory.high", UINT64_MAX));
}

/* What a cgroup still grants; its page cache (inactive_file) can be taken back and counts as free. */
static uint64_t read_memory_left(const char *root, const struct hierarchy *h, const char *cgroup)
{
    const bool old = h == &memory_of_version_1;
    uint64_t limit = read_memory_limit(root, h, cgroup), cache;
    uint64_t used =
        read_number(root, h->mount, cgroup, old ? "/memory.usage_in_bytes" : "/memory.current", UINT64_MAX);
    char *stat;

    if (limit == UINT64_MAX || used == UINT64_MAX)
        return UINT64_MAX;
    stat = read_text(root, h->mount, cgroup, "/memory.stat");
    cache = stat ? find_number(stat, old ? "total_inactive_file" : "inactive_file") : 0;
    free(stat);
    used -= least(cache, used);
    return used < limit ? limit - used : 0;
}

typedef uint64_t read_of_cgroup(const char *root, const struct hierarchy *h, const char *cgroup);

/* The least that any cgroup above us says, or `most`. */
static uint64_t least_on_the_way_up(const char *root, read_of_cgroup *read, uint64_t most)
{
    static const struct hierarchy *const hierarchies[] = {&version_2, &memory_of_version_1};
    char cgroup[PATH_MAX];

    for (int v = 0; v < 2; v++) {
        bool above = find_cgroup(root, hierarchies[v], cgroup);

        for (int i = 0; i < DEPTH_MAX && above; i++) {
            most = least(most, read(root, hierarchies[v], cgroup));
            above = go_up(cgroup);
        }
    }
    return most;
}

struct im_pids im_pids_at(const char *root)
{
    static const struct hierarchy *const hierarchies[] = {&version_2, &pids_of_version_1};
    struct im_pids tightest = {UINT64_MAX, 0};
    char cgroup[PATH_MAX];

    for (int v = 0; v < 2; v++) {
        const char *mount = hierarchies[v]->mount;
        bool above = find_cgroup(root, hierarchies[v], cgroup);

        for (int i = 0; i < DEPTH_MAX && above; i++) {
            struct im_pids here = {read_number(root, mount, cgroup, "/pids.max", UINT64_MAX),
                                   read_number(root, mount, cgroup, "/pids.current", 0)};

            here.used = least(here.used, here.limit);
            if (here.limit - here.used < tightest.limit - tightest.used)
                tightest = here;
            above = go_up(cgroup);
        }
    }
    return tightest;
}

/* A number of /proc/meminfo in bytes; 0: not known. */
static uint64_t read_meminfo(const char *root, const char *key)
{
    char *meminfo = read_text(root, "/proc/meminfo", "", "");
    uint64_t bytes = meminfo ? find_number(meminfo, key) * 1024 : 0;

    free(meminfo);
    return bytes;
}

uint64_t im_memory_available_at(const char *root)
{
    uint64_t left = read_meminfo(root, "MemAvailable");

    return left == 0 ? 0 : least_on_the_way_up(root, read_memory_left, left);
}

uint64_t im_memory_total_at(const char *root)
{
    uint64_t all = read_meminfo(root, "MemTotal");

    return all == 0 ? 0 : least_on_the_way_up(root, read_memory_limit, all);
}

/* Adds the count that a file tells; one that cannot be read leaves `sum` as it is. */
static void add_oom_kills(const char *root, const char *mount, const char *cgroup, const char *name,
                          uint64_t *sum)
{
    char *text = read_text(root, mount, cgroup, name);
    const char *at = text ? find_value(text, "oom_kill") : NULL;
    uint64_t count;

    if (at && take_number(&at, &count))
        *sum = (*sum == UINT64_MAX ? 0 : *sum) + count;
    free(text);
}

uint64_t im_oom_kills_at(const char *root)
{
    uint64_t kills = UINT64_MAX;
    char cgroup[PATH_MAX];

    add_oom_kills(root, "/proc/vmstat", "", "", &kills);
    if (find_cgroup(root, &version_2, cgroup))
        add_oom_kills(root, version_2.mount, cgroup, "/memory.events", &kills);
    if (find_cgroup(root, &memory_of_version_1, cgroup))
        add_oom_kills(root, memory_of_version_1.mount, cgroup, "/memory.oom_control", &kills);
    return kills;
}

uint64_t im_memory_total(void)
{
    return im_memory_total_at("");
}

uint64_t im_oom_kills(void)
{
    return im_oom_kills_at("");
}

struct im_pids im_pids(void)
{
    return im_pids_at("");
}

uint64_t im_memory_available(void)
{
    return im_memory_available_at("");
}

const char *im_build_id(void)
{
    return IMSUPER_BUILD_ID;
}

void im_beside(const char *name, char *ret, size_t n)
{
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash;

    self[length > 0 ? length : 0] = '\0';
    slash = strrchr(self, '/');
    if (slash)
        *slash = '\0';
    snprintf(ret, n, "%s/%s", self, name);
}
