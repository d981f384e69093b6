/* Names of a directory or of a whole data set: millions of short strings, so one block with offsets and no
 * allocation a name. The offsets are 32 bits wide because the index file stores them; 1.28 million ImageNet
 * names take 28 MB of the 4 GiB. */
#include "reader/dataset/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int reserve(struct rd_names *names, size_t bytes)
{
    if (names->used + bytes > names->capacity) {
        size_t capacity = 2 * names->capacity + bytes + 1024;
        char *grown = realloc(names->bytes, capacity);

        if (!grown)
            return -ENOMEM;
        names->bytes = grown;
        names->capacity = capacity;
    }
    if (names->count == names->offsets_capacity) {
        uint32_t capacity = 2 * names->offsets_capacity + 64;
        uint32_t *grown = realloc(names->offsets, capacity * sizeof *grown);

        if (!grown)
            return -ENOMEM;
        names->offsets = grown;
        names->offsets_capacity = capacity;
    }
    return 0;
}

int64_t rd_names_add(struct rd_names *names, const char *name)
{
    size_t bytes = strlen(name) + 1;
    size_t offset = names->used ? names->used : 1;

    if (offset + bytes > UINT32_MAX || names->count == INT32_MAX)
        return -EFBIG;
    if (reserve(names, bytes + 1) < 0)
        return -ENOMEM;
    names->bytes[0] = '\0';
    memcpy(names->bytes + offset, name, bytes);
    names->used = offset + bytes;
    names->offsets[names->count++] = (uint32_t)offset;
    return (int64_t)offset;
}

static int by_bytes(const void *a, const void *b, void *bytes)
{
    return strcmp((const char *)bytes + *(const uint32_t *)a, (const char *)bytes + *(const uint32_t *)b);
}

void rd_names_sort(struct rd_names *names)
{
    if (names->count > 1)
        qsort_r(names->offsets, names->count, sizeof *names->offsets, by_bytes, names->bytes);
}

void rd_names_settle(struct rd_names *names)
{
    void *bytes = names->used ? realloc(names->bytes, names->used) : NULL;
    void *offsets = names->count ? realloc(names->offsets, names->count * sizeof *names->offsets) : NULL;

    if (bytes) {
        names->bytes = bytes;
        names->capacity = names->used;
    }
    if (offsets) {
        names->offsets = offsets;
        names->offsets_capacity = names->count;
    }
    rd_names_sort(names);
}

int64_t rd_names_find(const struct rd_names *names, const char *name)
{
    uint32_t low = 0, high = names->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = strcmp(name, rd_names_at(names, middle));

        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -ENOENT;
}

void rd_names_fini(struct rd_names *names)
{
    free(names->bytes);
    free(names->offsets);
    *names = (struct rd_names){0};
}
