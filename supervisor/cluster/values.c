#include "supervisor/cluster/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct sv_shown *sv_values_at(struct sv_values *v, const char *key)
{
    struct sv_shown *list;

    for (uint32_t i = 0; i < v->count; i++)
        if (strcmp(v->list[i].key, key) == 0)
            return &v->list[i];
    if (v->count == SV_LINK_VALUES_MAX || strlen(key) >= SV_LINK_KEY_MAX)
        return NULL;
    list = realloc(v->list, (v->count + 1) * sizeof *list);
    if (!list)
        return NULL;
    v->list = list;
    memset(&list[v->count], 0, sizeof *list);
    memcpy(list[v->count].key, key, strlen(key));
    return &list[v->count++];
}

int sv_values_keep(struct sv_shown *kept, const void *bytes, size_t n)
{
    if (kept->bytes)
        return 0;
    kept->bytes = malloc(n ? n : 1);
    if (!kept->bytes)
        return -ENOMEM;
    if (n)
        memcpy(kept->bytes, bytes, n);
    kept->n = n;
    return 0;
}

void sv_values_clear(struct sv_values *v)
{
    for (uint32_t i = 0; i < v->count; i++)
        free(v->list[i].bytes);
    free(v->list);
    *v = (struct sv_values){.list = NULL};
}
