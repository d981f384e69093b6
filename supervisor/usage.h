/* What a process takes of the machine, by the kernel's count. */
#ifndef SUPERVISOR_USAGE_H
#define SUPERVISOR_USAGE_H

#include <stdint.h>

struct sv_usage {
    double cpu_seconds; /* of all its threads since it began; NAN: not known */
    int64_t rss_bytes;  /* of memory that it has, shared memory included; -1: not known */
};

void sv_usage_read(int pid, struct sv_usage *ret);

/* The same from the text of /proc/PID/stat. */
void sv_usage_parse(const char *stat, double ticks_per_second, int64_t page_bytes, struct sv_usage *ret);

#endif
