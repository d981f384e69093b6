/* Greedy placement by size. The order of equal sizes is the order of the blocks, so that a graph always gets
 * the same addresses. */
#include "trainer/network/arena.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

static size_t padded(const struct tr_block *b)
{
    return (b->bytes + TR_BLOCK_ALIGN - 1) / TR_BLOCK_ALIGN * TR_BLOCK_ALIGN;
}

static bool lifetimes_overlap(const struct tr_block *a, const struct tr_block *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The lowest offset at which `b` overlaps none of the placed blocks with a common lifetime. `placed` is
 * sorted by offset. */
static size_t lowest(const struct tr_block *b, const struct tr_block *const *placed, int count)
{
    size_t at = 0;

    for (int i = 0; i < count; i++) {
        if (!lifetimes_overlap(b, placed[i]))
            continue;
        if (placed[i]->offset >= at + padded(b))
            break;
        if (placed[i]->offset + padded(placed[i]) > at)
            at = placed[i]->offset + padded(placed[i]);
    }
    return at;
}

static void insert_sorted(const struct tr_block **placed, int count, const struct tr_block *b)
{
    int i = count;

    while (i > 0 && placed[i - 1]->offset > b->offset) {
        placed[i] = placed[i - 1];
        i--;
    }
    placed[i] = b;
}

static struct tr_block *largest_left(struct tr_block *blocks, const bool *done, int count)
{
    struct tr_block *best = NULL;

    for (int i = 0; i < count; i++)
        if (!done[i] && blocks[i].bytes > 0 && (!best || blocks[i].bytes > best->bytes))
            best = &blocks[i];
    return best;
}

int tr_arena_place(struct tr_block *blocks, int count, size_t *ret_bytes)
{
    const struct tr_block **placed = calloc((size_t)count + 1, sizeof(struct tr_block *));
    bool *done = calloc((size_t)count + 1, sizeof *done);
    struct tr_block *b;
    size_t bytes = 0;
    int err = 0, n = 0;

    if (!placed || !done) {
        err = -ENOMEM;
        goto out;
    }
    for (int i = 0; i < count; i++)
        blocks[i].offset = 0;
    while ((b = largest_left(blocks, done, count))) {
        b->offset = lowest(b, placed, n);
        insert_sorted(placed, n++, b);
        done[b - blocks] = true;
        if (b->offset + padded(b) > bytes)
            bytes = b->offset + padded(b);
    }
    *ret_bytes = bytes;
out:
    free(placed);
    free(done);
    return err;
}
