/* The order of an epoch: a keyed permutation of 0 .. n-1 that any process can evaluate at any place, in
 * constant memory.
 *
 * There is no shuffled list to hold, to save or to send: position -> sample is a pure function of (seed,
 * epoch, n), so a restarted process, and the ledger of another one, see the same order. Validation goes in
 * the order of the index (the identity) and needs none of this. */
#ifndef IPC_SHUFFLE_H
#define IPC_SHUFFLE_H

#include <stdint.h>

#define IM_ORDER_ROUNDS 10

/* One epoch's permutation, keyed. A plain value: copy it freely, read it from any thread. */
struct im_shuffle {
    uint64_t n;
    uint32_t half_bits; /* the network permutes 2^(2 * half_bits) >= n values */
    uint64_t round_keys[IM_ORDER_ROUNDS];
};

/* The permutation of (seed, epoch) over n items; 1 <= n <= 2^62. */
struct im_shuffle im_shuffle_at(uint64_t seed, uint32_t epoch, uint64_t n);

/* The item at `position` < n. */
uint64_t im_shuffle_item(const struct im_shuffle *order, uint64_t position);

/* im_shuffle_item of im_shuffle_at: one look-up without keeping the keys. */
uint64_t im_shuffle(uint64_t seed, uint32_t epoch, uint64_t n, uint64_t position);

#endif
