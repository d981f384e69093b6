/* A few numbers of each rank, to all ranks, where ranks are on other machines: rank 0 waits for everyone's and sends
 * all of them to everyone. For what must be known before a step, whose senders may wait for their data: there is no
 * limit of time. A rank that is gone closes its connection, and the others learn of it at once; a machine that is gone
 * does not, which is for the supervisors to find (leave()).
 *
 * Every rank holds the hub's card, which reaches it through authenticated channels only (comm.h). Both ends prove that
 * they have it, so that no other program on the port is taken for a rank. What is sent is not secret, and not encrypted.
 * Machines of one byte order. Called by one thread at a time. */
#ifndef TRAINER_COMM_HUB_H
#define TRAINER_COMM_HUB_H

#include <stddef.h>
#include <stdint.h>

struct im_text;
struct tr_hub;

#define TR_HUB_VALUES 8 /* numbers of one rank in an exchange */
#define TR_HUB_RANKS_MAX 64
#define TR_HUB_SECRET_BYTES 16

/* How to reach rank 0. */
struct tr_hub_card {
    unsigned char address[16]; /* IPv6, or IPv4 as ::ffff:a.b.c.d; network order, as the port */
    unsigned char port[2];
    unsigned char of_ranks[TR_HUB_SECRET_BYTES]; /* what ranks show to rank 0 */
    unsigned char of_hub[TR_HUB_SECRET_BYTES];   /* what it shows to them */
};

struct tr_hub_config {
    int rank, ranks;
    int64_t timeout_ms; /* of tr_hub_join() */
    void *context;
    int (*leave)(void *context); /* (optional) polled while waiting: 0, or a status to leave with */
};

/* Rank 0: listens at a numeric address of this machine, IPv4 or IPv6. Negative errno with a sentence. */
int tr_hub_listen(const char *address, struct tr_hub **ret, struct tr_hub_card *ret_card,
                  struct im_text *text);

/* Connects all ranks; *hub is that of tr_hub_listen() in rank 0 and NULL in others. 0; negative errno with a
 * sentence: -ECONNRESET, -ETIMEDOUT, ...; what leave() returned. */
int tr_hub_join(struct tr_hub **hub, const struct tr_hub_config *config, const struct tr_hub_card *card,
                struct im_text *text);

/* Gives `count` numbers to all ranks and waits for theirs: ret_all[r] are those of rank r, the same bits everywhere.
 * Each rank calls it equally often. 0; -ECONNRESET with a sentence: a rank is gone; -EPROTO: the ranks are in
 * different rounds; what leave() returned. After an error only tr_hub_close() may be called. */
int tr_hub_exchange(struct tr_hub *hub, const double *mine, uint32_t count, double (*ret_all)[TR_HUB_VALUES],
                    struct im_text *text);

void tr_hub_close(struct tr_hub *hub); /* NULL is fine */

#endif
