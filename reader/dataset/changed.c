#include "reader/dataset/changed.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/clock.h"
#include "reader/dataset/index_file.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/parallel.h"

#define CHUNK 256

struct check {
    const struct rd_index *index;
    int root_fd;
    int64_t since_ns;
    im_ns until;
    _Atomic uint64_t checked, changed; /* W the threads */
    struct rd_changed *ret;
};

static int64_t ns_of(const struct statx_timestamp *t)
{
    return (int64_t)t->tv_sec * 1000000000 + t->tv_nsec;
}

/* A file that was moved to its name keeps the time of its bytes; then its folder has changed as well. */
static bool folder_changed(int root_fd, const char *path, int64_t since_ns, int flags)
{
    const char *slash = strrchr(path, '/');
    char folder[PATH_MAX];
    struct statx st;

    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return statx(root_fd, folder, flags, STATX_MTIME, &st) == 0 && ns_of(&st.stx_mtime) > since_ns;
}

/* 1: it has changed; 0; -1: it cannot be asked. */
static int has_changed(int root_fd, const char *path, int64_t since_ns, int flags)
{
    struct statx st;

    if (statx(root_fd, path, flags, STATX_MTIME | STATX_CTIME, &st) < 0)
        return -1;
    return ns_of(&st.stx_mtime) > since_ns ||
           (ns_of(&st.stx_ctime) > since_ns && folder_changed(root_fd, path, since_ns, flags));
}

bool rd_index_file_changed(const struct rd_index *index, int root_fd, const char *path)
{
    const int64_t built_ns = index->header->built_ns; /* 0: of a list that a person gave, which has no time */

    return built_ns != 0 && has_changed(root_fd, path, built_ns, AT_STATX_DONT_SYNC) > 0;
}

static void check_one(struct check *c, enum im_split split, uint64_t id)
{
    struct rd_source_of source;
    char path[PATH_MAX];
    uint64_t n;
    int changed;

    if (rd_index_source(c->index, split, id, &source, path, sizeof path) < 0)
        return;
    changed = has_changed(c->root_fd, path, c->since_ns, 0);
    if (changed < 0)
        return;
    atomic_fetch_add_explicit(&c->checked, 1, memory_order_relaxed);
    if (!changed)
        return;
    n = atomic_fetch_add_explicit(&c->changed, 1, memory_order_relaxed);
    if (n < RD_CHANGED_NAMED)
        snprintf(c->ret->name[n], sizeof c->ret->name[n], "%.*s", RD_CHANGED_NAME_BYTES - 1, path);
}

static void check_chunk(void *context, uint64_t chunk)
{
    struct check *c = context;
    const uint64_t train = rd_index_count(c->index, IM_TRAIN), all = train + rd_index_count(c->index, IM_VAL);

    for (uint64_t i = chunk * CHUNK; i < all && i < (chunk + 1) * CHUNK && im_now() < c->until; i++)
        check_one(c, i < train ? IM_TRAIN : IM_VAL, i < train ? i : i - train);
}

void rd_index_changed(const struct rd_index *index, int64_t since_ns, int64_t limit_ns,
                      struct rd_changed *ret)
{
    const uint64_t all = rd_index_count(index, IM_TRAIN) + rd_index_count(index, IM_VAL);
    struct check c = {.index = index,
                      .root_fd = open(rd_index_root(index), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                      .since_ns = since_ns,
                      .until = im_now() + (im_ns)limit_ns,
                      .ret = ret};

    *ret = (struct rd_changed){0};
    if (c.root_fd < 0)
        return;
    if (rd_mirror_listed_ns(rd_index_root(index)) != 0) { /* the time of a file there is that of its coming */
        close(c.root_fd);
        return;
    }
    rd_parallel(
        &(struct rd_parallel){.count = (all + CHUNK - 1) / CHUNK, .item = check_chunk, .context = &c});
    ret->checked = atomic_load_explicit(&c.checked, memory_order_relaxed);
    ret->changed = atomic_load_explicit(&c.changed, memory_order_relaxed);
    close(c.root_fd);
}
