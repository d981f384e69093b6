/* Tables of huffman.c, made from the counts and values of a DHT segment. */
#ifndef AUGMENT_DECODE_HUFFMAN_TABLE_H
#define AUGMENT_DECODE_HUFFMAN_TABLE_H

#include <stdbool.h>
#include <stdint.h>

/* Longer codes than this are searched for; 1 in 100 is. */
#define AU_TABLE_BITS 10
/* At least AU_TABLE_BITS. */
#define AU_STRIDE_BITS 11

/* What a code stands for. Never 0. Byte 0: the code's bits and those of the value after it together; byte 1: how
 * many coefficients it goes ahead (AC; 64: to the end of the block); then the code's bits, and the value's. */
#define AU_ENTRY(length, size, advance)                                                                      \
    ((uint32_t)((length) + (size)) | (uint32_t)(advance) << 8 | (uint32_t)(length) << 16 |                   \
     (uint32_t)(size) << 24)
#define AU_ENTRY_BITS(entry) ((entry)&63)
#define AU_ENTRY_ADVANCE(entry) ((entry) >> 8 & 127)
#define AU_ENTRY_LENGTH(entry) ((entry) >> 16 & 255)
#define AU_ENTRY_SIZE(entry) ((entry) >> 24)

/* What one code or several with their values come to: bits, in the lowest 6, as in an entry; how many
 * coefficients all go ahead; and how many all but the last. */
#define AU_STRIDE(bits, advance, before)                                                                     \
    ((uint32_t)(bits) | (uint32_t)(advance) << 8 | (uint32_t)(before) << 16)
#define AU_STRIDE_ADVANCE(stride) ((stride) >> 8 & 255)
#define AU_STRIDE_BEFORE(stride) ((stride) >> 16)

/* Two AC coefficients in a row whose codes and values the table's bits hold, or one. Byte 0: bits of all; 7 bits:
 * how many coefficients all go ahead; byte 2: bits of the first alone; byte 3: how many the first goes ahead; then
 * the values. Of one the second has the value of the first and goes 0 ahead: it is stored twice. */
#define AU_PAIR(bits, advance, first_bits, first_advance, value, next)                                       \
    ((uint64_t)(bits) | (uint64_t)(advance) << 8 | (uint64_t)(first_bits) << 16 |                            \
     (uint64_t)(first_advance) << 24 | (uint64_t)(uint16_t)(value) << 32 | (uint64_t)(uint16_t)(next) << 48)
#define AU_PAIR_NONE ((uint64_t)255 << 8) /* none; goes ahead past the end of any block */
#define AU_PAIR_NEXT_MASK ((uint64_t)0xffff << 48)
#define AU_PAIR_ADVANCE(pair) ((uint32_t)((pair) >> 8 & 255))
#define AU_PAIR_FIRST_BITS(pair) ((uint32_t)((pair) >> 16 & 63))
#define AU_PAIR_FIRST_ADVANCE(pair) ((uint32_t)((pair) >> 24 & 127))
#define AU_PAIR_VALUE(pair) ((int16_t)((pair) >> 32))
#define AU_PAIR_NEXT(pair) ((int16_t)((pair) >> 48))

struct au_huffman_table {
    uint64_t pairs[1 << AU_TABLE_BITS];    /* of an AC table, by the next bits */
    uint32_t entries[1 << AU_TABLE_BITS];  /* by the next bits; 0: the code is longer, or none */
    uint32_t strides[1 << AU_STRIDE_BITS]; /* by the next bits: as many whole codes as fit; 0: none does */
    uint32_t limit[17];  /* by length: codes of up to that length, moved up to 16 bits, are below this */
    uint32_t offset[17]; /* by length: what added to a code gives its place in values, modulo 2^32 */
    uint8_t counts[17], values[256]; /* what it was made from */
    bool is_ac, is_filled, has_strides;
};

/* All but the strides. Does nothing if the table is that very one. */
void au_huffman_table_fill(struct au_huffman_table *table, int class, const uint8_t counts[17],
                           const uint8_t values[256]);

/* Adds the strides to a filled AC table. */
void au_huffman_table_stride(struct au_huffman_table *table);

static inline uint32_t au_huffman_entry(const struct au_huffman_table *table, uint32_t length, uint32_t value)
{
    uint32_t run = value >> 4, size = value & 15;

    if (!table->is_ac)
        return AU_ENTRY(length, size, 0);
    return AU_ENTRY(length, size, size > 0 || run == 15 ? run + 1 : 64);
}

#endif
