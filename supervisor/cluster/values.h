/* The values that nodes show to each other in one generation (the cards of ranks), at the head; and who waits for
 * which. */
#ifndef SUPERVISOR_CLUSTER_VALUES_H
#define SUPERVISOR_CLUSTER_VALUES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "supervisor/cluster/link.h"

struct sv_shown {
    char key[SV_LINK_KEY_MAX];
    void *bytes; /* NULL: only waited for */
    size_t n;
    uint64_t waiting[SV_NODES_MAX / 64]; /* a bit for each node */
};

struct sv_values {
    struct sv_shown *list;
    uint32_t count;
};

/* The value of that name, made (not there, nobody waits) where there is none. NULL: too many, or no memory. */
struct sv_shown *sv_values_at(struct sv_values *v, const char *key);

/* Keeps the bytes, unless there are some already. -ENOMEM. */
int sv_values_keep(struct sv_shown *kept, const void *bytes, size_t n);

void sv_values_clear(struct sv_values *v);

#endif
