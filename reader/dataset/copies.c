#include "reader/dataset/copies.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/hash.h"
#include "reader/dataset/mirror.h"
#include "reader/dataset/parallel.h"

#define NAME_CHARS 72 /* of a path in a line; its end says most */

struct group {
    uint64_t looked, bytes, hash; /* images of which something is known */
    bool is_unknown;
};

struct look {
    const struct rd_index *index;
    int root_fd;
    bool is_away; /* the files are not on this machine */
    uint64_t train, all, groups;
    uint64_t size_step, hash_step; /* each so many images */
    struct group *group;
};

static enum im_split split_of(const struct look *look, uint64_t *i)
{
    if (*i < look->train)
        return IM_TRAIN;
    *i -= look->train;
    return IM_VAL;
}

/* Images of group g begin here; the end of the last is `all`. */
static uint64_t begin_of(const struct look *look, uint64_t g)
{
    return look->all / look->groups * g + look->all % look->groups * g / look->groups;
}

static void mix(struct group *g, uint64_t value)
{
    const uint64_t both[2] = {g->hash, value};

    g->hash = im_hash64(both, sizeof both, 0);
}

/* The first and the last bytes of `bytes` from `offset` on. 0; negative errno, -EIO: it has fewer. */
static int hash_ends(int fd, uint64_t offset, uint64_t bytes, struct group *g)
{
    unsigned char piece[RD_COPIES_PIECE];
    const size_t n = bytes < sizeof piece ? (size_t)bytes : sizeof piece;
    const uint64_t at[2] = {offset, offset + bytes - n};

    for (int i = 0; i < 2; i++) {
        const ssize_t got = pread(fd, piece, n, (off_t)at[i]);

        if (got != (ssize_t)n)
            return got < 0 ? -errno : -EIO;
        mix(g, im_hash64(piece, n, 0));
    }
    return 0;
}

/* 0, or negative errno: it cannot be asked. A file that is missing, or is none, counts as one of no bytes. */
static int look_at_file(const struct look *look, const char *path, bool hash, struct group *g)
{
    struct stat st = {.st_size = 0};
    int err, fd;

    if (fstatat(look->root_fd, path, &st, 0) < 0 && errno != ENOENT)
        return -errno;
    if (!S_ISREG(st.st_mode))
        st.st_size = 0;
    g->bytes += (uint64_t)st.st_size;
    mix(g, (uint64_t)st.st_size);
    if (!hash || st.st_size == 0)
        return 0;
    fd = openat(look->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    err = hash_ends(fd, 0, (uint64_t)st.st_size, g);
    close(fd);
    return err;
}

static int look_at_part(const struct look *look, const char *path, const struct rd_source_of *source,
                        bool hash, struct group *g)
{
    int err, fd;

    g->bytes += source->bytes;
    mix(g, source->bytes);
    if (!hash)
        return 0;
    fd = openat(look->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    err = hash_ends(fd, source->offset, source->bytes, g);
    close(fd);
    return err;
}

static int look_at(const struct look *look, uint64_t i, struct group *g)
{
    const bool hash = i % look->hash_step == 0;
    struct rd_source_of source;
    char path[PATH_MAX];
    uint64_t id = i;
    const enum im_split split = split_of(look, &id);
    int err = rd_index_source(look->index, split, id, &source, path, sizeof path);

    if (err < 0 || (!source.container && i % look->size_step != 0))
        return err < 0 ? err : 0;
    g->looked++;
    return source.container ? look_at_part(look, path, &source, hash, g) : look_at_file(look, path, hash, g);
}

static void look_at_group(void *context, uint64_t index)
{
    struct look *look = context;
    struct group *g = &look->group[index];

    for (uint64_t i = begin_of(look, index); i < begin_of(look, index + 1) && !g->is_unknown; i++)
        g->is_unknown = look_at(look, i, g) < 0;
}

/* The end of its path, without what has a meaning in a line. */
static const char *name_of(const struct look *look, uint64_t i, char *ret)
{
    char path[PATH_MAX] = "";
    uint64_t id = i;
    const enum im_split split = split_of(look, &id);
    size_t n;

    if (rd_index_relative(look->index, split, id, path, sizeof path) < 0)
        path[0] = 0;
    n = strlen(path);
    snprintf(ret, NAME_CHARS + 1, "%.*s", NAME_CHARS, n > NAME_CHARS ? path + n - NAME_CHARS : path);
    for (char *c = ret; *c; c++)
        if ((unsigned char)*c < ' ' || *c == '=' || *c == 0x7f)
            *c = '?';
    return ret;
}

static void write_line(const struct look *look, uint64_t index, FILE *out)
{
    const struct group *g = &look->group[index];
    const uint64_t first = begin_of(look, index), last = begin_of(look, index + 1) - 1;
    char from[NAME_CHARS + 1], to[NAME_CHARS + 1];

    if (first == last)
        fprintf(out, "image %s=", name_of(look, first, from));
    else
        fprintf(out, "images %s to %s=", name_of(look, first, from), name_of(look, last, to));
    if (look->is_away || g->is_unknown)
        fprintf(out, "?\n");
    else if (first == last)
        fprintf(out, "%" PRIu64 " bytes, hash %08" PRIx64 "\n", g->bytes, g->hash >> 32);
    else
        fprintf(out, "%" PRIu64 " bytes in %" PRIu64 " files, hash %08" PRIx64 "\n", g->bytes, g->looked,
                g->hash >> 32);
}

static uint64_t step_for(uint64_t all, uint64_t most)
{
    return (all + most - 1) / most;
}

char *rd_index_copies(const struct rd_index *index)
{
    const uint64_t train = rd_index_count(index, IM_TRAIN), all = train + rd_index_count(index, IM_VAL);
    struct look look = {.index = index,
                        .root_fd = open(rd_index_root(index), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                        .train = train,
                        .all = all,
                        .groups = all < RD_COPIES_LINES ? all : RD_COPIES_LINES,
                        .size_step = step_for(all, RD_COPIES_SIZES),
                        .hash_step = step_for(all, RD_COPIES_HASHED)};
    char *bytes = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&bytes, &n);

    look.group = calloc(look.groups + 1, sizeof *look.group);
    look.is_away = look.root_fd < 0 || rd_mirror_listed_ns(rd_index_root(index)) != 0;
    if (out && look.group && !look.is_away)
        rd_parallel(&(struct rd_parallel){.count = look.groups, .item = look_at_group, .context = &look});
    for (uint64_t i = 0; out && look.group && i < look.groups; i++)
        write_line(&look, i, out);
    if (look.root_fd >= 0)
        close(look.root_fd);
    if (!out || fclose(out) != 0 || !look.group) {
        free(bytes);
        bytes = NULL;
    }
    free(look.group);
    return bytes;
}
