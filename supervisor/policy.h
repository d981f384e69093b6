/* When to start a dead process again, and when to give up. Pure. */
#ifndef SUPERVISOR_POLICY_H
#define SUPERVISOR_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/base/clock.h"

/* Longest wait before a process is started again. */
#define SV_BACKOFF_MAX_NS (5 * IM_SECOND)

/* Longest wait after a kill from outside, for that many deaths in a row. */
#define SV_BACKOFF_KILL_NS (200 * IM_MS)
#define SV_KILLS_WITHOUT_BACKOFF 10

/* Errors of its own, without progress in between, by which a program ends the run: the next one would meet
 * the same. */
#define SV_ERRORS_MAX 2

/* What one slot remembers of its deaths. Zero-initialised. */
struct sv_tally {
    uint32_t in_row;   /* deaths without progress in between, of any cause: how long to wait */
    uint32_t deaths;   /* of them, those that are charged */
    uint32_t errors;   /* of those, exits with an error of its own */
    uint64_t progress; /* of the run, at the last death */
};

/* A death, as far as it matters here. */
struct sv_death {
    bool by_supervisor; /* killed for a deadline, a stall or a reset */
    bool by_somebody;   /* killed by a signal that no program sends itself, and not for lack of memory */
    bool was_ready;     /* for work */
    bool own_error;     /* left by itself with an error, and was not told to leave */
    bool
        permanent; /* that error is of what the run was given, and no process has got past it: no retry repairs it */
    bool held_ticket; /* a reader or augmenter with work in its hands, which may be to blame */
    bool trainer;
    bool run_goes_on; /* the trainers have what they need for now, without this process */
    uint64_t
        progress; /* a worker's: items that anyone of the run has finished, ever; a trainer's: the furthest
                          batch that was trained, for going over the same batches again is no progress */
};

enum sv_verdict { SV_RESTART, SV_GIVE_UP };

/* Does the death say something about the program? Not when the supervisor or a user killed it. Charged are
 * deaths of trainers, and of workers that were not ready or held no ticket (one that did may have died of
 * the sample, which has a judgement of its own), unless the run goes on without them. */
bool sv_is_charged(const struct sv_death *d);

/* Counts a death. Progress since the last one of this slot forgives all: a run that moves on is never given
 * up. Without any it is after `deaths_max` restarts of charged deaths, SV_ERRORS_MAX charged errors, or a permanent one.
 * Writes how long to wait before the next start: nothing, 50 ms, 200 ms, 1 s, then longer up to
 * SV_BACKOFF_MAX_NS; after a kill from outside not longer than SV_BACKOFF_KILL_NS, the first
 * SV_KILLS_WITHOUT_BACKOFF times. */
enum sv_verdict sv_tally_death(struct sv_tally *tally, const struct sv_death *d, uint32_t deaths_max,
                               im_ns *ret_delay);

/* The status that a run ends with because a process ended so: one of the documented ones (ipc/base/exit.h). */
int sv_exit_status_for(int wait_status);

/* Is this an end by a signal from outside, such as SIGKILL and SIGTERM? `oom_kills` before and after: if they
 * differ, or are not known (UINT64_MAX), a SIGKILL may be the kernel's for lack of memory, which the next
 * process would lack too. Wait status. */
bool sv_is_somebodys_kill(int wait_status, uint64_t oom_kills_before, uint64_t oom_kills);

/* Does this end say that the program itself failed on what it was doing (not that somebody killed
 * it)? Wait status. */
bool sv_is_own_crash(int wait_status);

/* "signal 11 (Segmentation fault)" or "status 2", into a buffer of n bytes. Returns it. */
const char *sv_describe_end(int wait_status, char *buffer, int n);

#endif
