#include "reader/dataset/empty.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "reader/dataset/parallel.h"

#define CHUNK 256

struct look {
    const struct rd_index *index;
    int root_fd;
    uint64_t train;
    im_ns until;
    unsigned char *is_empty;  /* of each image, training ones first; each is written by one thread */
    _Atomic uint64_t checked; /* W the threads */
};

static enum im_split split_of(const struct look *look, uint64_t *i)
{
    if (*i < look->train)
        return IM_TRAIN;
    *i -= look->train;
    return IM_VAL;
}

static void look_at_chunk(void *context, uint64_t chunk)
{
    struct look *look = context;
    const uint64_t all = look->train + rd_index_count(look->index, IM_VAL);
    struct rd_source_of source;
    char path[PATH_MAX];
    struct stat st;

    for (uint64_t i = chunk * CHUNK; i < all && i < (chunk + 1) * CHUNK && im_now() < look->until; i++) {
        uint64_t id = i;
        const enum im_split split = split_of(look, &id);

        if (rd_index_source(look->index, split, id, &source, path, sizeof path) < 0 ||
            (!source.container && fstatat(look->root_fd, path, &st, 0) < 0))
            continue;
        atomic_fetch_add_explicit(&look->checked, 1, memory_order_relaxed);
        look->is_empty[i] = source.container ? source.bytes == 0 : st.st_size == 0;
    }
}

static int collect(const struct look *look, uint64_t all, struct rd_names *paths)
{
    char path[PATH_MAX];
    int64_t added = 0;

    for (uint64_t i = 0; i < all && added >= 0; i++) {
        uint64_t id = i;
        const enum im_split split = split_of(look, &id);

        if (look->is_empty[i] && rd_index_relative(look->index, split, id, path, sizeof path) > 0)
            added = rd_names_add(paths, path);
    }
    return added < 0 ? (int)added : 0;
}

int rd_index_empty(const struct rd_index *index, int64_t limit_ns, struct rd_empty *ret)
{
    const uint64_t train = rd_index_count(index, IM_TRAIN), all = train + rd_index_count(index, IM_VAL);
    struct look look = {.index = index,
                        .root_fd = open(rd_index_root(index), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                        .train = train,
                        .until = im_now() + (im_ns)limit_ns,
                        .is_empty = calloc(all + 1, 1)};
    int err = look.is_empty ? 0 : -ENOMEM;

    *ret = (struct rd_empty){0};
    if (err == 0 && look.root_fd >= 0) {
        rd_parallel(&(struct rd_parallel){
            .count = (all + CHUNK - 1) / CHUNK, .item = look_at_chunk, .context = &look});
        ret->checked = atomic_load_explicit(&look.checked, memory_order_relaxed);
        err = collect(&look, all, &ret->paths);
    }
    if (look.root_fd >= 0)
        close(look.root_fd);
    free(look.is_empty);
    return err;
}

void rd_empty_fini(struct rd_empty *empty)
{
    rd_names_fini(&empty->paths);
}
