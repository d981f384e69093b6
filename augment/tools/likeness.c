#include "augment/tools/likeness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 64, CONTRAST_LEAST = 3 /* of 255, over half of the parts */ };

void au_likeness_begin(struct au_likeness *l, uint32_t width, uint32_t height)
{
    *l = (struct au_likeness){.width = width, .height = height};
}

void au_likeness_rows(struct au_likeness *l, uint32_t first, uint32_t count, const struct au_pixels *rows)
{
    if (first == 0)
        memset(l->sum, 0, sizeof l->sum);
    for (uint32_t y = 0; y < count; y++) {
        const unsigned char *p = rows->data + (size_t)y * rows->stride;
        uint64_t *sum = l->sum[(uint64_t)(first + y) * AU_LIKENESS_ROWS / l->height];

        for (uint32_t c = 0, x = 0; c < AU_LIKENESS_COLUMNS; c++) {
            const uint32_t end = (uint32_t)((uint64_t)(c + 1) * l->width / AU_LIKENESS_COLUMNS);
            uint64_t part = 0;

            for (; x < end; x++, p += 3)
                part += 77u * p[0] + 150u * p[1] + 29u * p[2]; /* 256 times the brightness */
            sum[c] += part;
        }
    }
}

/* The mean of a part. */
static double brightness(const struct au_likeness *l, uint32_t row, uint32_t column)
{
    const uint64_t h = l->height, w = l->width;
    /* Row y is of part y * 8 / h, so part r begins at the first y with y * 8 >= r * h. */
    const uint64_t top = (row * h + AU_LIKENESS_ROWS - 1) / AU_LIKENESS_ROWS,
                   bottom = ((row + 1) * h + AU_LIKENESS_ROWS - 1) / AU_LIKENESS_ROWS;
    const uint64_t left = column * w / AU_LIKENESS_COLUMNS, right = (column + 1) * w / AU_LIKENESS_COLUMNS;

    return (double)l->sum[row][column] / 256 / (double)((bottom - top) * (right - left));
}

bool au_likeness_hash(const struct au_likeness *l, uint64_t *ret)
{
    int contrasts = 0;

    *ret = 0;
    if (l->width < AU_LIKENESS_COLUMNS || l->height < AU_LIKENESS_ROWS)
        return false;
    for (uint32_t row = 0; row < AU_LIKENESS_ROWS; row++)
        for (uint32_t column = 0; column + 1 < AU_LIKENESS_COLUMNS; column++) {
            const double step = brightness(l, row, column) - brightness(l, row, column + 1);

            *ret = *ret << 1 | (step > 0);
            contrasts += step >= CONTRAST_LEAST || step <= -CONTRAST_LEAST;
        }
    return contrasts >= BITS / 4;
}

/* ---- pairs ---- */

struct banded {
    uint64_t band;
    size_t i;
};

static int by_band(const void *a, const void *b)
{
    const struct banded *x = a, *y = b;

    if (x->band != y->band)
        return x->band < y->band ? -1 : 1;
    return (x->i > y->i) - (x->i < y->i);
}

static void look(const uint64_t *hash, const struct banded *same, size_t n, int most,
                 struct au_alike *nearest)
{
    for (size_t k = 1; k < n; k++)
        for (size_t m = 0; m < k; m++) {
            const size_t i = same[k].i, before = same[m].i;
            const int bits = __builtin_popcountll(hash[i] ^ hash[before]);
            struct au_alike *best = &nearest[i];

            if (bits <= most && (bits < best->bits || (bits == best->bits && before < best->like)))
                *best = (struct au_alike){i, before, bits};
        }
}

/* Two hashes in which at most `most` bits differ are the same in at least one of `most` + 1 bands. */
static void look_at_band(const uint64_t *hash, const bool *known, size_t n, int most, int band,
                         struct banded *room, struct au_alike *nearest)
{
    const int low = band * BITS / (most + 1), high = (band + 1) * BITS / (most + 1);
    const uint64_t mask = high - low == BITS ? UINT64_MAX : ((UINT64_C(1) << (high - low)) - 1);
    size_t count = 0, first = 0;

    for (size_t i = 0; i < n; i++)
        if (known[i])
            room[count++] = (struct banded){hash[i] >> low & mask, i};
    qsort(room, count, sizeof *room, by_band);
    for (size_t k = 0; k < count; k++)
        if (k + 1 == count || room[k + 1].band != room[k].band) {
            look(hash, room + first, k + 1 - first, most, nearest);
            first = k + 1;
        }
}

int au_likeness_find(const uint64_t *hash, const bool *known, size_t n, int most, struct au_alike **ret,
                     size_t *ret_count)
{
    struct au_alike *nearest = calloc(n + 1, sizeof *nearest);
    struct banded *room = calloc(n + 1, sizeof *room);

    *ret = nearest;
    *ret_count = 0;
    if (!nearest || !room || most < 0 || most > AU_LIKENESS_BITS_MAX) {
        free(room);
        return !nearest || !room ? -ENOMEM : -EINVAL;
    }
    for (size_t i = 0; i < n; i++)
        nearest[i].bits = BITS + 1;
    for (int band = 0; band <= most; band++)
        look_at_band(hash, known, n, most, band, room, nearest);
    free(room);
    for (size_t i = 0; i < n; i++)
        if (nearest[i].bits <= most)
            nearest[(*ret_count)++] = nearest[i];
    return 0;
}
