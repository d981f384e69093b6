/* The numbers that tests and their Python scripts compute alike, so that they need not be stored. */
#ifndef TESTS_GOLDEN_DRAW_H
#define TESTS_GOLDEN_DRAW_H

#include <stdint.h>

#define DRAW_DOT_STREAM 1001 /* the stream that stored dot products are taken with */

/* Chris Wellons' lowbias32 over stream * 0x9e3779b9 + index. */
static inline uint32_t draw_bits(uint32_t stream, uint32_t index)
{
    uint32_t x = stream * 0x9e3779b9u + index;

    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

/* Multiples of 2^-23 in [-1, 1). */
static inline double draw(uint32_t stream, uint32_t index)
{
    return (double)(draw_bits(stream, index) >> 8) * 0x1p-23 - 1;
}

#endif
