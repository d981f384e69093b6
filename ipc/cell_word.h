/* The 64-bit word that says all there is to say about one cell of a ring (PROTOCOL.md).
 *
 *   bits 63-60  state
 *   bits 59-36  owner: the incarnation number of the process that holds the cell; 0 = nobody
 *   bits 35-0   number: encoded ring: ticket; batch ring: batch
 *
 * An incarnation is never reused in a run, so a word names its holder for ever. 2^36 tickets are 53,000
 * ImageNet epochs. */
#ifndef IPC_CELL_WORD_H
#define IPC_CELL_WORD_H

#include <stdbool.h>
#include <stdint.h>

enum im_state {
    /* encoded ring */
    IM_FREE = 1,    /* FREE(t): waits for a reader to fetch ticket t */
    IM_FILLING = 2, /* FILLING(t, reader) */
    IM_READY = 3,   /* READY(t): bytes and meta are complete */
    IM_TAKEN = 4,   /* TAKEN(t, augmenter) */
    /* batch ring */
    IM_EMPTY = 9,    /* EMPTY(g): waits for a sample of batch g */
    IM_WRITING = 10, /* WRITING(g, augmenter) */
    IM_DONE = 11,    /* DONE(g): pixels, label and verdict are complete: the commit point of a sample */
};

#define IM_OWNER_BITS 24
#define IM_OWNER_MAX ((UINT32_C(1) << IM_OWNER_BITS) - 1)
#define IM_NUMBER_BITS 36
#define IM_NUMBER_MAX ((UINT64_C(1) << IM_NUMBER_BITS) - 1)

static inline uint64_t im_word(enum im_state state, uint32_t owner, uint64_t number)
{
    return (uint64_t)state << 60 | (uint64_t)owner << IM_NUMBER_BITS | number;
}

static inline enum im_state im_word_state(uint64_t word)
{
    return (enum im_state)(word >> 60);
}

static inline uint32_t im_word_owner(uint64_t word)
{
    return (uint32_t)(word >> IM_NUMBER_BITS) & IM_OWNER_MAX;
}

static inline uint64_t im_word_number(uint64_t word)
{
    return word & IM_NUMBER_MAX;
}

#endif
