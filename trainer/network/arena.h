/* Placement of buffers with known lifetimes in one arena. Pure. */
#ifndef TRAINER_NETWORK_ARENA_H
#define TRAINER_NETWORK_ARENA_H

#include <stddef.h>

/* A buffer that is written first at time `first` and read last at time `last`, both inclusive. */
struct tr_block {
    size_t bytes;
    int first, last;
    size_t offset; /* the result: a multiple of TR_BLOCK_ALIGN */
};

#define TR_BLOCK_ALIGN ((size_t)4096)

/* Gives each block an offset so that no two blocks with a common time overlap; *ret_bytes is the arena's
 * size. Largest first, each at the lowest place that is free for its whole life (greedy by size: Pisarchyk
 * and Lee 2020, "Efficient memory management for deep neural net inference", find it within a few per cent of
 * the lower bound). O(count^2). Empty blocks get offset 0. 0 or -ENOMEM. */
int tr_arena_place(struct tr_block *blocks, int count, size_t *ret_bytes);

#endif
