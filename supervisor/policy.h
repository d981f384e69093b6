/* When to start a dead process again, and when to give up. Pure. */
#ifndef SUPERVISOR_POLICY_H
#define SUPERVISOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"

/* What one slot remembers of its deaths. Zero-initialised. */
struct sv_tally {
    uint32_t deaths;   /* in a row without progress */
    uint64_t progress; /* of the run, at the last death */
};

enum sv_verdict { SV_RESTART, SV_GIVE_UP };

/* A process has died when the run had made `progress` (samples committed). Any progress since the last
 * death of this slot forgives the earlier ones: a run that moves on is never given up; after
 * `deaths_max` without any it is. Writes how long to wait before the next start: nothing, 50 ms, 200 ms,
 * then 1 s each. `never_ready`: it left by itself with an error before it was ready, so that the next
 * one would do the same. */
enum sv_verdict sv_tally_death(struct sv_tally *tally, uint64_t progress, bool never_ready,
                               uint32_t deaths_max, im_ns *ret_delay);

/* Does this end say that the program itself failed on what it was doing (not that somebody killed
 * it)? Wait status. */
bool sv_is_own_crash(int wait_status);

/* "signal 11 (Segmentation fault)" or "status 2", into a buffer of n bytes. Returns it. */
const char *sv_describe_end(int wait_status, char *buffer, int n);

#endif
