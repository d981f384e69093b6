/* The plan of a run: what each ticket is. A pure function of a few numbers, the same in every process.
 *
 * A run is a sequence of phases: a training pass, then a validation pass, epoch after epoch. A phase is cut
 * into steps of ranks x batch_size samples; the last step takes what is left (drop_last leaves it out
 * instead). An evaluation has one phase, which validates. Epochs may differ in batch and image size. Tickets number the samples 0, 1, 2, ... over the whole
 * run; batches number the steps likewise. Within a step, position i goes to rank i mod ranks, place i /
 * ranks, so that the ranks' batches fill at the same pace.
 *
 * A run that continues with another number of ranks keeps the order of its samples: a training pass is cut for the
 * ranks that it began with (order_ranks), each of whose batches keeps its samples, and these batches, in the order
 * of their steps and ranks, go to the ranks that there are: the first to rank 0, the next to rank 1, and so on. With
 * ranks x accumulate as before, each optimiser step has the same batches. Where the ranks do not divide the `window` batches of an
 * optimiser step, some ranks have no batch in the last of its steps, and the next one begins with rank 0 again.
 *
 * With --virtual-ranks training and validation are cut for these in the same way, from the start.
 *
 * With --elastic drop the order stays, and `window` is as many batches as the ranks that there are take at a time. Where
 * these change between two of its batches, the steps are counted as if there had been as many from the pass's beginning: in
 * the first one that follows, the batches before im_plan_order_at() are done (trainer/batch.c).
 *
 * A run on several nodes has one order of samples and one numbering of batches for all nodes. A node has the
 * consecutive ranks first_rank .. first_rank + ranks - 1 of the world's, and numbers the samples of these alone as
 * its tickets 0, 1, 2, ...: the tickets of all nodes are each sample of the run once. In every function `rank` is
 * the index of a rank on this node. */
#ifndef IPC_PLAN_H
#define IPC_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "ipc/abi.h"
#include "ipc/base/err.h"

struct im_conf_sizes;

struct im_plan_params {
    uint64_t samples[IM_SPLITS];
    uint32_t epochs;
    uint32_t ranks;                    /* of this node */
    uint32_t world;                    /* ranks of all nodes; 0: ranks */
    uint32_t first_rank;               /* of this node, in the world */
    uint32_t order_ranks;              /* that the training passes are cut for; 0: world */
    uint32_t val_order_ranks;          /* that the validation passes are cut for; 0: world */
    uint32_t window;                   /* batches of an optimiser step; 0: as many as the ranks have */
    uint32_t batch_size[IM_SPLITS];    /* per rank */
    uint32_t image_size[IM_SPLITS];    /* pixels a side */
    const struct im_conf_sizes *train; /* [epochs]: each epoch's in place of those of IM_TRAIN; NULL: none */
    uint32_t validate_every;           /* epochs; 0 = never. The last epoch is always validated otherwise. */
    uint32_t drop_last;                /* 1: training leaves the last short step out */
    uint32_t evaluates;                /* 1: the validation pass of one epoch, and nothing else */
};

struct im_phase {
    uint64_t first_ticket;
    uint64_t first_batch;
    uint64_t samples; /* delivered in this phase, on all nodes */
    uint64_t tickets; /* of these, on this node */
    double pixels;    /* of the samples of all phases before: what their time goes with when sizes change */
    uint32_t steps;
    uint32_t split; /* enum im_split */
    uint32_t epoch; /* from 0 */
    uint32_t batch_size;
    uint32_t image_size;
    uint32_t order_ranks; /* that the samples are cut for */
};

struct im_plan {
    struct im_phase *phase; /* owned */
    uint32_t phases;
    uint32_t ranks; /* of this node */
    uint32_t world; /* ranks of all nodes */
    uint32_t first_rank;
    uint32_t window;       /* batches of an optimiser step, of all ranks */
    uint32_t window_steps; /* steps that they take */
    uint64_t tickets;      /* of the run, on this node */
    uint64_t batches;
    double pixels; /* of the samples of all phases */
};

/* Where one ticket belongs. */
struct im_place {
    const struct im_phase *phase;
    uint64_t position; /* within the phase: 0 .. samples-1 */
    uint64_t batch;    /* of the run */
    uint32_t step;     /* within the phase */
    uint32_t rank;     /* on this node */
    uint32_t place;    /* within the rank's batch */
};

/* -EINVAL with a sentence when nothing could be trained; -ENOMEM. */
int im_plan_init(struct im_plan *plan, const struct im_plan_params *params, struct im_text *text);
void im_plan_fini(struct im_plan *plan);

/* The phase that batch `batch` belongs to; NULL past the end. O(log phases). */
const struct im_phase *im_plan_phase_of_batch(const struct im_plan *plan, uint64_t batch);

/* 0, or -ERANGE when the ticket is past the end of the run. */
int im_plan_place(const struct im_plan *plan, uint64_t ticket, struct im_place *ret);

/* Which batch of which step this was with the ranks that the pass is cut for: the key of what is drawn for a
 * batch. Without another number of ranks: the rank in the world, and the batch within its pass. */
struct im_order {
    uint32_t step; /* within the pass */
    uint32_t rank; /* in the world */
};
struct im_order im_plan_order(const struct im_plan *plan, const struct im_phase *phase, uint64_t batch,
                              uint32_t rank);

/* The sample's position within the pass at a place of a rank's batch. */
uint64_t im_plan_position(const struct im_plan *plan, const struct im_phase *phase, uint64_t batch,
                          uint32_t rank, uint32_t place);

/* First ticket of a batch on this node; the run's ticket count for a batch past the end. */
uint64_t im_plan_first_ticket(const struct im_plan *plan, uint64_t batch);

/* A batch of one plan as one of another, of the same run with other ranks: the first of the same optimiser step, or with
 * `ahead` the first of the next one if it is not where an optimiser step begins. In a validation pass the beginning or
 * the end. */
uint64_t im_plan_translate(const struct im_plan *from, uint64_t batch, const struct im_plan *to, bool ahead);

/* Batches of a pass before this one, in the order that it is cut for: of a whole number of steps, or of the pass. */
uint64_t im_plan_order_at(const struct im_plan *plan, const struct im_phase *phase, uint64_t batch);
/* Batches of the whole pass in this order. */
uint64_t im_plan_order_batches(const struct im_phase *phase);
/* Samples that the ranks of this node, or of all, have in the pass in batches `from` .. before - 1 of its order. */
uint64_t im_plan_order_samples(const struct im_plan *plan, const struct im_phase *phase, uint64_t from,
                               uint64_t before, bool everywhere);

/* Samples of `rank` in `batch` (0 is possible in a short last step), and of the ranks of all nodes. */
uint32_t im_plan_batch_count(const struct im_plan *plan, uint64_t batch, uint32_t rank);
uint32_t im_plan_step_count(const struct im_plan *plan, uint64_t batch);

/* Ranks of the world that have samples in `batch`: the first ones. */
uint32_t im_plan_step_ranks(const struct im_plan *plan, uint64_t batch);

#endif
