/* A run small enough to look at, for the unit tests of ipc: 2 ranks, 4 encoded cells, 2 batches of at
 * most 3 places. */
#ifndef TESTS_UNIT_IPC_SMALL_RUN_H
#define TESTS_UNIT_IPC_SMALL_RUN_H

#include "ipc/plan.h"
#include "ipc/run.h"
#include "tests/unit/ipc/base/unit.h"

struct small_run {
    struct im_run run;
    struct im_plan plan;
};

enum {
    SMALL_CELLS = 4,
    SMALL_BATCHES = 2,
    SMALL_BATCH_SIZE = 3,
    SMALL_RANKS = 2,
    SMALL_TRAIN = 40,
    SMALL_VAL = 7
};

struct im_geometry small_geometry(void);

/* cmocka setup and teardown; *state is a struct small_run *, its rings set to ticket 0. */
int small_setup(void **state);
int small_teardown(void **state);

/* The words of an encoded cell and of a place, now. */
uint64_t small_encoded_word(const struct small_run *s, uint32_t cell);
uint64_t small_batch_word(const struct small_run *s, uint32_t rank, uint64_t batch, uint32_t place);
void small_set_batch_word(struct small_run *s, uint32_t rank, uint64_t batch, uint32_t place, uint64_t word);

/* Moves tickets first .. last (in order) to READY as reader `owner`. */
void small_publish(struct small_run *s, uint32_t owner, uint64_t first, uint64_t last);

#endif
