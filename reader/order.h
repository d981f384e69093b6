/* Which sample a ticket is: the order of the epoch (ipc/shuffle.h), or of --sampler balanced. A pure function of the
 * configuration, the index and the ticket's place, which all who read or fetch share. */
#ifndef READER_ORDER_H
#define READER_ORDER_H

#include "ipc/config/conf.h"
#include "ipc/plan.h"
#include "ipc/shuffle.h"
#include "reader/balance.h"

struct rd_order {
    uint64_t seed;
    struct im_shuffle shuffle; /* of the epoch last used */
    uint32_t epoch;
    struct rd_balance balance; /* of --sampler balanced */
};

/* -ENOMEM. */
int rd_order_open(const struct im_conf *conf, const struct rd_index *index, struct rd_order *ret);
void rd_order_close(struct rd_order *order); /* accepts a zeroed one */

/* What the random numbers of a place's sample go by: the sample, or with --sampler balanced, where it comes more than once, the draw.
 * item_of() of augment/augment.c. */
uint64_t rd_order_item(struct rd_order *order, const struct rd_index *index, const struct im_place *at);
uint64_t rd_order_sample(struct rd_order *order, const struct rd_index *index, const struct im_place *at);

/* The CLOCK_REALTIME of an im_now(), as far as clocks were not set since. */
int64_t rd_realtime(uint64_t monotonic_ns);

#endif
