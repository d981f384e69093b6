/* Codes from counts (ITU-T T.81 annex C): counted up within a length, doubled from one length to the next.
 *
 * Most files have tables of their own (of 200 ImageNet files 196 do), so making them is part of each
 * image's cost: some 5 us for the entries and 30 us for the strides, which are made only when there is
 * something to skip. */
#include "augment/decode/huffman_table.h"

#include <stdbool.h>
#include <string.h>

#include "augment/decode/huffman.h"

static bool is_same(const struct au_huffman_table *t, const uint8_t counts[17], const uint8_t values[256])
{
    return t->is_filled && memcmp(t->counts + 1, counts + 1, 16) == 0 &&
           memcmp(t->values, values, sizeof t->values) == 0;
}

static void fill_entries(struct au_huffman_table *t, uint32_t length, uint32_t code, uint8_t value)
{
    uint32_t entry = au_huffman_entry(t, length, value), spread = 1u << (AU_TABLE_BITS - length);

    for (uint32_t i = 0; i < spread; i++)
        t->entries[(code * spread + i) & ((1u << AU_TABLE_BITS) - 1)] = entry;
}

/* What the table's bits begin with: a coefficient as a pair of itself alone, or AU_PAIR_NONE. */
static uint64_t single_of(const struct au_huffman_table *t, uint32_t bits)
{
    const uint32_t entry = t->entries[bits], size = AU_ENTRY_SIZE(entry), n = AU_ENTRY_BITS(entry);
    const uint32_t ones = (1u << size) - 1, value = bits >> ((AU_TABLE_BITS - n) & 31) & ones;
    const int32_t extended =
        (int32_t)value - (int32_t)(value > ones >> 1 ? 0 : ones); /* T.81 F.2.2.1, EXTEND */

    if (entry == 0 || n > AU_TABLE_BITS)
        return AU_PAIR_NONE;
    return AU_PAIR(n, AU_ENTRY_ADVANCE(entry), n, AU_ENTRY_ADVANCE(entry), extended, extended);
}

/* With the one that follows it, if the table's bits hold that, too; of the next block, if the first ends this one. */
static uint64_t pair_of(const uint64_t *singles, uint32_t bits)
{
    const uint64_t first = singles[bits], next = singles[bits << (first & 63) & ((1u << AU_TABLE_BITS) - 1)];
    /* Lengths and steps add up; only the second value is the next one's. */
    const uint64_t both = (first & ~AU_PAIR_NEXT_MASK) + (next & (AU_PAIR_NEXT_MASK | 0xffff));

    return (first & 63) + (next & 63) > AU_TABLE_BITS || next == AU_PAIR_NONE ? first : both;
}

static void fill_pairs(struct au_huffman_table *t)
{
    uint64_t singles[1 << AU_TABLE_BITS];

    for (uint32_t bits = 0; bits < 1u << AU_TABLE_BITS; bits++)
        singles[bits] = single_of(t, bits);
    for (uint32_t bits = 0; bits < 1u << AU_TABLE_BITS; bits++)
        t->pairs[bits] = pair_of(singles, bits);
}

void au_huffman_table_fill(struct au_huffman_table *t, int class, const uint8_t counts[17],
                           const uint8_t values[256])
{
    uint32_t code = 0, place = 0;

    if (is_same(t, counts, values))
        return;
    memset(t->entries, 0, sizeof t->entries);
    t->is_filled = true;
    t->has_strides = false;
    t->is_ac = class == AU_HUFFMAN_AC;
    memcpy(t->counts + 1, counts + 1, 16);
    memcpy(t->values, values, sizeof t->values);
    for (uint32_t length = 1; length <= 16; length++) {
        t->offset[length] = place - code;
        for (uint32_t i = 0; i < counts[length]; i++, place++, code++)
            if (length <= AU_TABLE_BITS)
                fill_entries(t, length, code, values[place & 255]);
        t->limit[length] = code << (16 - length);
        code <<= 1;
    }
    if (t->is_ac)
        fill_pairs(t);
}

static uint32_t stride_of(const struct au_huffman_table *t, uint32_t bits)
{
    const uint32_t mask = (1u << AU_STRIDE_BITS) - 1;
    uint32_t used = 0, advance = 0, before = 0;

    while (advance < 64) {
        uint32_t entry = t->entries[(bits << used & mask) >> (AU_STRIDE_BITS - AU_TABLE_BITS)];

        if (entry == 0 || used + AU_ENTRY_BITS(entry) > AU_STRIDE_BITS)
            break;
        used += AU_ENTRY_BITS(entry);
        before = advance;
        advance += AU_ENTRY_ADVANCE(entry);
    }
    return used > 0 ? AU_STRIDE(used, advance, before) : 0;
}

void au_huffman_table_stride(struct au_huffman_table *t)
{
    for (uint32_t bits = 0; bits < 1u << AU_STRIDE_BITS; bits++)
        t->strides[bits] = stride_of(t, bits);
    t->has_strides = true;
}
