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

/* The coefficient that begins `at` bits into the table's bits, of which `after` are left; 0 bits: they do not hold it. */
struct coefficient {
    uint32_t bits, advance;
    int32_t value;
};

static struct coefficient coefficient_at(const struct au_huffman_table *t, uint32_t bits, uint32_t at)
{
    uint32_t entry = t->entries[bits << at & ((1u << AU_TABLE_BITS) - 1)], size = AU_ENTRY_SIZE(entry);
    uint32_t end = at + AU_ENTRY_BITS(entry), value;

    if (entry == 0 || end > AU_TABLE_BITS)
        return (struct coefficient){0};
    value = bits >> (AU_TABLE_BITS - end) & ((1u << size) - 1);
    if (size > 0 && value >> (size - 1) == 0) /* T.81 F.2.2.1, EXTEND */
        value -= (1u << size) - 1;
    return (struct coefficient){AU_ENTRY_BITS(entry), AU_ENTRY_ADVANCE(entry), (int32_t)value};
}

static uint64_t pair_of(const struct au_huffman_table *t, uint32_t bits)
{
    struct coefficient first = coefficient_at(t, bits, 0), next;

    if (first.bits == 0)
        return 0;
    next = coefficient_at(t, bits, first.bits); /* of the next block, if the first ends this one */
    if (next.bits == 0)
        next.value = first.value;
    return AU_PAIR(first.bits + next.bits, first.advance + next.advance, first.bits, first.advance,
                   first.value, next.value);
}

static void fill_pairs(struct au_huffman_table *t)
{
    for (uint32_t bits = 0; bits < 1u << AU_TABLE_BITS; bits++)
        t->pairs[bits] = pair_of(t, bits);
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
