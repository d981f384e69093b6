#include "augment/limits.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ipc/sandbox.h"

#define SPARE ((uint64_t)256 << 20) /* for rows, tables, and what the allocator keeps */

/* Bytes of private memory that this process has; 0: not known. The sixth number of statm, in pages. */
static uint64_t private_bytes(void)
{
    char text[256] = "", *at = text;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    uint64_t pages = 0;

    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    for (int field = 0; field < 6; field++)
        pages = strtoull(at, &at, 10);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

void au_limit_memory(const struct im_conf *conf)
{
    uint64_t has = private_bytes(), most;
    struct rlimit limit;

    if (IM_SANITIZED || has == 0 || getrlimit(RLIMIT_DATA, &limit) < 0)
        return;
    /* A buffer that grows is there twice for a moment. */
    most =
        has + 2 * ((uint64_t)im_conf_decode_memory_mib(conf) << 20) + (uint64_t)conf->max_file_bytes + SPARE;
    if (limit.rlim_cur == RLIM_INFINITY || most < limit.rlim_cur)
        limit.rlim_cur = most;
    setrlimit(RLIMIT_DATA, &limit);
}
