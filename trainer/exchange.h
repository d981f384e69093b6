/* The few numbers that all ranks of a run tell each other before a step. On one machine through shared memory
 * (ipc/peers.h), over several through rank 0 (trainer/comm/hub.h). Neither has a limit of time: a rank may wait for its
 * data. Functions return 0, a negative errno with a sentence, or a positive exit status to leave with. */
#ifndef TRAINER_EXCHANGE_H
#define TRAINER_EXCHANGE_H

#include "ipc/peers.h"
#include "trainer/comm/comm.h"
#include "trainer/comm/hub.h"

struct tr_exchange {
    struct im_child *child; /* borrowed */
    struct im_peers peers;
    bool is_remote;          /* ranks are on several machines */
    struct tr_hub_card card; /* of rank 0, once it is known */
    struct tr_hub *hub;
};

/* The rendezvous of the ranks: the cards that they show are those of the communicator, and where ranks are on several
 * machines that of rank 0's hub in front. For struct tr_comm_config; the exchange must stay where it is. -E2BIG: no
 * room for the hub's. */
int tr_exchange_open(struct tr_exchange *x, struct im_child *child, struct tr_rendezvous *ret,
                     struct im_text *text);

/* Connects it, once the communicator is open: all cards are shown by then. */
int tr_exchange_join(struct tr_exchange *x, struct im_text *text);

/* Gives `count` numbers to all ranks and waits for theirs: ret_all[r] are those of rank r of the world. Each rank calls
 * it equally often. -ECONNRESET: a rank is gone. */
int tr_exchange_numbers(struct tr_exchange *x, const double *mine, uint32_t count,
                        double (*ret_all)[IM_PEER_VALUES], struct im_text *text);

void tr_exchange_close(struct tr_exchange *x); /* zeroed is fine */

#endif
