#include "supervisor/usage.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void sv_usage_parse(const char *stat, double ticks_per_second, int64_t page_bytes, struct sv_usage *ret)
{
    const char *rest = strrchr(stat, ')'); /* behind the name, which may hold anything */
    uint64_t user, system;
    int64_t pages;

    *ret = (struct sv_usage){(double)NAN, -1};
    /* Fields 3 to 24: state, 10 numbers, utime, stime, 8 numbers, resident pages. */
    if (!rest || sscanf(rest + 1,
                        " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                        " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNd64,
                        &user, &system, &pages) != 3)
        return;
    ret->cpu_seconds = (double)(user + system) / ticks_per_second;
    ret->rss_bytes = pages * page_bytes;
}

void sv_usage_read(int pid, struct sv_usage *ret)
{
    char path[48], stat[1024];
    ssize_t n;
    int fd;

    *ret = (struct sv_usage){(double)NAN, -1};
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    n = read(fd, stat, sizeof stat - 1);
    close(fd);
    if (n <= 0)
        return;
    stat[n] = 0;
    sv_usage_parse(stat, (double)sysconf(_SC_CLK_TCK), sysconf(_SC_PAGESIZE), ret);
}
