/* The seek index of an image, the true one and wrong ones, and packed bytes from a stranger.
 *
 * With the true index any box of any file has the pixels that libjpeg-turbo's decoder gives; with a wrong one
 * it has the same verdict, and nothing is read or written that is not ours. (That wrong indexes change no pixel
 * is the checksum's work, in ipc/seek_file.h; of one that is made on purpose the decoder alone cannot know.)
 *
 * The first four bytes choose the box, the fifth how many points are changed, ten bytes each; the rest is the
 * file. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "augment/decode/decode.h"
#include "ipc/base/err.h"

enum { BOX_BYTES = 4, CHANGE_BYTES = 10, CHANGES_MAX = 8, ZEROS = 65536 };

static struct au_decoder *new_decoder(bool use_library)
{
    const struct au_limits limits = {
        .side_max = 4096, .pixels_max = 1 << 18, .scans_max = 16, .memory_max = (size_t)32 << 20};
    struct au_decoder *decoder;

    if (au_decoder_new(&decoder, &limits) < 0)
        abort();
    au_decoder_use_library(decoder, use_library);
    return decoder;
}

/* Part of one axis: from `from` 256ths on, `share` 256ths of what is left. */
static void cut(uint32_t size, uint8_t from, uint8_t share, uint32_t *ret_at, uint32_t *ret_size)
{
    *ret_at = size * from / 256;
    *ret_size = 1 + (size - *ret_at - 1) * share / 255;
}

struct file {
    uint8_t choice[BOX_BYTES];
    unsigned char *bytes;
    size_t n;
    struct imk_box box;
};

static int decode(struct au_decoder *decoder, enum au_seek_mode mode, struct file *file,
                  struct au_pixels *ret)
{
    struct im_text text = {""};
    struct au_image image;
    int result;

    au_decoder_seek_mode(decoder, mode);
    result = au_decoder_open(decoder, file->bytes, file->n, &image, &text);
    if (result == 0) {
        cut(image.width, file->choice[0], file->choice[1], &file->box.x, &file->box.w);
        cut(image.height, file->choice[2], file->choice[3], &file->box.y, &file->box.h);
        result = au_decoder_region(decoder, &file->box, ret, &text);
    }
    im_assert(result >= 0 && result < IM_VERDICT_COUNT);
    im_assert(result == 0 || text.s[0] != '\0');
    return result;
}

static void assert_same(const struct file *file, const struct au_pixels *a, const struct au_pixels *b)
{
    for (uint32_t y = 0; y < file->box.h; y++)
        im_assert(memcmp(a->data + y * a->stride, b->data + y * b->stride, (size_t)3 * file->box.w) == 0);
}

static void change(struct au_seek_point *points, uint32_t count, const uint8_t *how)
{
    struct au_seek_point *point = &points[((uint32_t)how[0] << 8 | how[1]) % count];
    uint32_t value;

    memcpy(&value, how + 4, sizeof value);
    if (how[2] % 5 == 0)
        point->bit = (uint64_t)value << (how[3] & 31);
    else if (how[2] % 5 == 1)
        point->bit += value % 256 - 128;
    else if (how[2] % 5 == 2)
        point->dc[how[3] % AU_SEEK_COMPONENTS] = (int32_t)value;
    else if (how[2] % 5 == 3)
        point->dc[how[3] % AU_SEEK_COMPONENTS] ^= (int32_t)(1u << (value & 31));
    else
        *point = points[value % count];
}

/* Packs and unpacks the index. It fits, for all of its points have been decoded from this file. */
static void pass_through_bytes(struct au_seek *seek)
{
    unsigned char *bytes = malloc(AU_SEEK_BYTES_MAX);
    uint32_t count = seek->count;
    size_t n;

    if (!bytes)
        abort();
    n = au_seek_pack(seek, bytes, AU_SEEK_BYTES_MAX);
    if (n > 0) {
        im_assert(au_seek_unpack(seek, bytes, n));
        im_assert(seek->count == count);
    }
    free(bytes);
}

/* Decodes the box from the header and what the index says that it needs, the rest wiped. Either the pixels are those of the
 * whole file, or more of it is wanted. */
static void with_parts(struct au_decoder *own, const struct file *file, const struct au_pixels *expected)
{
    const struct au_scan_shape shape = au_decoder_scan(own);
    struct imk_box box = file->box;
    struct au_pixels pixels;
    struct au_image image;
    unsigned char *parts;
    uint64_t from, to;

    if (!au_seek_extent(au_decoder_seek(own), &shape, &box, &from, &to) || to > file->n + 1)
        return;
    to = to < file->n ? to : file->n;
    parts = calloc(1, file->n);
    if (!parts)
        abort();
    memcpy(parts, file->bytes, shape.at);
    memcpy(parts + from, file->bytes + from, to - from);
    au_decoder_seek_parts(own, (size_t)from, (size_t)to);
    if (au_decoder_open(own, parts, file->n, &image, NULL) == 0) {
        const int result = au_decoder_region(own, &box, &pixels, NULL);

        im_assert(result == 0 || result == -ENODATA || !expected);
        if (result == 0 && expected)
            assert_same(file, &pixels, expected);
    }
    free(parts);
}

static void with_index(struct au_decoder *own, struct file *file, const struct au_pixels *expected,
                       int verdict, const uint8_t *changes, int count)
{
    struct au_seek *seek = au_decoder_seek(own);
    struct au_pixels pixels;

    pass_through_bytes(seek);
    im_assert(decode(own, AU_SEEK_USE, file, &pixels) == verdict);
    im_assert(au_decoder_seek_result(own) == AU_SEEK_USED);
    assert_same(file, &pixels, expected);
    with_parts(own, file, expected);
    for (int i = 0; i < count; i++)
        change(seek->points, seek->count, changes + i * CHANGE_BYTES);
    im_assert(decode(own, AU_SEEK_USE, file, &pixels) == verdict);
    with_parts(own, file, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct au_decoder *own, *library;
    struct au_pixels a, b;
    struct file file;
    int changes, verdict;
    size_t head;

    if (n < BOX_BYTES + 1)
        return 0;
    changes = data[BOX_BYTES] % (CHANGES_MAX + 1);
    head = BOX_BYTES + 1 + (size_t)changes * CHANGE_BYTES;
    if (n < head + 2 || data[head] != 0xff || data[head + 1] != 0xd8)
        return 0;
    own = new_decoder(false);
    library = new_decoder(true);
    /* Behind the image stands what makes it worth an index, however small it is. */
    file = (struct file){.bytes = calloc(1, n - head + ZEROS), .n = n - head + ZEROS};
    if (!file.bytes)
        abort();
    memcpy(file.choice, data, BOX_BYTES);
    memcpy(file.bytes, data + head, n - head);
    verdict = decode(own, AU_SEEK_RECORD, &file, &a);
    im_assert(decode(library, AU_SEEK_OFF, &file, &b) == verdict);
    if (verdict == 0) {
        assert_same(&file, &a, &b);
        if (au_decoder_seek_finish(own))
            with_index(own, &file, &b, verdict, data + BOX_BYTES + 1, changes);
        else if (au_seek_unpack(au_decoder_seek(own), data + 1, n - 1))
            im_assert(decode(own, AU_SEEK_USE, &file, &a) == verdict);
    }
    au_seek_unpack(au_decoder_seek(own), data, n);
    free(file.bytes);
    au_decoder_free(&own);
    au_decoder_free(&library);
    return 0;
}
