/* CPUs and memory as the kernel would grant them. Only cgroup version 2 is looked at, Debian's since 11;
 * under version 1 the machine's own numbers stand, which is too much in a limited container, so --readers,
 * --augmenters and the ring sizes can be set by hand.
 *
 * A limit may sit in any cgroup above ours, so all are asked up to the root that we can see. In a container
 * with a cgroup name space that is the container's own. */
#include "ipc/base/sysinfo.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* Our cgroup's path ("" for the root one). False where there is no version 2. */
static int find_cgroup(const char *root, char path[PATH_MAX])
{
    char *text = read_text(root, "/proc/self/cgroup", "", "");
    char *line = text;
    int found = 0;

    while (line && !found) {
        size_t n = strcspn(line, "\n");

        if (strncmp(line, "0::/", 4) == 0 && n - 3 < PATH_MAX) {
            found = 1;
            memcpy(path, line + 3, n - 3);
            path[n - 3] = '\0';
            if (strcmp(path, "/") == 0)
                path[0] = '\0';
        }
        line = line[n] ? line + n + 1 : NULL;
    }
    free(text);
    return found;
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

    if (!find_cgroup(root, cgroup))
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

/* The number behind `key` at the start of a line; 0 when it is not there. */
static uint64_t find_number(const char *text, const char *key)
{
    size_t n = strlen(key);

    while (text) {
        if (strncmp(text, key, n) == 0 && (text[n] == ' ' || text[n] == ':'))
            return strtoull(text + n + 1, NULL, 10);
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return 0;
}

/* What a cgroup still grants; its page cache (inactive_file) can be taken back and counts as free. */
static uint64_t read_memory_left(const char *root, const char *cgroup, uint64_t otherwise)
{
    char *max = read_text(root, "/sys/fs/cgroup", cgroup, "/memory.max");
    char *current = read_text(root, "/sys/fs/cgroup", cgroup, "/memory.current");
    char *stat = read_text(root, "/sys/fs/cgroup", cgroup, "/memory.stat");
    uint64_t left = otherwise, limit;
    const char *at = max;

    if (max && current && take_number(&at, &limit)) {
        uint64_t used = strtoull(current, NULL, 10);
        uint64_t cache = stat ? find_number(stat, "inactive_file") : 0;

        used -= cache < used ? cache : used;
        left = used < limit ? limit - used : 0;
    }
    free(max);
    free(current);
    free(stat);
    return left < otherwise ? left : otherwise;
}

uint64_t im_memory_available_at(const char *root)
{
    char *meminfo = read_text(root, "/proc/meminfo", "", "");
    uint64_t left = meminfo ? find_number(meminfo, "MemAvailable") * 1024 : 0;
    char cgroup[PATH_MAX];

    free(meminfo);
    if (left == 0 || !find_cgroup(root, cgroup))
        return left;
    for (int i = 0; i < DEPTH_MAX; i++) {
        left = read_memory_left(root, cgroup, left);
        if (!go_up(cgroup))
            break;
    }
    return left;
}

uint64_t im_memory_available(void)
{
    return im_memory_available_at("");
}

uint64_t im_oom_kills_at(const char *root)
{
    static const char key[] = "\noom_kill ";
    char *text = read_text(root, "/proc/vmstat", "", "");
    const char *at = text ? strstr(text, key) : NULL;
    uint64_t count = UINT64_MAX;

    if (at) {
        at += sizeof key - 1;
        if (!take_number(&at, &count))
            count = UINT64_MAX;
    }
    free(text);
    return count;
}

uint64_t im_oom_kills(void)
{
    return im_oom_kills_at("");
}

const char *im_build_id(void)
{
    return IMSUPER_BUILD_ID;
}
