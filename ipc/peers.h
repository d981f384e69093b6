/* What the trainers of a run say to each other through shared memory: once, at the start, a card (how to
 * reach this rank); then at each step a few numbers that all need before they go on (who was asked to
 * stop, how many samples are usable, what was counted).
 *
 * On one node agreement needs no network and no time limit: it waits as long as its process is wanted, like every other
 * wait on the rings, and a rank's death ends it by the supervisor's reset. What computes with large arrays is
 * the trainers' own matter (trainer/comm/comm.h). */
#ifndef IPC_PEERS_H
#define IPC_PEERS_H

#include "ipc/child.h"

struct im_peers {
    struct im_child *child; /* a trainer's; borrowed */
    uint64_t round;         /* exchanges so far. Zero-initialise with each start of the data plane. */
};

/* Shows the card of this process to the other ranks of this node, and to its supervisor. -E2BIG above IM_CARD_BYTES. */
int im_peers_publish(struct im_child *child, const void *card, size_t bytes);

/* Waits until the process that now is the trainer of rank `rank` of the world has shown its card, those of other nodes
 * through their supervisors; room for IM_CARD_BYTES. 0;
 * -ETIMEDOUT; -EBADMSG when it is no card; a positive exit status to leave with. */
int im_peers_look(struct im_child *child, uint32_t rank, im_ns timeout, void *ret_card, size_t *ret_bytes);

/* Waits until the process that now is trainer `rank` has told its position. Results as above. */
int im_peers_await_position(struct im_child *child, uint32_t rank);

/* The supervisor's part where ranks are on several nodes. Of a rank of this node: its card, if the process that is its
 * trainer now has shown one; true then. Of one of another node: shows its card to the trainers here, in the generation
 * `node_generation` of the control segment. -E2BIG. */
bool im_peers_card(const struct im_run *run, uint32_t index, const void **ret_card, size_t *ret_bytes);
int im_peers_show(struct im_run *run, uint32_t rank, const void *card, size_t bytes);

/* Gives `count` numbers to all ranks of a run on one node and waits for theirs: ret_all[r] are those of rank r, the same in every
 * process. Each rank calls it equally often. 0, or a positive exit status to leave with. */
int im_peers_exchange(struct im_peers *p, const double *mine, uint32_t count,
                      double (*ret_all)[IM_PEER_VALUES]);

#endif
