/* The trainers of a run as one: what they agree on at each step, and what they add up. With one rank all of
 * it is what this rank says.
 *
 * All ranks walk through the plan batch by batch together. A step is: tr_ranks_agree(), then the network's
 * step, which adds up gradients and tallies over the ranks by tr_ranks_rank_sum() before the same update
 * everywhere. So every rank holds the same parameters, optimiser state and sums, to the bit; the running
 * statistics of batch norm are each rank's own, and those of rank 0 count: it saves them, and all validate
 * with them. Before each checkpoint tr_ranks_compare() makes sure that it is so.
 *
 * Agreement goes through shared memory (ipc/peers.h), arrays through a communicator (comm.h). Functions
 * return 0, a negative errno with a sentence, or a positive exit status to leave with: IM_EXIT_PEER when a
 * peer is lost, which is no error of this process. */
#ifndef TRAINER_RANKS_H
#define TRAINER_RANKS_H

#include "ipc/peers.h"
#include "trainer/backends/step.h"
#include "trainer/checkpoint/state.h"
#include "trainer/comm/comm.h"
#include "trainer/network/network.h"

struct tr_ranks {
    struct im_child *child; /* borrowed */
    struct im_peers peers;
    const struct tr_comm_ops *ops;
    struct tr_comm *comm;
    struct tr_rank_sum rank_sum; /* see tr_ranks_rank_sum() */
    im_ns waits_since;           /* of its watch: when this step's waits began; 0: not yet */
    struct tr_bn_sync bn_sync;   /* for a network whose batch norm goes over all ranks */
    float *gathered;             /* [ranks][...] of its exchanges, then this rank's part */
    size_t gathered_floats;
    bool shared; /* statistics are rank 0's everywhere; a step ends that */
    int failed;  /* what a collective in it returned; 0 */
    struct im_text why;
};

/* Rank 0 may load the checkpoint at once, and mend what is damaged; the others wait until it has told its
 * position, and then find what it found. */
int tr_ranks_await_leader(struct im_child *child);

/* Connects the ranks to each other. All call it, once each process. */
int tr_ranks_open(struct tr_ranks *t, struct im_child *child, struct im_text *text);
/* After an error, before the network is freed: ends what waits for other ranks on the device. */
void tr_ranks_abort(struct tr_ranks *t);
/* After the network, whose recordings hold on to the communicator; zeroed is fine. */
void tr_ranks_close(struct tr_ranks *t);

/* Sums over the ranks for struct tr_network_config: in one order, the same bits everywhere; in host memory,
 * or in the network's own stream where the transport is a device's. NULL: there is one rank. */
const struct tr_rank_sum *tr_ranks_rank_sum(struct tr_ranks *t);

/* What a rank knows before a step; what all know after tr_ranks_agree(). */
struct tr_agreement {
    bool stop;       /* asked to stop: if anyone was, all are */
    uint32_t saves;  /* requests for a checkpoint seen: the most that anyone has seen */
    uint64_t usable; /* samples of this batch that take part in the loss: the sum */
};
int tr_ranks_agree(struct tr_ranks *t, struct tr_agreement *a);

/* The error of a step of the network: where a collective was its cause, what follows from that. */
int tr_ranks_resolve_error(struct tr_ranks *t, int err, struct im_text *text);

/* The sum over the ranks of what an evaluation found. */
int tr_ranks_sum_tally(struct tr_ranks *t, struct tr_tally *tally);

/* Everyone gets rank 0's running statistics, and their averages. Before a validation pass. */
int tr_ranks_share_statistics(struct tr_ranks *t, struct tr_network *net, struct im_text *text);

/* Whether all ranks hold the same: parameters, the optimiser's state and averages at any time, statistics
 * while no step has followed tr_ranks_share_statistics(). -EIO with a sentence that names the rank which
 * differs from most others: its memory, or what adds up over the ranks, is at fault, and nothing it
 * computed since the last time is to be trusted. All ranks call it, and all get the same answer. `step` is
 * for the sentence. */
int tr_ranks_compare(struct tr_ranks *t, struct tr_state *state, uint64_t step, struct im_text *text);

/* Waits until all ranks are here. */
int tr_ranks_meet(struct tr_ranks *t);

#endif
