#include "ipc/seek_link.h"

#include <assert.h>
#include <string.h>

#include "ipc/base/hash.h"

#define CHECK_SEED UINT64_C(0x626c6f636b)

static_assert(offsetof(struct im_seek_link, check) == 24 && sizeof(struct im_seek_link) <= IM_SEEK_BYTES_MAX,
              "a record of version 1");

static uint32_t blocks_of(uint32_t bytes)
{
    return (bytes + IM_LINK_BLOCK - 1) / IM_LINK_BLOCK;
}

uint64_t im_seek_link_key(const char *root, const char *path)
{
    return im_hash64(path, strlen(path), im_hash64(root, strlen(root), CHECK_SEED));
}

uint32_t im_seek_link_check(const void *bytes, size_t n)
{
    return (uint32_t)im_hash64(bytes, n, CHECK_SEED);
}

size_t im_seek_link_fill(struct im_seek_link *link, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    uint32_t blocks;

    if (n == 0 || n > (size_t)IM_LINK_BLOCKS_MAX * IM_LINK_BLOCK)
        return 0;
    link->bytes = (uint32_t)n;
    blocks = blocks_of(link->bytes);
    for (uint32_t i = 0; i < blocks; i++) {
        const size_t from = (size_t)i * IM_LINK_BLOCK;

        link->check[i] = im_seek_link_check(at + from, n - from < IM_LINK_BLOCK ? n - from : IM_LINK_BLOCK);
    }
    return offsetof(struct im_seek_link, check) + blocks * sizeof link->check[0];
}

int im_seek_link_find(struct im_seek_file *file, uint64_t key, struct im_seek_link *ret)
{
    const int n = im_seek_find(file, key, ret, sizeof *ret);

    if (n <= 0)
        return n;
    if ((size_t)n <= offsetof(struct im_seek_link, check) || ret->bytes == 0 || ret->scan >= ret->bytes ||
        ret->bytes > IM_LINK_BLOCKS_MAX * IM_LINK_BLOCK ||
        (size_t)n != offsetof(struct im_seek_link, check) + blocks_of(ret->bytes) * sizeof ret->check[0])
        return 0;
    return n;
}

bool im_seek_link_agrees(const struct im_seek_link *link, const unsigned char *bytes, uint32_t from,
                         uint32_t to)
{
    if (to > link->bytes || from % IM_LINK_BLOCK != 0 || (to % IM_LINK_BLOCK != 0 && to != link->bytes))
        return false;
    for (uint32_t at = from; at < to; at += IM_LINK_BLOCK) {
        const uint32_t n = to - at < IM_LINK_BLOCK ? to - at : IM_LINK_BLOCK;

        if (im_seek_link_check(bytes + at, n) != link->check[at / IM_LINK_BLOCK])
            return false;
    }
    return true;
}
