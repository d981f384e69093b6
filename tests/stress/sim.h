/* A pipeline in small over the real rings: readers, augmenters and trainers whose "files" and "pixels" are
 * pure functions of the ticket, so that whoever consumes a sample can tell whether it is the right one,
 * whole, and there once.
 *
 * A worker is a thread (stress_ring_threads) or a forked process (stress_ring_kills). Threads die by leaving at one of the
 * steps between two calls of ipc without tidying up; processes die by SIGKILL at the fault points of ipc and
 * of this file, or anywhere. */
#ifndef TESTS_STRESS_SIM_H
#define TESTS_STRESS_SIM_H

#include <stdbool.h>

#include "ipc/base/rng.h"
#include "ipc/plan.h"
#include "ipc/run.h"

enum { SIM_RANKS_MAX = 4, SIM_WORKERS_MAX = 32 };

/* What outlives the workers beside the run itself: what trainers would keep in a checkpoint, and the test's
 * own books. */
struct sim_shared {
    struct im_event event_phase;
    _Atomic uint32_t phase_begun;               /* W trainer 0: 1 + phase whose ledger is open */
    _Atomic uint32_t phase_done[SIM_RANKS_MAX]; /* W trainer r: 1 + last phase it has finished */
    _Atomic uint64_t next_batch[SIM_RANKS_MAX]; /* W trainer r: its checkpoint */
    _Atomic uint64_t wrong;                     /* W trainers: samples whose content was not the ticket's */
    _Atomic uint64_t fenced; /* W workers: own compare-and-swap failed: never right for the living */
    _Atomic uint8_t seen[];  /* W trainers: deliveries by ticket since the last reset */
};

struct sim {
    struct im_run run;
    struct im_plan plan;
    struct sim_shared *shared;
    uint64_t seed;
    uint32_t readers, augmenters, ranks;
    uint32_t linger; /* a worker naps 1 ms after 1 of this many items, so that random kills find it
                        everywhere; 0 = never */
};

struct sim_shape {
    uint64_t seed;
    uint64_t samples[IM_SPLITS];
    uint32_t epochs, readers, augmenters, ranks, cells, batches, batch_size;
};

struct sim_worker {
    struct sim *sim;
    enum im_role role;
    uint32_t index, slot, incarnation;
    uint32_t die_one_in; /* at each step; 0 = never */
    struct im_rng rng;
};

enum sim_end { SIM_LEFT, SIM_DIED, SIM_FENCED, SIM_FAILED };

/* Makes a run and sets its rings to ticket 0. 0 or a negative errno. */
int sim_open(struct sim *sim, const struct sim_shape *shape);
void sim_close(struct sim *sim);

uint32_t sim_worker_count(const struct sim *sim);

/* Announces worker number `number` in the process table and fills *ret; supervisor only. */
int sim_announce(struct sim *sim, uint32_t number, struct sim_worker *ret);

/* Works until the run ends, or until it dies. */
enum sim_end sim_work(struct sim_worker *w);

/* Buries a worker that is known to be dead: marked, its cells returned, its entry cleared. */
void sim_bury(struct sim *sim, const struct sim_worker *w);

/* The whole data plane goes back to the oldest batch that some trainer has yet to finish. No worker
 * may be alive. */
void sim_reset(struct sim *sim);

void sim_end(struct sim *sim);           /* tells all workers to leave */
bool sim_is_over(const struct sim *sim); /* every trainer has finished the plan */
uint64_t sim_progress(const struct sim *sim);

/* A READY ticket's place is never held by somebody: false with a line on stderr when one is. */
bool sim_ready_places_are_open(const struct sim *sim);

/* Each sample of each phase once, with the right bytes: 0, or the number of faults found, each
 * told on stderr. */
int sim_check(const struct sim *sim);

/* Writes the words of both rings to stderr: what a stuck run looks like. */
void sim_dump(const struct sim *sim);

#endif
