/* A checkpoint on its way to the disk. A thread writes it, for a file system may take minutes to answer, or never
 * answer again. Whoever trains waits for it a while, and then goes on: the writing goes on apart, with the copy of
 * the network that it began with. One is under way at a time. */
#ifndef TRAINER_SAVING_H
#define TRAINER_SAVING_H

#include <stdbool.h>

#include "ipc/base/clock.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/position.h"
#include "trainer/checkpoint/state.h"

struct tr_saving_job;

/* Zeroed: none is under way. */
struct tr_saving {
    struct tr_saving_job *job;
    bool is_apart; /* nobody waits for it, and the state that it writes is its own */
    im_ns began;
};

struct tr_saving_order {
    struct tr_position at;
    struct tr_position_text position;
    int epoch;     /* the finished one, or -1 within one */
    unsigned best; /* TR_BEST_* */
};

struct tr_saving_result {
    struct tr_saving_order order;
    struct tr_checkpoint_store store; /* as the save left it */
    int err;                          /* 0, or negative errno with a sentence */
    struct im_text why;
};

/* Begins to write what was collected in `state`, which must stay as it is until the result is taken or the job is set
 * apart. 0, or negative errno where there is no memory; without a thread it is done before this returns. */
int tr_saving_begin(struct tr_saving *s, const struct tr_state *state,
                    const struct tr_checkpoint_store *store, const struct tr_saving_order *order);

/* Waits up to `time`. True: it has ended, and ret says how. */
bool tr_saving_wait(struct tr_saving *s, im_ns time, struct tr_saving_result *ret);

/* Nobody waits any longer: the state becomes the job's, and `state` one for the same network that nothing was collected in.
 * -ENOMEM: there is no room for two; everything is as before. */
int tr_saving_set_apart(struct tr_saving *s, struct tr_state *state);

/* The end of this process, or of its part in the run. A job that is still under way is left to itself, and with it the state
 * that it writes: `state` is zeroed. */
void tr_saving_close(struct tr_saving *s, struct tr_state *state);

#endif
