#include "reader/dataset/shard_sets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 8 /* hexadecimal, of a word */

int rd_shard_sets_init(struct rd_shard_sets *sets, uint32_t classes)
{
    const size_t words = rd_index_words(classes);

    *sets = (struct rd_shard_sets){.classes = classes,
                                   .words = calloc(words + 1, sizeof *sets->words),
                                   .key = malloc(words * DIGITS + 1)};
    return sets->words && sets->key ? 0 : -ENOMEM;
}

void rd_shard_set_begin(struct rd_shard_sets *sets)
{
    memset(sets->words, 0, rd_index_words(sets->classes) * sizeof *sets->words);
}

void rd_shard_set_add(struct rd_shard_sets *sets, uint32_t class)
{
    sets->words[class / 32] |= 1u << (class % 32);
}

/* Without the zeros at the end: most sets are small, and names add up. */
static const char *write_key(struct rd_shard_sets *sets)
{
    static const char digits[] = "0123456789abcdef";
    size_t n = rd_index_words(sets->classes);

    while (n > 0 && sets->words[n - 1] == 0)
        n--;
    for (size_t i = 0; i < n * DIGITS; i++)
        sets->key[i] = digits[sets->words[i / DIGITS] >> 4 * (i % DIGITS) & 15];
    sets->key[n * DIGITS] = 0;
    return sets->key;
}

int rd_shard_sets_add(struct rd_shard_sets *sets)
{
    const int64_t added = rd_names_add(&sets->all, write_key(sets));

    return added < 0 ? (int)added : 0;
}

static uint32_t value_of(char digit)
{
    return (uint32_t)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static void read_key(const char *key, uint32_t *words)
{
    for (size_t i = 0; key[i]; i++)
        words[i / DIGITS] |= value_of(key[i]) << 4 * (i % DIGITS);
}

int rd_shard_sets_settle(struct rd_shard_sets *sets, struct rd_index_writer *writer)
{
    const size_t words = rd_index_words(sets->classes);
    uint32_t *bits;
    int64_t added = 0;
    int err;

    rd_names_sort(&sets->all);
    for (uint32_t i = 0; i < sets->all.count && added >= 0; i++)
        if (i == 0 || strcmp(rd_names_at(&sets->all, i), rd_names_at(&sets->all, i - 1)) != 0)
            added = rd_names_add(&sets->unique, rd_names_at(&sets->all, i));
    rd_names_fini(&sets->all);
    if (added < 0)
        return (int)added;
    bits = calloc((size_t)sets->unique.count * words + 1, sizeof *bits);
    if (!bits)
        return -ENOMEM;
    for (uint32_t i = 0; i < sets->unique.count; i++)
        read_key(rd_names_at(&sets->unique, i), bits + i * words);
    err = rd_writer_sets(writer, bits, sets->unique.count);
    free(bits);
    return err;
}

int64_t rd_shard_sets_find(struct rd_shard_sets *sets)
{
    return rd_names_find(&sets->unique, write_key(sets));
}

void rd_shard_sets_fini(struct rd_shard_sets *sets)
{
    rd_names_fini(&sets->all);
    rd_names_fini(&sets->unique);
    free(sets->words);
    free(sets->key);
    *sets = (struct rd_shard_sets){0};
}
