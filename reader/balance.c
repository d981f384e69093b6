#include "reader/balance.h"

#include <errno.h>
#include <stdlib.h>

#include "ipc/base/hash.h"
#include "ipc/shuffle.h"

/* Places of the labels that have samples, of which counts[label] is the number. */
static void place_classes(struct rd_balance *b, uint64_t *counts, uint32_t labels)
{
    uint64_t at = 0;

    for (uint32_t label = 0; label < labels; label++) {
        const uint64_t count = counts[label];

        if (count == 0)
            continue;
        b->label[b->classes] = label;
        b->first[b->classes++] = at;
        counts[label] = at; /* from now on where its next sample goes */
        at += count;
    }
    b->first[b->classes] = at;
}

int rd_balance_open(const struct rd_index *index, struct rd_balance *ret)
{
    const uint32_t labels = rd_index_class_count(index);
    const uint64_t n = rd_index_count(index, IM_TRAIN);
    uint64_t *counts = calloc((size_t)labels + 1, sizeof *counts);
    struct rd_balance b = {.first = calloc((size_t)labels + 1, sizeof *b.first),
                           .samples = calloc((size_t)n + 1, sizeof *b.samples),
                           .label = calloc((size_t)labels + 1, sizeof *b.label)};

    if (!counts || !b.first || !b.samples || !b.label) {
        free(counts);
        rd_balance_close(&b);
        return -ENOMEM;
    }
    for (uint64_t id = 0; id < n; id++)
        counts[rd_index_label(index, IM_TRAIN, id)]++;
    place_classes(&b, counts, labels);
    for (uint64_t id = 0; id < n; id++)
        b.samples[counts[rd_index_label(index, IM_TRAIN, id)]++] = id;
    free(counts);
    *ret = b;
    return 0;
}

void rd_balance_close(struct rd_balance *b)
{
    free(b->first);
    free(b->samples);
    free(b->label);
    *b = (struct rd_balance){0};
}

uint64_t rd_balance_sample(const struct rd_balance *b, uint64_t seed, uint32_t epoch, uint64_t draw)
{
    const uint64_t class = draw % b->classes, turn = draw / b->classes;
    const uint64_t first = b->first[class], count = b->first[class + 1] - first;
    const uint64_t key[] = {b->label[class], turn / count};

    return b->samples[first + im_shuffle(im_hash64(key, sizeof key, seed), epoch, count, turn % count)];
}
