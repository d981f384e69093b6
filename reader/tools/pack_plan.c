/* Samples stand in the shards in the order of the index: so those of an index of the shards have the numbers that they
 * have here. A shard ends before the sample that would make it larger than the limits. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/base/hash.h"
#include "reader/dataset/parallel.h"
#include "reader/tools/pack.h"

#define CHUNK 1024
#define END_BYTES (2 * RD_TAR_BLOCK) /* of zeros: the end of a tar */

struct look {
    struct rd_pack *pack;
    int root_fd;
    _Atomic uint64_t failed; /* W the threads, once: a sample of both splits, + 1 */
    int err;                 /* written by that thread before failed is */
};

static enum im_split split_of(const struct rd_pack *pack, uint64_t *i)
{
    const uint64_t train = rd_index_count(pack->index, IM_TRAIN);

    if (*i < train)
        return IM_TRAIN;
    *i -= train;
    return IM_VAL;
}

static int look_at(const struct look *look, enum im_split split, uint64_t id)
{
    struct rd_source_of source;
    char path[PATH_MAX];
    struct stat st;
    int err = rd_index_source(look->pack->index, split, id, &source, path, sizeof path);

    if (err < 0)
        return err;
    if (!source.container && fstatat(look->root_fd, path, &st, 0) < 0)
        return -errno;
    if (!source.container && !S_ISREG(st.st_mode))
        return -EINVAL;
    look->pack->samples[split][id].bytes = source.container ? source.bytes : (uint64_t)st.st_size;
    return 0;
}

static void look_at_chunk(void *context, uint64_t chunk)
{
    struct look *look = context;
    const uint64_t all =
        rd_index_count(look->pack->index, IM_TRAIN) + rd_index_count(look->pack->index, IM_VAL);

    for (uint64_t i = chunk * CHUNK; i < all && i < (chunk + 1) * CHUNK; i++) {
        uint64_t id = i, none = 0;
        const enum im_split split = split_of(look->pack, &id);
        const int err = look_at(look, split, id);

        if (err < 0 && atomic_compare_exchange_strong_explicit(&look->failed, &none, i + 1,
                                                               memory_order_relaxed, memory_order_relaxed))
            look->err = err;
    }
}

static int measure(struct rd_pack *pack, struct im_text *text)
{
    const uint64_t all = rd_index_count(pack->index, IM_TRAIN) + rd_index_count(pack->index, IM_VAL);
    struct look look = {.pack = pack,
                        .root_fd = open(rd_index_root(pack->index), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    uint64_t failed;
    char path[PATH_MAX] = "?";

    if (look.root_fd < 0)
        return im_fail(text, -errno, "cannot open '%.700s': %s", rd_index_root(pack->index), strerror(errno));
    rd_parallel(
        &(struct rd_parallel){.count = (all + CHUNK - 1) / CHUNK, .item = look_at_chunk, .context = &look});
    close(look.root_fd);
    failed = atomic_load_explicit(&look.failed, memory_order_relaxed);
    if (failed == 0)
        return 0;
    failed--;
    {
        const enum im_split split = split_of(pack, &failed);

        rd_index_relative(pack->index, split, failed, path, sizeof path);
    }
    return im_fail(text, look.err, "cannot pack '%.700s': %s", path, strerror(-look.err));
}

/* The bytes of a sample in a shard, with all headers. */
static int64_t bytes_of(const struct rd_pack *pack, enum im_split split, uint64_t id,
                        struct rd_pack_head *head, struct im_text *text)
{
    int err = rd_pack_head(pack, split, id, head, text);

    return err < 0 ? err : (int64_t)(head->n + rd_tar_padded(pack->samples[split][id].bytes));
}

static struct rd_pack_shard *add_shard(struct rd_pack *pack, enum im_split split, uint64_t first)
{
    void *grown = realloc(pack->shards, ((size_t)pack->count + 1) * sizeof *pack->shards);

    if (!grown)
        return NULL;
    pack->shards = grown;
    pack->shards[pack->count] = (struct rd_pack_shard){
        .split = split, .number = pack->shards_of[split]++, .first = first, .bytes = END_BYTES};
    return &pack->shards[pack->count++];
}

static int divide(struct rd_pack *pack, enum im_split split, struct im_hash *hash, struct rd_pack_head *head,
                  struct im_text *text)
{
    struct rd_pack_shard *shard = NULL;

    for (uint64_t id = 0; id < rd_index_count(pack->index, split); id++) {
        const int64_t bytes = bytes_of(pack, split, id, head, text);

        if (bytes < 0)
            return (int)bytes;
        if (!shard || shard->count >= pack->shard_images ||
            shard->bytes + (uint64_t)bytes > pack->shard_bytes) {
            if (!shard || shard->count > 0)
                shard = add_shard(pack, split, id);
            if (!shard)
                return -ENOMEM;
            im_hash_add(hash, &id, sizeof id);
        }
        shard->count++;
        shard->bytes += (uint64_t)bytes;
        im_hash_add(hash, head->bytes, head->n);
    }
    return 0;
}

int rd_pack_plan(struct rd_pack *pack, struct im_text *text)
{
    struct im_hash *hash = im_hash_new(0);
    struct rd_pack_head *head = malloc(sizeof *head);
    int err = hash && head ? 0 : -ENOMEM;

    for (int split = 0; split < IM_SPLITS && err == 0; split++) {
        pack->samples[split] =
            calloc(rd_index_count(pack->index, (enum im_split)split) + 1, sizeof *pack->samples[split]);
        err = pack->samples[split] ? 0 : -ENOMEM;
    }
    if (err == 0)
        err = measure(pack, text);
    for (int split = 0; split < IM_SPLITS && err == 0; split++)
        err = divide(pack, (enum im_split)split, hash, head, text);
    for (uint32_t i = 0; i < pack->count; i++)
        pack->bytes += pack->shards[i].bytes;
    for (uint32_t i = 0; err == 0 && i < rd_index_class_count(pack->index); i++)
        im_hash_add(hash, rd_index_class(pack->index, i), strlen(rd_index_class(pack->index, i)) + 1);
    if (err == 0)
        pack->hash = im_hash_value(hash);
    im_hash_free(&hash);
    free(head);
    return err == -ENOMEM ? im_fail(text, err, "not enough memory to pack %.500s", rd_index_root(pack->index))
                          : err;
}

void rd_pack_fini(struct rd_pack *pack)
{
    free(pack->samples[IM_TRAIN]);
    free(pack->samples[IM_VAL]);
    free(pack->shards);
}
