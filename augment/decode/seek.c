/* Packing: differences from point to point, the position's from their mean, in Rice codes: the upper bits of a
 * number as so many ones and a zero, the lower k bits as they are. k is chosen for each column of numbers. A
 * point takes some 4.4 bytes so (5.2 with numbers of a fixed width).
 *
 * A DC prediction is like the one before it in its row, or like the one above; the better of both is chosen for
 * each component. */
#include "augment/decode/seek.h"

#include <stdlib.h>
#include <string.h>

#define STRIDE_MIN 4u
#define BYTES_MIN 8192u    /* a smaller image is decoded in little more time than its index is fetched */
#define BYTES_A_POINT 450u /* of the scan, at least: a point takes less than 1 % of them */
#define MCUS_MAX 8192u     /* of a side: JPEG's 65535 pixels */
#define COLUMNS (1 + AU_SEEK_COMPONENTS) /* of numbers: the position and the predictions */
#define ONES_MAX 20u                     /* more upper bits than that: all 32 as they are */
#define K_BITS 5
#define K_NONE 31u /* all numbers of the column are 0, and have no bits */
#define HEADER_BYTES 14

void au_seek_fini(struct au_seek *seek)
{
    free(seek->points);
    *seek = (struct au_seek){0};
}

/* Takes a shape and makes room for its points. */
static bool reserve(struct au_seek *seek, uint32_t mcus_per_row, uint32_t mcu_rows, uint32_t stride)
{
    uint64_t total;

    seek->count = 0;
    seek->mcus_per_row = mcus_per_row;
    seek->mcu_rows = mcu_rows;
    seek->stride = stride;
    seek->per_row = (mcus_per_row + stride - 1) / stride;
    total = au_seek_total(seek);
    if (total > AU_SEEK_POINTS_MAX)
        return false;
    if (total > seek->room) {
        free(seek->points);
        seek->points = malloc(total * sizeof *seek->points);
        seek->room = seek->points ? (uint32_t)total : 0;
    }
    return seek->room > 0;
}

bool au_seek_plan(struct au_seek *seek, uint32_t mcus_per_row, uint32_t mcu_rows, size_t n)
{
    uint64_t most = n / BYTES_A_POINT;
    uint32_t stride = STRIDE_MIN;

    seek->count = 0;
    if (most >= AU_SEEK_POINTS_MAX)
        most = AU_SEEK_POINTS_MAX - 1;
    if (n < BYTES_MIN || mcus_per_row > MCUS_MAX || mcu_rows > most || mcu_rows > MCUS_MAX)
        return false;
    while ((uint64_t)mcu_rows * ((mcus_per_row + stride - 1) / stride) > most)
        stride *= 2;
    return reserve(seek, mcus_per_row, mcu_rows, stride);
}

/* The MCU rows that libjpeg decodes for rows [y, y + h): where upsampling looks at the rows above and below, it takes the
 * row of MCUs before, and the one behind when its chroma rows are looked at. */
static void rows_of(const struct au_scan_shape *shape, const struct imk_box *box, uint32_t *ret_first,
                    uint32_t *ret_last)
{
    const uint32_t side = shape->mcu_height, end = box->y + box->h;

    *ret_first = box->y / side;
    *ret_last = (end - 1) / side;
    if (shape->looks_up) {
        *ret_first -= *ret_first > 0;
        *ret_last += end % side == 0 || end % side == side - 1;
    }
}

/* The same of columns: as crop_columns() in jpeg.c. */
static void columns_of(const struct au_scan_shape *shape, const struct imk_box *box, uint32_t *ret_first,
                       uint32_t *ret_last)
{
    const uint32_t side = shape->mcu_width, end = box->x + box->w;

    *ret_first = box->x / side;
    *ret_last = (end - 1) / side;
    if (shape->looks_sideways) {
        const bool is_narrow = *ret_first == *ret_last;

        *ret_first -= *ret_first > 0 && (is_narrow || box->x % side == 0);
        *ret_last += is_narrow || end % side == 0;
    }
}

bool au_seek_extent(const struct au_seek *seek, const struct au_scan_shape *shape, const struct imk_box *box,
                    uint64_t *ret_from, uint64_t *ret_to)
{
    uint32_t first_row, last_row, first, last;
    uint64_t from, to;

    if (shape->mcu_width == 0 || shape->mcu_height == 0 || box->w == 0 || box->h == 0 ||
        seek->count != au_seek_total(seek))
        return false;
    rows_of(shape, box, &first_row, &last_row);
    columns_of(shape, box, &first, &last);
    last_row = last_row < seek->mcu_rows ? last_row : seek->mcu_rows - 1;
    last = last < seek->mcus_per_row ? last : seek->mcus_per_row - 1;
    if (first_row > last_row || first > last)
        return false;
    from = seek->points[(uint64_t)first_row * seek->per_row + first / seek->stride].bit / 8;
    to = seek->points[(uint64_t)last_row * seek->per_row + last / seek->stride + 1].bit / 8 +
         2; /* the byte that it is in, and a 0 behind 0xff */
    *ret_from = shape->at + from;
    *ret_to = shape->at + to;
    return from < to;
}

/* ---- numbers of the columns ---- */

struct column {
    uint32_t k;
    bool is_up; /* a prediction is held against the one a row above */
};

static uint64_t fold(int64_t v)
{
    return v < 0 ? ((uint64_t) - (v + 1) << 1) + 1 : (uint64_t)v << 1;
}

static int64_t unfold(uint64_t v)
{
    return v & 1 ? -(int64_t)(v >> 1) - 1 : (int64_t)(v >> 1);
}

/* What a prediction of point i is held against. */
static int32_t before(const struct au_seek *seek, uint32_t i, int component, bool is_up)
{
    const struct au_seek_point *p = seek->points;

    return p[is_up && i >= seek->per_row ? i - seek->per_row : i - 1].dc[component];
}

static int64_t mean_step(uint64_t end, uint32_t count)
{
    return (int64_t)(end / (count - 1));
}

/* Column c of point i >= 1. */
static uint64_t number(const struct au_seek *seek, uint32_t i, int c, bool is_up)
{
    const struct au_seek_point *p = seek->points;

    if (c == 0)
        return fold((int64_t)(p[i].bit - p[i - 1].bit) - mean_step(p[seek->count - 1].bit, seek->count));
    return fold((int64_t)p[i].dc[c - 1] - before(seek, i, c - 1, is_up));
}

/* The k by the numbers' mean, and about how many bits that takes. */
static uint64_t choose_k(const struct au_seek *seek, int c, bool is_up, uint32_t *ret_k)
{
    const uint64_t count = seek->count - 1;
    uint64_t sum = 0;
    uint32_t k = 0;

    for (uint32_t i = 1; i < seek->count; i++)
        sum += number(seek, i, c, is_up);
    while (k + 1 < K_NONE && count << (k + 1) <= sum)
        k++;
    *ret_k = sum > 0 ? k : K_NONE;
    return sum > 0 ? (sum >> k) + count * (k + 1) : 0;
}

static struct column choose(const struct au_seek *seek, int c)
{
    struct column left = {.is_up = false}, up = {.is_up = true};
    uint64_t bits = choose_k(seek, c, false, &left.k);

    return c > 0 && choose_k(seek, c, true, &up.k) < bits ? up : left;
}

/* ---- bits ---- */

struct sink {
    unsigned char *to;
    size_t at, end; /* bytes */
    uint64_t window;
    uint32_t count; /* bits in the window */
    bool failed;    /* beyond the end */
};

/* n <= 32 */
static void seek_put(struct sink *s, uint64_t v, uint32_t n)
{
    s->window = s->window << n | v;
    s->count += n;
    for (; s->count >= 8; s->count -= 8, s->at++) {
        if (s->at < s->end)
            s->to[s->at] = (unsigned char)(s->window >> (s->count - 8));
        else
            s->failed = true;
    }
}

static void put_number(struct sink *s, uint64_t v, uint32_t k)
{
    uint32_t ones = v >> k < ONES_MAX ? (uint32_t)(v >> k) : ONES_MAX;

    if (k == K_NONE)
        return;
    s->failed |= v > UINT32_MAX;
    seek_put(s, (UINT64_C(1) << ones) - 1, ones);
    if (ones == ONES_MAX) {
        seek_put(s, v & UINT32_MAX, 32);
        return;
    }
    seek_put(s, 0, 1);
    seek_put(s, v & ((UINT64_C(1) << k) - 1), k);
}

struct source {
    const unsigned char *from;
    size_t at, end;
    uint64_t window; /* the next bits, from the top */
    uint32_t count;  /* of them, how many count */
};

/* To at least 56 bits; behind the end come zeros, and `at` passes it. Eight bytes at once leave bits of the byte at `at`
 * below those that count: the next ones put them there again. */
static inline void fill(struct source *s)
{
    if (s->at <= s->end && s->end - s->at >= 8) {
        uint64_t next;

        memcpy(&next, s->from + s->at, sizeof next);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        next = __builtin_bswap64(next);
#endif
        s->window |= next >> s->count;
        s->at += (63 - s->count) >> 3;
        s->count |= 56;
        return;
    }
    for (; s->count <= 56; s->count += 8, s->at++)
        s->window |= (s->at < s->end ? (uint64_t)s->from[s->at] : 0) << (56 - s->count);
}

/* 1 <= n <= 56, which the window holds */
static uint64_t seek_take(struct source *s, uint32_t n)
{
    uint64_t v = s->window >> (64 - n);

    s->window <<= n;
    s->count -= n;
    return v;
}

static inline uint64_t take_number(struct source *s, uint32_t k)
{
    uint32_t ones;

    if (k == K_NONE)
        return 0;
    fill(s);
    ones = (uint32_t)__builtin_clzll(~s->window | 1);
    if (ones >= ONES_MAX) {
        seek_take(s, ONES_MAX);
        return seek_take(s, 32);
    }
    seek_take(s, ones + 1);
    return (uint64_t)ones << k | (k > 0 ? seek_take(s, k) : 0);
}

/* Were all bits that were taken there? */
static bool is_sound(const struct source *s)
{
    return s->at <= s->end || 8 * (s->at - s->end) <= s->count;
}

/* ---- an index ---- */

static void put_le(unsigned char *to, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (unsigned char)(v >> 8 * i);
}

static uint64_t take_le(const unsigned char *from, int n)
{
    uint64_t v = 0;

    for (int i = 0; i < n; i++)
        v |= (uint64_t)from[i] << 8 * i;
    return v;
}

size_t au_seek_pack(const struct au_seek *seek, void *bytes, size_t size)
{
    struct sink b = {.to = bytes, .at = HEADER_BYTES};
    struct column columns[COLUMNS];

    b.end = size < AU_SEEK_BYTES_MAX ? size : AU_SEEK_BYTES_MAX;
    if (seek->count < 2 || seek->count != au_seek_total(seek) || b.end < HEADER_BYTES ||
        seek->points[seek->count - 1].bit >> 40)
        return 0;
    put_le(b.to, seek->mcus_per_row, 2);
    put_le(b.to + 2, seek->mcu_rows, 2);
    put_le(b.to + 4, seek->stride, 4);
    put_le(b.to + 8, seek->points[seek->count - 1].bit, 6);
    for (int c = 0; c < COLUMNS; c++) {
        columns[c] = choose(seek, c);
        seek_put(&b, columns[c].k, K_BITS);
        seek_put(&b, columns[c].is_up, 1);
    }
    for (uint32_t i = 1; i < seek->count; i++)
        for (int c = 0; c < COLUMNS; c++)
            put_number(&b, number(seek, i, c, columns[c].is_up), columns[c].k);
    seek_put(&b, 0, 7); /* the last byte's rest */
    return b.failed ? 0 : b.at;
}

static bool take_shape(struct au_seek *seek, const unsigned char *from)
{
    uint32_t mcus_per_row = (uint32_t)take_le(from, 2), mcu_rows = (uint32_t)take_le(from + 2, 2);
    uint32_t stride = (uint32_t)take_le(from + 4, 4);

    if (mcus_per_row == 0 || mcus_per_row > MCUS_MAX || mcu_rows == 0 || mcu_rows > MCUS_MAX || stride == 0 ||
        stride > 2 * MCUS_MAX)
        return false;
    return reserve(seek, mcus_per_row, mcu_rows, stride);
}

/* false: the numbers lead nowhere that a scan can be. */
static bool take_point(struct source *b, struct au_seek *seek, uint32_t i, const struct column *columns,
                       int64_t mean)
{
    struct au_seek_point *point = &seek->points[i];
    int64_t bit = (int64_t)seek->points[i - 1].bit + mean + unfold(take_number(b, columns[0].k));

    if (bit < 0 || bit >> 40)
        return false;
    point->bit = (uint64_t)bit;
    for (int c = 1; c < COLUMNS; c++) {
        int64_t dc = before(seek, i, c - 1, columns[c].is_up) + unfold(take_number(b, columns[c].k));

        if (dc != (int32_t)dc)
            return false;
        point->dc[c - 1] = (int32_t)dc;
    }
    return true;
}

bool au_seek_unpack(struct au_seek *seek, const void *bytes, size_t n)
{
    struct source b = {.from = bytes, .at = HEADER_BYTES, .end = n};
    struct column columns[COLUMNS];
    uint32_t total;
    uint64_t end;
    int64_t mean;

    seek->count = 0;
    if (n < HEADER_BYTES || !take_shape(seek, bytes))
        return false;
    total = (uint32_t)au_seek_total(seek);
    end = take_le(b.from + 8, 6);
    mean = mean_step(end, total);
    for (int c = 0; c < COLUMNS; c++) {
        fill(&b);
        columns[c].k = (uint32_t)seek_take(&b, K_BITS);
        columns[c].is_up = seek_take(&b, 1);
    }
    memset(&seek->points[0], 0, sizeof seek->points[0]);
    for (uint32_t i = 1; i < total; i++)
        if (!take_point(&b, seek, i, columns, mean))
            return false;
    if (!is_sound(&b) || seek->points[total - 1].bit != end)
        return false;
    seek->count = total;
    return true;
}
