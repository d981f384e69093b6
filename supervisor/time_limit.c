#include "supervisor/time_limit.h"

#define LEAVE_SECONDS 2.0          /* for all processes to end */
#define DISK_BYTES_PER_SECOND 50e6 /* before the first save: a slow disk */

double sv_time_limit_reserve(const struct sv_time_limit_seen *seen)
{
    double save = seen->save > 0 ? seen->save : seen->state_bytes / DISK_BYTES_PER_SECOND;
    double reserve = 2 * save + seen->step + LEAVE_SECONDS;

    return reserve < seen->limit / 2 ? reserve : seen->limit / 2;
}

bool sv_time_limit_is_near(const struct sv_time_limit_seen *seen)
{
    return seen->limit > 0 && seen->elapsed >= seen->limit - sv_time_limit_reserve(seen);
}
