/* A scan asks for one part after the other, as each header says where the next one is; so many shards are scanned at a
 * time. A part is of 4 KiB, which mostly holds all headers and labels between two images, or of 256 KiB where members are
 * so small that asking for each would take longer than their bytes. */
#include "fetcher/shards.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader/dataset/parallel.h"

#define AT_A_TIME 32
#define LOOK ((size_t)4096)
#define STRETCH ((size_t)1 << 18)
#define NEAR ((uint64_t)1 << 16)

struct scan {
    struct fe_shards *shards;
    struct fe_client *client[AT_A_TIME]; /* that no thread uses now */
    unsigned clients;
    pthread_mutex_t lock; /* of the clients */
    _Atomic uint64_t members;
};

/* An object that is being scanned. */
struct remote {
    struct fe_client *client;
    char url[FE_URL_BYTES];
    struct rd_shard_object object; /* bytes 0: not known yet */
    uint64_t at;                   /* of the part */
    size_t n;
    struct im_text why; /* of a request that failed */
    char part[STRETCH];
};

static int ask(struct remote *r, uint64_t from, size_t n)
{
    struct fe_result result;

    fe_client_get_part(r->client, r->url, r->object.etag, from, n, r->part, &result);
    r->at = from;
    r->n = (size_t)result.bytes;
    if (result.err == 0 && result.total <= 0)
        return im_fail(&r->why, -EREMOTEIO, "the server does not say how long it is (Content-Range)");
    if (result.err == 0 && r->object.bytes != 0 && (uint64_t)result.total != r->object.bytes)
        return im_fail(&r->why, -ESTALE, "it changes while it is listed");
    if (result.err < 0)
        return im_fail(&r->why, result.err, "%s", result.why);
    if (r->object.bytes == 0) {
        r->object.bytes = (uint64_t)result.total;
        /* A weak one never matches If-Match. */
        snprintf(r->object.etag, sizeof r->object.etag, "%s",
                 strncmp(result.etag, "W/", 2) == 0 ? "" : result.etag);
    }
    return 0;
}

/* rd_tar_read: less than is asked for, but more than a block. */
static int64_t read_at(void *context, uint64_t offset, void *buffer, size_t n)
{
    struct remote *r = context;
    const uint64_t end = r->at + r->n;
    const size_t block = n < RD_TAR_BLOCK ? n : RD_TAR_BLOCK;
    size_t have;

    if (offset >= r->object.bytes)
        return 0;
    if (offset < r->at || offset + block > end) {
        const bool is_near = r->n > 0 && offset + block > end && offset < end + NEAR && r->at > 0;
        int err = ask(r, offset, is_near ? STRETCH : LOOK);

        if (err < 0)
            return err;
    }
    have = r->n - (size_t)(offset - r->at);
    have = have < n ? have : n;
    memcpy(buffer, r->part + (offset - r->at), have);
    return (int64_t)have;
}

static int scan_once(struct remote *r, struct rd_shard *shard)
{
    struct rd_tar *tar = calloc(1, sizeof *tar);

    if (!tar)
        return -ENOMEM;
    tar->read = read_at;
    tar->context = r;
    tar->bytes = r->object.bytes;
    shard->err = rd_shard_read(tar, shard);
    rd_tar_fini(tar);
    free(tar);
    return shard->err;
}

/* Damaged bytes are asked for once more: it may have been the way. */
static int scan_members(struct remote *r, struct fe_shard *s)
{
    struct rd_shard shard = {.path = s->path};
    int err = scan_once(r, &shard);

    if (err == -EBADMSG || *shard.cut.s) {
        rd_shard_fini(&shard);
        shard = (struct rd_shard){.path = s->path};
        r->n = 0;
        err = scan_once(r, &shard);
    }
    s->members = shard.count;
    if (err == 0 || err == -EBADMSG)
        err = rd_shard_table_make(&shard, &r->object, &s->table, &s->table_bytes);
    else
        im_fail(&s->why, err, "%s", *r->why.s ? r->why.s : *shard.why.s ? shard.why.s : strerror(-err));
    rd_shard_fini(&shard);
    return err;
}

static bool is_same(const struct rd_shard_object *a, const struct rd_shard_object *b)
{
    return a->bytes == b->bytes && strcmp(a->etag, b->etag) == 0;
}

static int scan_shard(const struct fe_shards *shards, struct remote *r, struct fe_shard *s)
{
    int err = fe_address_url(shards->address, s->path, r->url, sizeof r->url);

    if (err == 0 && s->is_listed && s->object.bytes != 0 && is_same(&s->object, &s->now)) {
        s->is_kept = true;
        return 0;
    }
    if (err == 0)
        err = ask(r, 0, LOOK);
    if (err < 0)
        return im_fail(&s->why, err, "%s", *r->why.s ? r->why.s : strerror(-err));
    s->now = r->object;
    s->is_kept = s->object.bytes != 0 && is_same(&s->object, &s->now);
    return s->is_kept ? 0 : scan_members(r, s);
}

static struct fe_client *take_client(struct scan *scan)
{
    struct fe_client *client;

    pthread_mutex_lock(&scan->lock);
    client = scan->client[--scan->clients];
    pthread_mutex_unlock(&scan->lock);
    return client;
}

static void give_client(struct scan *scan, struct fe_client *client)
{
    pthread_mutex_lock(&scan->lock);
    scan->client[scan->clients++] = client;
    pthread_mutex_unlock(&scan->lock);
}

static void scan_one(void *context, uint64_t i)
{
    struct scan *scan = context;
    struct fe_shard *s = &scan->shards->shards[i];
    struct remote *r = calloc(1, sizeof *r);

    s->err = r ? 0 : -ENOMEM;
    if (r) {
        r->client = take_client(scan);
        s->err = scan_shard(scan->shards, r, s);
        give_client(scan, r->client);
    }
    free(r);
    if (s->err == 0)
        s->err = scan->shards->done(scan->shards->context, s);
    atomic_fetch_add_explicit(&scan->members, s->members, memory_order_relaxed);
    free(s->table);
    s->table = NULL;
}

static void tick(void *context, uint64_t done)
{
    struct scan *scan = context;

    if (scan->shards->tick)
        scan->shards->tick(scan->shards->context, done,
                           atomic_load_explicit(&scan->members, memory_order_relaxed));
}

int fe_shards_scan(struct fe_shards *shards, unsigned stall_ms, struct im_text *text)
{
    struct scan scan = {.shards = shards};
    int err = 0;

    for (; scan.clients < AT_A_TIME && scan.clients < shards->count && err == 0; scan.clients += err == 0)
        err = fe_client_open(shards->address, 1, stall_ms, &scan.client[scan.clients], text);
    if (err == 0) {
        pthread_mutex_init(&scan.lock, NULL);
        rd_parallel(&(struct rd_parallel){
            .count = shards->count, .threads = AT_A_TIME, .item = scan_one, .tick = tick, .context = &scan});
        pthread_mutex_destroy(&scan.lock);
    }
    while (scan.clients > 0)
        fe_client_close(&scan.client[--scan.clients]);
    for (uint32_t i = 0; i < shards->count && err == 0; i++)
        if (shards->shards[i].err < 0)
            err = im_fail(text, shards->shards[i].err,
                          "cannot list the members of the shard '%.500s': %.400s", shards->shards[i].path,
                          *shards->shards[i].why.s ? shards->shards[i].why.s
                                                   : strerror(-shards->shards[i].err));
    return err;
}
