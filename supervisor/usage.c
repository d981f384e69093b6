#include "supervisor/usage.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Fields of /proc/PID/stat, counted from 1, as proc(5) does. */
enum { STATE = 3, UTIME = 14, STIME = 15, RESIDENT = 24 };

/* The number in a field behind the name, which may hold anything; -1: there is none. */
static int64_t field(const char *stat, int number)
{
    const char *at = strrchr(stat, ')');
    char *end;
    long long value;

    for (int i = STATE - 1; at && i < number; i++)
        at = strchr(at + 1, ' ');
    if (!at)
        return -1;
    value = strtoll(at, &end, 10);
    return end == at || value < 0 ? -1 : value;
}

void sv_usage_parse(const char *stat, double ticks_per_second, int64_t page_bytes, struct sv_usage *ret)
{
    const int64_t user = field(stat, UTIME), system = field(stat, STIME), pages = field(stat, RESIDENT);

    *ret = (struct sv_usage){(double)NAN, -1};
    if (user >= 0 && system >= 0)
        ret->cpu_seconds = (double)(user + system) / ticks_per_second;
    if (pages >= 0)
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
