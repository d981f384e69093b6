#include "ipc/seek_link.h"

#include <assert.h>
#include <string.h>

#include "ipc/base/hash.h"

#define CHECK_SEED UINT64_C(0x626c6f636b)

static_assert(offsetof(struct im_seek_link, check) == 28 && sizeof(struct im_seek_link) <= IM_SEEK_BYTES_MAX,
              "a record of version 1");

static uint32_t blocks_of(const struct im_seek_link *link)
{
    return (link->bytes + link->phase + IM_LINK_BLOCK - 1) / IM_LINK_BLOCK;
}

/* The end of the block that begins at `from`. */
static uint32_t block_end(const struct im_seek_link *link, uint32_t from)
{
    const uint32_t end = im_seek_link_up(link->phase, from + 1);

    return end < link->bytes ? end : link->bytes;
}

uint64_t im_seek_link_key(const char *path, uint64_t offset)
{
    return im_hash64(path, strlen(path), CHECK_SEED + offset);
}

uint32_t im_seek_link_check(const void *bytes, size_t n)
{
    return (uint32_t)im_hash64(bytes, n, CHECK_SEED);
}

size_t im_seek_link_fill(struct im_seek_link *link, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint32_t block = 0;

    if (n == 0 || link->phase >= IM_LINK_BLOCK ||
        n > (size_t)IM_LINK_BLOCKS_MAX * IM_LINK_BLOCK - link->phase)
        return 0;
    link->bytes = (uint32_t)n;
    for (uint32_t from = 0, end; from < link->bytes; from = end) {
        end = block_end(link, from);
        link->check[block++] = im_seek_link_check(at + from, end - from);
    }
    return offsetof(struct im_seek_link, check) + block * sizeof link->check[0];
}

int im_seek_link_find(struct im_seek_file *file, uint64_t key, struct im_seek_link *ret)
{
    const int n = im_seek_find(file, key, ret, sizeof *ret);

    if (n <= 0)
        return n;
    if ((size_t)n <= offsetof(struct im_seek_link, check) || ret->bytes == 0 || ret->scan >= ret->bytes ||
        ret->phase >= IM_LINK_BLOCK || ret->bytes > IM_LINK_BLOCKS_MAX * IM_LINK_BLOCK - ret->phase ||
        (size_t)n != offsetof(struct im_seek_link, check) + blocks_of(ret) * sizeof ret->check[0])
        return 0;
    return n;
}

bool im_seek_link_agrees(const struct im_seek_link *link, const unsigned char *bytes, uint32_t from,
                         uint32_t to)
{
    if (to > link->bytes || from != im_seek_link_down(link->phase, from) ||
        (to != im_seek_link_down(link->phase, to) && to != link->bytes))
        return false;
    for (uint32_t end; from < to; from = end) {
        end = block_end(link, from);
        if (im_seek_link_check(bytes, end - from) != link->check[(from + link->phase) / IM_LINK_BLOCK])
            return false;
        bytes += end - from;
    }
    return true;
}

bool im_seek_link_proves(struct im_seek_file *file, const struct im_seek_parts *parts,
                         struct im_seek_link *link)
{
    return im_seek_link_find(file, parts->link, link) > 0 && link->image == parts->image &&
           link->bytes == parts->bytes && link->phase == parts->phase &&
           im_seek_link_agrees(link, parts->first, 0, parts->head) &&
           im_seek_link_agrees(link, parts->second, parts->from, parts->to);
}
