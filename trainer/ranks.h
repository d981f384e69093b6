/* The process group of a run's trainers: what they agree on at each step, and what they sum. With one rank
 * all of it is this rank's own.
 *
 * All ranks process the plan batch by batch together. A step is: tr_ranks_agree(), then the network's step,
 * which sums gradients and tallies over the ranks with tr_ranks_rank_sum() before the same update everywhere.
 * So every rank holds the same parameters, optimiser state and sums, to the bit; the running statistics of
 * batch norm are each rank's own, and rank 0's are saved and used by all for validation. Before each
 * checkpoint tr_ranks_compare() verifies this.
 *
 * Agreement goes through an exchange of numbers (exchange.h), arrays through a communicator (comm.h). Functions
 * return 0, a negative errno with a sentence, or a positive exit status to leave with: IM_EXIT_PEER after the
 * loss of a peer, which is not an error of this process. */
#ifndef TRAINER_RANKS_H
#define TRAINER_RANKS_H

#include "trainer/backends/step.h"
#include "trainer/checkpoint/state.h"
#include "trainer/comm/comm.h"
#include "trainer/comm/poll.h"
#include "trainer/exchange.h"
#include "trainer/network/network.h"

struct tr_ranks {
    struct im_child *child; /* borrowed */
    struct tr_exchange exchange;
    const struct tr_comm_ops *ops;
    struct tr_comm *comm;
    struct tr_rank_sum rank_sum; /* see tr_ranks_rank_sum() */
    struct tr_poll wait;         /* for the device */
    struct tr_bn_sync bn_sync;   /* for a network whose batch norm goes over all ranks */
    float *gathered;             /* [ranks][...] gathered from all ranks, then this rank's part */
    size_t gathered_floats;
    double losses[IM_RANKS_MAX]; /* with virtual ranks: those of the last step, of each rank */
    bool shared;                 /* all ranks have rank 0's statistics, until the next step */
    int failed;                  /* error of a collective within a step; 0: none */
    struct im_text why;
};

/* The rank of this process among all of the run, and their number; on several machines more than this one's. */
uint32_t tr_rank(const struct im_child *child);
uint32_t tr_world(const struct im_child *child);
bool tr_ranks_are_remote(const struct im_child *child); /* some */

/* On one machine: rank 0 may load the checkpoint at once, and repair damaged exports; other ranks wait until it has
 * published its position, and then read the same files. */
int tr_ranks_await_leader(struct im_child *child);

/* Connects the ranks. All call it, once per process. */
int tr_ranks_open(struct tr_ranks *t, struct im_child *child, struct im_text *text);
/* Call after the network is freed: its captured graphs use the communicator; zeroed is fine. */
void tr_ranks_close(struct tr_ranks *t);

/* Sums over the ranks for struct tr_network_config: in one order, the same bits everywhere; in host memory,
 * or on the network's own stream if the transport is on a device. NULL: one rank. */
const struct tr_rank_sum *tr_ranks_rank_sum(struct tr_ranks *t);

/* State of a rank before a step; state of all after tr_ranks_agree(). */
struct tr_agreement {
    bool stop;      /* stop requested; agreed: by any rank */
    uint32_t saves; /* checkpoint requests seen; agreed: the maximum */
    double weight;  /* of this batch's samples in the loss, each 1 without --class-weights; agreed: of
                      the window, with all ranks' batches of this step */
    double before;  /* of the window's batches before it, the same on all ranks */
    bool paused;    /* the run is paused; agreed: any rank has seen it, and no rank takes the step */
    bool snapshot;  /* on several machines: rank 0 asks for one after the step; agreed: every node takes it */
};
int tr_ranks_agree(struct tr_ranks *t, struct tr_agreement *a);

/* The limit of a wait for the device is counted from here; tr_ranks_agree() begins one too. */
void tr_ranks_begin_wait(struct tr_ranks *t);

/* Resolves an error of a network step: if a collective caused it, the result of that. */
int tr_ranks_resolve_error(struct tr_ranks *t, int err, struct im_text *text);

/* The bytes of rank `root` to all ranks; others get them malloc'ed, theirs; NULL: it has none. */
int tr_ranks_share_bytes(struct tr_ranks *t, uint32_t root, const void *bytes, size_t n, char **ret,
                         size_t *ret_n, struct im_text *text);

/* ret_all[r] <- the numbers of rank r, on all ranks; up to IM_PEER_VALUES. 0, or a status to leave with. */
int tr_ranks_tell_numbers(struct tr_ranks *t, const double *mine, uint32_t count,
                          double (*ret_all)[IM_PEER_VALUES]);

/* x[i] <- rank 0's x[i], on all ranks. 0, or a status to leave with. */
int tr_ranks_share_numbers(struct tr_ranks *t, double *x, uint32_t count);

/* x[i] <- the sum of all ranks' x[i], in their order, the same bits on all; up to IM_PEER_VALUES. 0, or a status to leave
 * with. */
int tr_ranks_sum_numbers(struct tr_ranks *t, double *x, uint32_t count);

/* Adds an evaluation's tallies of all ranks. With virtual ranks one after the other. */
int tr_ranks_add_tally(struct tr_ranks *t, const struct tr_tally *tally, struct tr_sums *sums);

/* Copies rank 0's running statistics, and their averages, to all ranks. Call before a validation pass. */
int tr_ranks_share_statistics(struct tr_ranks *t, struct tr_network *net, struct im_text *text);

/* Checks that all ranks hold the same: parameters, the optimiser's state and averages at any time, statistics
 * while no step has followed tr_ranks_share_statistics(). -EIO with a sentence that names the rank which
 * differs from most others: its memory, or a collective, is faulty, and its results since the last check
 * cannot be trusted. All ranks call it and get the same answer. `step` is for the sentence. */
int tr_ranks_compare(struct tr_ranks *t, struct tr_state *state, uint64_t step, struct im_text *text);

/* Barrier of all ranks. */
int tr_ranks_meet(struct tr_ranks *t);

#endif
