/* One clock for every process: CLOCK_MONOTONIC in nanoseconds. */
#ifndef IPC_BASE_CLOCK_H
#define IPC_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

typedef uint64_t im_ns;

#define IM_MS ((im_ns)1000000)
#define IM_SECOND ((im_ns)1000000000)

static inline im_ns im_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (im_ns)now.tv_sec * IM_SECOND + (im_ns)now.tv_nsec;
}

#endif
