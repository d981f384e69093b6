/* --sampler balanced: which sample each draw of an epoch is.
 *
 * An epoch has as many draws as there are training samples. Draw i is of class i mod C, so that every class with
 * samples has the same number of them, give or take one; within its class it takes one sample after the other in an
 * order of the epoch's own, and begins again in another one when all have come. So samples of small classes come
 * several times in an epoch, and those of large ones in some epochs only.
 *
 * Like the order of an epoch (ipc/shuffle.h) it is a function of (seed, epoch, draw), which every reader has. */
#ifndef READER_BALANCE_H
#define READER_BALANCE_H

#include "reader/dataset/index.h"

struct rd_balance {
    uint32_t classes;  /* that have samples; 0: closed */
    uint64_t *first;   /* [classes + 1] places in `samples` */
    uint64_t *samples; /* by class, in the order of the index */
    uint32_t *label;   /* [classes] */
};

/* -ENOMEM. */
int rd_balance_open(const struct rd_index *index, struct rd_balance *ret);
void rd_balance_close(struct rd_balance *balance); /* accepts a zeroed one */

/* The sample that a draw of the epoch's stands for. */
uint64_t rd_balance_sample(const struct rd_balance *balance, uint64_t seed, uint32_t epoch, uint64_t draw);

#endif
