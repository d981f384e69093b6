/* A growing list of names: one block of NUL-terminated bytes, one offset a name. */
#ifndef READER_DATASET_NAMES_H
#define READER_DATASET_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* Zero-initialise to start; rd_names_fini gives the memory back and accepts a zeroed one. */
struct rd_names {
    char *bytes; /* offset 0 holds "" once anything was added */
    size_t used, capacity;
    uint32_t *offsets;
    uint32_t count, offsets_capacity;
};

/* Adds a copy. Returns its byte offset (>= 1), -ENOMEM, or -EFBIG beyond 4 GiB of names. */
int64_t rd_names_add(struct rd_names *names, const char *name);

/* Sorts by strcmp, that is by bytes, whatever the locale. -ENOMEM cannot happen: it sorts in place. */
void rd_names_sort(struct rd_names *names);

/* Sorts, and gives back the memory that is not used: nothing more is added. */
void rd_names_settle(struct rd_names *names);

/* The index of `name` in a sorted list, or -ENOENT. */
int64_t rd_names_find(const struct rd_names *names, const char *name);

void rd_names_fini(struct rd_names *names);

static inline const char *rd_names_at(const struct rd_names *names, uint32_t i)
{
    return names->bytes + names->offsets[i];
}

#endif
