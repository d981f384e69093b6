/* A table-driven decoder with a 64-bit window.
 *
 * What takes time is a chain: the window's top bits choose a table entry, the entry says how far to shift,
 * the shifted window chooses the next entry. So an entry has code and value bits added up. Where the table's bits
 * hold both, which is usual, a second table has the coefficient itself, and the next one if they hold that, too:
 * 11 look-ups for 18 coefficients of an ImageNet file's block. The window is refilled eight bytes at a time
 * without a branch on how much is missing; only where one of the eight is 0xFF (1 in 30 times) are bytes looked
 * at one by one. End of block is an entry that goes 64 coefficients ahead and stores a zero where there is one.
 *
 * Blocks outside the crop need their DC difference, since the next one builds on it, and the lengths of the
 * rest. For those a second table covers as many codes as fit into its bits at once.
 *
 * After a marker, or the end, the window is filled up with zeros that are counted. An MCU that used any of
 * them was not whole.
 *
 * With a seek index the reader is set to the point before the first wanted MCU of a row, and again in the next
 * row. Each point that it comes by on its way must be the state that it is in. */
#include "augment/decode/huffman.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "augment/decode/huffman_table.h"
#include "kernels/image.h"

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* The compiler would make each address of a table from that of the whole decoder again. */
#define KEEP_IN_REGISTER(pointer) __asm__("" : "+r"(pointer))
#define UNSOUND (1 << 20) /* padding that no window can hold: fails the MCU */

struct reader {
    uint64_t window;               /* the next bits, from the top */
    uint32_t bits;                 /* of them, how many count; up to 63 */
    uint32_t padding;              /* zeros appended so far that come from nowhere */
    const unsigned char *at, *end; /* bytes not in the window yet */
};

/* What a block's codes take. */
struct block_tables {
    const struct au_huffman_table *dc;
    struct au_huffman_table *ac;
    int32_t *prediction;
    bool only_dc;
};

/* The next MCU's codes; see decode_mcu(). */
typedef bool (*mcu_version)(struct au_huffman *h, int16_t (*const *blocks)[64], bool is_wanted);

struct au_huffman {
    struct au_huffman_scan scan;
    struct block_tables blocks[AU_HUFFMAN_BLOCKS_MAX];
    mcu_version decode_mcu;
    struct reader reader;
    int32_t dc[AU_HUFFMAN_COMPONENTS];
    uint32_t row, column; /* of the next MCU that is asked for */
    uint32_t first_column, last_column;
    uint32_t from_column;       /* with `seek`: of the last point up to first_column */
    struct au_seek *record;     /* NULL: nothing is written down */
    const struct au_seek *seek; /* NULL: every MCU is decoded */
    uint32_t next_point;        /* with `seek`: the column of the next one in this row */
    uint64_t stands_at;         /* with `seek`: the MCU that the reader is before; UINT64_MAX: none yet */
    uint32_t restarts_to_go, next_restart;
    struct au_huffman_table tables[AU_HUFFMAN_CLASSES][AU_HUFFMAN_SLOTS];
};

const uint8_t au_huffman_natural_order[AU_HUFFMAN_ORDER] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45,
    38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63,
    63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63, 63};

void au_huffman_free(struct au_huffman **huffman)
{
    free(*huffman);
    *huffman = NULL;
}

void au_huffman_table(struct au_huffman *h, int class, int slot, const uint8_t counts[17],
                      const uint8_t values[256])
{
    au_huffman_table_fill(&h->tables[class][slot], class, counts, values);
}

void au_huffman_begin(struct au_huffman *h, const struct au_huffman_scan *scan)
{
    h->scan = *scan;
    for (uint32_t i = 0; i < scan->blocks; i++)
        h->blocks[i] = (struct block_tables){&h->tables[AU_HUFFMAN_DC][scan->block[i].dc_slot],
                                             &h->tables[AU_HUFFMAN_AC][scan->block[i].ac_slot],
                                             &h->dc[scan->block[i].component], scan->block[i].only_dc};
    h->reader = (struct reader){.at = scan->bytes, .end = scan->bytes + scan->n};
    memset(h->dc, 0, sizeof h->dc);
    h->row = h->column = 0;
    h->record = NULL;
    h->seek = NULL;
    h->first_column = h->from_column = 0;
    h->last_column = UINT32_MAX;
    h->restarts_to_go = scan->restart_interval;
    h->next_restart = 0;
}

static void choose_point(struct au_huffman *h)
{
    h->from_column = h->seek ? h->first_column / h->seek->stride * h->seek->stride : 0;
}

void au_huffman_keep(struct au_huffman *h, uint32_t first, uint32_t last)
{
    h->first_column = first;
    h->last_column = last;
    choose_point(h);
}

/* Byte by byte, up to a marker or the end. */
__attribute__((noinline)) static struct reader refill_slowly(struct reader r)
{
    /* What is below the counted bits belongs to the next byte, which may turn out to be no data. */
    r.window = r.bits > 0 ? r.window & ~UINT64_C(0) << (64 - r.bits) : 0;
    while (r.bits < 56) {
        uint64_t byte = 0;

        if (r.at < r.end && *r.at != 0xff) {
            byte = *r.at++;
        } else if (r.end - r.at >= 2 && r.at[1] == 0) {
            byte = 0xff;
            r.at += 2;
        } else {
            r.padding += 8;
        }
        r.window |= byte << (56 - r.bits);
        r.bits += 8;
    }
    return r;
}

/* To at least 56 bits. */
static inline __attribute__((always_inline)) void refill(struct reader *r)
{
    if (LIKELY(r->end - r->at >= 8)) {
        uint64_t next, no_ff;

        memcpy(&next, r->at, sizeof next);
        no_ff = ~next;
        if (LIKELY(((no_ff - UINT64_C(0x0101010101010101)) & next & UINT64_C(0x8080808080808080)) == 0)) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            next = __builtin_bswap64(next);
#endif
            r->window |= next >> r->bits;
            r->at += (63 - r->bits) >> 3;
            r->bits |= 56;
            return;
        }
    }
    *r = refill_slowly(*r);
}

static inline __attribute__((always_inline)) void drop(struct reader *r, uint32_t entry)
{
    r->window <<= AU_ENTRY_BITS(entry);
    r->bits -= AU_ENTRY_BITS(entry);
}

/* The number that the entry's value bits stand for (T.81 F.2.2.1, EXTEND). */
static inline __attribute__((always_inline)) int32_t value_of(uint64_t window, uint32_t entry)
{
    uint64_t rest = window << AU_ENTRY_LENGTH(entry);
    uint32_t size = AU_ENTRY_SIZE(entry), magnitude = (uint32_t)(rest >> 1 >> (63 - size));
    uint32_t is_negative = (uint32_t)(~rest >> 63);

    return (int32_t)(magnitude + is_negative - (is_negative << size));
}

/* The entry of a code too long for the table; the window holds at least 31 bits. */
__attribute__((noinline)) static uint32_t long_entry(const struct au_huffman_table *t, uint64_t window)
{
    uint32_t code = (uint32_t)(window >> 48);

    for (uint32_t length = AU_TABLE_BITS + 1; length <= 16; length++)
        if (code < t->limit[length])
            return au_huffman_entry(t, length,
                                    t->values[(t->offset[length] + (code >> (16 - length))) & 255]);
    return 0;
}

/* Looks the next code up in a window of at least LOOK_UP_BITS, which is what a code in the table takes with
 * its value. */
#define LOOK_UP_BITS (AU_TABLE_BITS + 15)
static inline __attribute__((always_inline)) uint32_t look_up(struct reader *r,
                                                              const struct au_huffman_table *t)
{
    uint32_t entry = t->entries[r->window >> (64 - AU_TABLE_BITS)];

    if (UNLIKELY(entry == 0)) {
        refill(r);
        entry = long_entry(t, r->window);
        if (entry == 0) {
            r->padding = UNSOUND;
            entry = AU_ENTRY(0, 0, 64);
        }
    }
    return entry;
}

static inline __attribute__((always_inline)) bool can_look_up(const struct reader *r)
{
    return r->bits >= LOOK_UP_BITS;
}

/* The coefficient of a code that the table's bits do not hold with its value; it fits into a window just refilled. k: the
 * last coefficient's number, from 0; returned is the new one's, past the end of a block at its end. */
static inline __attribute__((always_inline)) uint32_t long_coefficient(struct reader *r,
                                                                       const struct au_huffman_table *t,
                                                                       const uint8_t *order, uint32_t k,
                                                                       int16_t *block)
{
    uint32_t entry;

    refill(r);
    entry = look_up(r, t);
    k += AU_ENTRY_ADVANCE(entry);
    block[order[k]] = (int16_t)value_of(r->window, entry);
    drop(r, entry);
    return k;
}

/* What a look-up leads to that is not two coefficients within the block: the end of the block, or a longer code. */
static inline __attribute__((always_inline)) uint32_t unusual_coefficient(struct reader *r,
                                                                          const struct au_huffman_table *t,
                                                                          const uint8_t *order, uint32_t k,
                                                                          uint64_t pair, int16_t *block)
{
    const uint32_t first = k + AU_PAIR_FIRST_ADVANCE(pair), next = k + AU_PAIR_ADVANCE(pair);

    if (pair == AU_PAIR_NONE)
        return long_coefficient(r, t, order, k, block);
    block[order[first]] = AU_PAIR_VALUE(pair);
    if (first >= 63) { /* the second one would be the next block's */
        drop(r, AU_PAIR_FIRST_BITS(pair));
        return first;
    }
    block[order[next]] = AU_PAIR_NEXT(pair);
    drop(r, (uint32_t)pair);
    return next;
}

/* The next look-ups, of which the window holds so many, or until one is unusual. */
static inline __attribute__((always_inline)) uint32_t
coefficients(struct reader *r, const struct au_huffman_table *t, const uint64_t *pairs, const uint8_t *order,
             uint32_t k, int16_t *block, uint32_t look_ups)
{
#pragma GCC unroll 8
    for (uint32_t i = 0; i < look_ups; i++) {
        const uint64_t pair = pairs[r->window >> (64 - AU_TABLE_BITS)];
        const uint32_t next = k + AU_PAIR_ADVANCE(pair);

        if (UNLIKELY(next >= 63)) {
            r->bits &= 63;
            return unusual_coefficient(r, t, order, k, pair, block);
        }
        block[order[k + AU_PAIR_FIRST_ADVANCE(pair)]] = AU_PAIR_VALUE(pair);
        block[order[next]] = AU_PAIR_NEXT(pair);
        r->window <<= pair & 63;
        r->bits -= (uint32_t)pair; /* the lowest 6 bits are meant */
        k = next;
    }
    r->bits &= 63;
    return k;
}

/* Behind a DC coefficient the window still holds some look-ups, and from each refill on as many as fit. */
#define LOOK_UPS (56 / AU_TABLE_BITS)
#define LOOK_UPS_AFTER_DC 3
static inline __attribute__((always_inline)) void
decode_ac(struct reader *r, const struct au_huffman_table *t, const uint8_t *order, int16_t *block)
{
    const uint64_t *pairs = t->pairs;
    uint32_t k;

    KEEP_IN_REGISTER(pairs);
    if (UNLIKELY(r->bits < LOOK_UPS_AFTER_DC * AU_TABLE_BITS))
        refill(r);
    k = coefficients(r, t, pairs, order, 0, block, LOOK_UPS_AFTER_DC);
    while (k < 63) {
        refill(r);
        k = coefficients(r, t, pairs, order, k, block, LOOK_UPS);
    }
}

static inline __attribute__((always_inline)) uint32_t pass_long(struct reader *r,
                                                                const struct au_huffman_table *t, uint32_t k)
{
    uint32_t entry = look_up(r, t);

    drop(r, entry);
    return k + AU_ENTRY_ADVANCE(entry);
}

/* Goes ahead as short_coefficients() does, and keeps nothing. */
static inline __attribute__((always_inline)) bool pass_short(struct reader *r,
                                                             const struct au_huffman_table *t, uint32_t *k)
{
    uint64_t pair = t->pairs[r->window >> (64 - AU_TABLE_BITS)];
    uint32_t first = *k + AU_PAIR_FIRST_ADVANCE(pair);

    if (UNLIKELY(pair == AU_PAIR_NONE))
        return false;
    *k += AU_PAIR_ADVANCE(pair);
    drop(r, UNLIKELY(*k >= 64) && first >= 64 ? AU_PAIR_FIRST_BITS(pair) : (uint32_t)pair);
    return true;
}

/* Goes ahead by one code, or by several. */
static inline __attribute__((always_inline)) uint32_t pass(struct reader *r, const struct au_huffman_table *t,
                                                           uint32_t k)
{
    uint32_t stride = t->strides[r->window >> (64 - AU_STRIDE_BITS)];

    if (LIKELY(stride != 0 && k + AU_STRIDE_BEFORE(stride) < 64)) {
        drop(r, stride);
        return k + AU_STRIDE_ADVANCE(stride);
    }
    return pass_long(r, t, k);
}

static inline __attribute__((always_inline)) void skip_ac(struct reader *r, const struct au_huffman_table *t)
{
    uint32_t k = 1;

    do {
        refill(r);
        k = pass(r, t, k);
        if (LIKELY(k < 64))
            k = pass(r, t, k);
        if (LIKELY(k < 64 && can_look_up(r)))
            k = pass(r, t, k);
        if (LIKELY(k < 64 && can_look_up(r)))
            k = pass(r, t, k);
    } while (k < 64);
}

/* The same without strides, which take longer to make than the few MCUs before the wanted ones of a row. */
static inline __attribute__((always_inline)) void skip_few_ac(struct reader *r,
                                                              const struct au_huffman_table *t)
{
    uint32_t k = 1;

    do {
        bool is_short = true;

        refill(r);
#pragma GCC unroll 8
        for (uint32_t i = 0; i < LOOK_UPS; i++) {
            is_short = pass_short(r, t, &k);
            if (UNLIKELY(!is_short) || k >= 64)
                break;
        }
        if (!is_short) {
            refill(r);
            k = pass_long(r, t, k);
        }
    } while (k < 64);
}

/* The DC difference of a block, added to its component's prediction. */
static inline __attribute__((always_inline)) int32_t decode_dc(struct reader *r,
                                                               const struct au_huffman_table *t, int32_t *dc)
{
    uint32_t entry;

    refill(r);
    entry = look_up(r, t);
    if (UNLIKELY(__builtin_add_overflow(*dc, value_of(r->window, entry), dc)))
        r->padding = UNSOUND;
    drop(r, entry);
    return *dc;
}

static bool restart(struct au_huffman *h)
{
    struct reader *r = &h->reader;

    if (r->bits - r->padding >= 8 || r->end - r->at < 2 || r->at[0] != 0xff ||
        r->at[1] != 0xd0 + h->next_restart)
        return false;
    *r = (struct reader){.at = r->at + 2, .end = r->end};
    memset(h->dc, 0, sizeof h->dc);
    h->restarts_to_go = h->scan.restart_interval;
    h->next_restart = (h->next_restart + 1) & 7;
    return true;
}

/* A block's codes without its coefficients, or with the first alone. */
static inline __attribute__((always_inline)) void skip_block(struct reader *r, struct au_huffman_table *ac,
                                                             bool has_index)
{
    if (has_index && !ac->has_strides) {
        skip_few_ac(r, ac);
        return;
    }
    if (UNLIKELY(!ac->has_strides))
        au_huffman_table_stride(ac);
    skip_ac(r, ac);
}

/* The next MCU's codes. False: they are not whole. */
static inline __attribute__((always_inline)) bool decode_any_mcu(struct au_huffman *h,
                                                                 int16_t (*const *blocks)[64], bool is_wanted)
{
    struct reader r = h->reader;

    for (uint32_t i = 0; i < h->scan.blocks; i++) {
        const struct block_tables *t = &h->blocks[i];
        int32_t dc = decode_dc(&r, t->dc, t->prediction);

        if (is_wanted)
            (*blocks[i])[0] = (int16_t)dc;
        if (is_wanted && !t->only_dc)
            decode_ac(&r, t->ac, h->scan.order, *blocks[i]);
        else
            skip_block(&r, t->ac, h->seek != NULL);
    }
    h->reader = r;
    return r.padding <= r.bits;
}

static bool decode_mcu_anywhere(struct au_huffman *h, int16_t (*const *blocks)[64], bool is_wanted)
{
    return decode_any_mcu(h, blocks, is_wanted);
}

#if defined(__x86_64__)
/* Shifts by a number take one instruction there. */
__attribute__((target("bmi,bmi2"))) static bool decode_mcu_bmi2(struct au_huffman *h,
                                                                int16_t (*const *blocks)[64], bool is_wanted)
{
    return decode_any_mcu(h, blocks, is_wanted);
}
#endif

void au_huffman_use_cpu(struct au_huffman *h, unsigned cpu_flags)
{
    h->decode_mcu = decode_mcu_anywhere;
#if defined(__x86_64__)
    if (cpu_flags & IMK_CPU_BMI2)
        h->decode_mcu = decode_mcu_bmi2;
#else
    (void)cpu_flags;
#endif
}

int au_huffman_new(struct au_huffman **ret)
{
    struct au_huffman *huffman = calloc(1, sizeof *huffman);

    if (!huffman)
        return -ENOMEM;
    au_huffman_use_cpu(huffman, imk_cpu_flags());
    *ret = huffman;
    return 0;
}

static inline bool decode_mcu(struct au_huffman *h, int16_t (*const *blocks)[64], bool is_wanted)
{
    return h->decode_mcu(h, blocks, is_wanted);
}

/* ---- the seek index ---- */

/* Where the next code begins: back from the bytes in the window, of which 0xff and the 0 after it are one. */
static uint64_t position(const struct au_huffman *h)
{
    const unsigned char *at = h->reader.at;
    int32_t bits = (int32_t)(h->reader.bits - h->reader.padding);

    for (; bits > 0 && at > h->scan.bytes; bits -= 8)
        at -= at - h->scan.bytes >= 2 && at[-1] == 0 && at[-2] == 0xff ? 2 : 1;
    return (uint64_t)(at - h->scan.bytes) * 8 + (uint32_t)-bits;
}

static void write_down(struct au_huffman *h)
{
    struct au_seek *seek = h->record;
    struct au_seek_point *point = &seek->points[seek->count];

    if (seek->count >= au_seek_total(seek))
        return;
    seek->count++;
    point->bit = position(h);
    memcpy(point->dc, h->dc, sizeof point->dc);
}

static bool is_at(const struct au_huffman *h, const struct au_seek_point *point)
{
    return position(h) == point->bit && memcmp(h->dc, point->dc, sizeof point->dc) == 0;
}

static bool go_to(struct au_huffman *h, const struct au_seek_point *point)
{
    struct reader r = {.end = h->scan.bytes + h->scan.n};
    uint32_t bits = point->bit & 7;

    if (point->bit / 8 >= h->scan.n || point->bit / 8 < h->scan.first)
        return false;
    r.at = h->scan.bytes + point->bit / 8;
    refill(&r);
    r.window <<= bits;
    r.bits -= bits;
    h->reader = r;
    memcpy(h->dc, point->dc, sizeof h->dc);
    return true;
}

/* An MCU with an index that is wanted, or lies on the way from a point to one that is. */
static bool seek_mcu(struct au_huffman *h, int16_t (*const *blocks)[64], uint32_t row, uint32_t column)
{
    const struct au_seek *seek = h->seek;
    const uint64_t mcu = (uint64_t)row * seek->mcus_per_row + column;

    if (row >= seek->mcu_rows)
        return false;
    if (column == h->from_column)
        h->next_point = column;
    if (column == h->next_point) {
        const struct au_seek_point *point =
            &seek->points[(uint64_t)row * seek->per_row + column / seek->stride];

        if (!(h->stands_at == mcu ? is_at(h, point) : go_to(h, point)))
            return false;
        h->next_point += seek->stride;
    }
    h->stands_at = mcu + 1;
    return decode_mcu(h, blocks, column >= h->first_column);
}

void au_huffman_record(struct au_huffman *h, struct au_seek *seek)
{
    h->record = seek;
    seek->count = 0;
}

bool au_huffman_rest(struct au_huffman *h)
{
    struct au_seek *seek = h->record;

    while (h->row < seek->mcu_rows)
        if (!au_huffman_mcu(h, NULL))
            return false;
    write_down(h);
    return seek->count == au_seek_total(seek);
}

void au_huffman_seek(struct au_huffman *h, const struct au_seek *seek)
{
    h->seek = seek;
    h->stands_at = UINT64_MAX;
    choose_point(h);
}

bool au_huffman_agrees(struct au_huffman *h)
{
    const struct au_seek *seek = h->seek;
    uint32_t row, column;

    if (h->stands_at == UINT64_MAX)
        return true;
    row = (uint32_t)(h->stands_at / seek->mcus_per_row);
    column = (uint32_t)(h->stands_at % seek->mcus_per_row);
    for (; column % seek->stride != 0; column++) {
        if (column == seek->mcus_per_row) {
            row++;
            column = 0;
            break;
        }
        if (!decode_mcu(h, NULL, false))
            return false;
    }
    return is_at(h, &seek->points[(uint64_t)row * seek->per_row + column / seek->stride]);
}

/* An MCU without an index. */
static bool next_mcu(struct au_huffman *h, int16_t (*const *blocks)[64], uint32_t row, uint32_t column)
{
    if (h->scan.restart_interval > 0) {
        if (h->restarts_to_go == 0 && !restart(h))
            return false;
        h->restarts_to_go--;
    }
    if (UNLIKELY(h->record != NULL) && column % h->record->stride == 0 && row < h->record->mcu_rows)
        write_down(h);
    return decode_mcu(h, blocks, blocks && column >= h->first_column && column <= h->last_column);
}

bool au_huffman_mcu(struct au_huffman *h, int16_t (*const *blocks)[64])
{
    const uint32_t row = h->row, column = h->column;

    h->column = column + 1 < h->scan.mcus_per_row ? column + 1 : 0;
    h->row += h->column == 0;
    if (!h->seek)
        return next_mcu(h, blocks, row, column);
    if (!blocks || column > h->last_column || column < h->from_column)
        return true;
    return seek_mcu(h, blocks, row, column);
}
