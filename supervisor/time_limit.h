/* When a run with --time-limit has to stop so that it is saved in time. Pure. */
#ifndef SUPERVISOR_TIME_LIMIT_H
#define SUPERVISOR_TIME_LIMIT_H

#include <stdbool.h>

/* In seconds. */
struct sv_time_limit_seen {
    double limit, elapsed;
    double save;        /* that the last checkpoint took; 0: none was saved yet */
    double state_bytes; /* of a checkpoint, where `save` is not known; 0: not known either */
    double step;        /* that a slow step takes; 0: not known */
};

/* What is kept for the end: twice the last save, a step, and what processes take to leave; at most half of
 * the limit. */
double sv_time_limit_reserve(const struct sv_time_limit_seen *seen);

bool sv_time_limit_is_near(const struct sv_time_limit_seen *seen);

#endif
