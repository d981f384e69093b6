#include "reader/shards.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/base/log.h"
#include "reader/dataset/changed.h"

#define GROWS 64

static bool make_room(struct rd_shards *s, uint32_t container)
{
    const uint32_t count = container + GROWS;
    bool *known;

    if (container < s->count)
        return true;
    known = realloc(s->known, count * sizeof *known);
    if (!known)
        return false;
    memset(known + s->count, 0, (count - s->count) * sizeof *known);
    s->known = known;
    s->count = count;
    return true;
}

void rd_shards_look(struct rd_shards *s, const struct rd_index *index, int root_fd, uint32_t container,
                    const char *path)
{
    if (!make_room(s, container) || s->known[container])
        return;
    s->known[container] = true;
    if (!rd_index_file_changed(index, root_fd, path))
        return;
    im_log(
        s->told ? IM_LOG_INFO : IM_LOG_WARN,
        "a shard was written since it was indexed: images that are still in their place are read as they are "
        "now, others are left out",
        "file=%s", im_log_quote(&(struct im_quoted){0}, path));
    s->told = true;
}

void rd_shards_forget(struct rd_shards *s)
{
    free(s->known);
    s->known = NULL;
    s->count = 0;
}
