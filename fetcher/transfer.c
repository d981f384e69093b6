#include "fetcher/transfer.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <nettle/md5.h>

#include "ipc/base/fault.h"
#include "ipc/base/hash.h"

static_assert(sizeof(struct md5_ctx) <= FE_SUM_BYTES && alignof(struct md5_ctx) <= 8, "FE_SUM_BYTES");

static struct md5_ctx *sum_of(struct fe_transfer *t)
{
    return (struct md5_ctx *)(void *)t->md5;
}

/* Before the bytes of a member, which are the object, comes its header. */
static int64_t before(const struct fe_transfer *t)
{
    return *t->part.shard ? RD_TAR_BLOCK : 0;
}

static int transfer_begin(void *context, int64_t bytes)
{
    struct fe_transfer *t = context;
    int64_t known = (bytes >= 0 ? bytes : t->size) - before(t);

    t->said = bytes;
    if (bytes >= 0 && t->size >= 0 && bytes != t->size)
        return -EMSGSIZE;
    return known > 0 ? fe_cache_promise(&t->store->cache, &t->claim, (uint64_t)known) : 0;
}

/* Keeps the header, and returns how many of the bytes belong to it. */
static size_t take_header(struct fe_transfer *t, const void *bytes, size_t n)
{
    const size_t wanted = (size_t)before(t) - t->header_bytes, taken = n < wanted ? n : wanted;

    if (taken > 0)
        memcpy(t->header + t->header_bytes, bytes, taken);
    t->header_bytes += (uint32_t)taken;
    t->have += (int64_t)taken;
    return taken;
}

static int write_bytes(void *context, const void *bytes, size_t n)
{
    struct fe_transfer *t = context;
    const char *at = bytes;
    size_t head;
    int err = 0;

    if (t->size >= 0 && t->have + (int64_t)n > t->size)
        return -EMSGSIZE;
    head = take_header(t, at, n);
    at += head;
    n -= head;
    /* A server that does not say how much comes gets its room piece by piece. */
    if ((uint64_t)(t->have - before(t)) + n > t->claim.promised && n > 0)
        err = fe_cache_promise(&t->store->cache, &t->claim, ((uint64_t)(t->have - before(t)) + n) * 5 / 4);
    if (err < 0)
        return err;
    IM_FAULT("fetcher.write");
    for (size_t left = n; left > 0;) {
        ssize_t got = pwrite(t->claim.fd, at, left, t->have - before(t));

        if (got < 0 && errno != EINTR)
            return errno == ENOSPC || errno == EDQUOT ? -errno : -EIO;
        if (got > 0) {
            at += got;
            left -= (size_t)got;
            t->have += got;
        }
    }
    if (!*t->part.shard)
        md5_update(sum_of(t), n, bytes);
    return 0;
}

int fe_transfer_start(struct fe_transfer *t)
{
    struct fe_store *s = t->store;
    const bool is_part = *t->part.shard != 0;
    const char *path = is_part ? t->part.shard : t->path;
    char url[FE_URL_BYTES];
    int err = fe_address_url(&s->address, path, url, sizeof url);

    if (err == 0)
        err = fe_cache_claim(
            &s->cache,
            im_hash64(t->path, strlen(t->path), im_hash64(s->address.base, strlen(s->address.base), 0)),
            &t->claim);
    if (err < 0)
        return err;
    fe_listing_find(&s->listing, path, &t->size, t->etag, sizeof t->etag);
    t->shard_bytes = t->size;
    if (is_part)
        t->size = (int64_t)t->part.bytes + RD_TAR_BLOCK;
    t->have = 0;
    t->header_bytes = 0;
    t->said = -1;
    md5_init(sum_of(t));
    err = fe_client_start(s->client, &(struct fe_request){.url = url,
                                                          .etag = t->etag,
                                                          .from = is_part ? t->part.offset - RD_TAR_BLOCK : 0,
                                                          .n = is_part ? t->part.bytes + RD_TAR_BLOCK : 0,
                                                          .sink = {transfer_begin, write_bytes, t},
                                                          .tag = t->tag});
    if (err < 0)
        fe_cache_drop(&s->cache, &t->claim);
    return err;
}

static bool sum_is_right(struct fe_transfer *t, const char *etag)
{
    unsigned char sum[MD5_DIGEST_SIZE];
    char text[2 * sizeof sum + 3];

    md5_digest(sum_of(t), sizeof sum, sum);
    text[0] = '"';
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(text + 1 + 2 * i, 3, "%02x", sum[i]);
    memcpy(text + 1 + 2 * sizeof sum, "\"", 2);
    return strcmp(text, etag) == 0;
}

static int wrong(struct fe_result *result, int err, const char *why)
{
    snprintf(result->why, sizeof result->why, "%s", why);
    return err;
}

static int check_part(const struct fe_transfer *t, struct fe_result *result)
{
    if (t->shard_bytes >= 0 && result->total >= 0 && result->total != t->shard_bytes)
        return wrong(result, -EREMOTEIO, "the shard has another length than when it was listed");
    if (!rd_tar_is_header_of(t->header, t->part.bytes, t->part.mark))
        return wrong(result, -EREMOTEIO,
                     "the shard does not hold it where it was listed (--rebuild-index lists anew)");
    return 0;
}

/* Of an answer that came to its end. */
static int check(struct fe_transfer *t, struct fe_result *result)
{
    if ((t->size >= 0 && t->have != t->size) || (t->said >= 0 && t->have != t->said))
        return wrong(result, -EREMOTEIO, "it has another length than it should");
    if (t->have == before(t))
        return wrong(result, -ENODATA, "it is empty");
    if (t->etag[0] && result->etag[0] && strcmp(t->etag, result->etag) != 0)
        return wrong(result, -ESTALE, "its ETag is another one than when it was listed");
    if (*t->part.shard)
        return check_part(t, result);
    if (t->size < 0 && result->is_page)
        return wrong(result, -EREMOTEIO, "the server gives a page (text/html) in its place");
    if (result->is_md5 && !sum_is_right(t, result->etag))
        return wrong(result, -EREMOTEIO, "its bytes do not have the MD5 sum that its ETag says");
    return 0;
}

int fe_transfer_end(struct fe_transfer *t, struct fe_result *result)
{
    int err = result->err;

    if (err == -EMSGSIZE)
        err = wrong(result, -EREMOTEIO, "it has another length than when it was listed");
    else if (err == -ESTALE)
        err = wrong(result, -ESTALE, "it has changed since it was listed (--rebuild-index lists anew)");
    else if (err == -EFBIG)
        err = wrong(result, -EFBIG, "it is larger than --cache-size");
    if (err == 0)
        err = check(t, result);
    if (err < 0) {
        fe_cache_drop(&t->store->cache, &t->claim);
        return err;
    }
    err = fe_cache_put(&t->store->cache, &t->claim, (uint64_t)(t->have - before(t)), t->store->root_fd,
                       t->path);
    return err < 0 ? wrong(result, err == -EAGAIN ? err : -EIO, strerror(-err)) : 0;
}

void fe_transfer_drop(struct fe_transfer *t)
{
    fe_cache_drop(&t->store->cache, &t->claim);
}
