/* Header, images, members left out, strings. Each number is checked against the file: what was cut or written by others
 * must not lead outside of it. */
#include "reader/dataset/shard_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC UINT64_C(0x646872736d69) /* "imsrhd" in a little-endian file */
#define VERSION 3
#define ENDIAN 0x01020304u

struct header {
    uint64_t magic;
    uint32_t version, endian;
    uint64_t file_bytes, string_bytes;
    uint32_t count, skipped_count;
    uint32_t has_labels, is_damaged;
    uint32_t cut, why; /* strings */
    struct rd_shard_object object;
};

static size_t size_of(uint64_t count, uint64_t skipped_count, uint64_t string_bytes)
{
    return sizeof(struct header) + count * sizeof(struct rd_shard_image) +
           skipped_count * sizeof(struct rd_shard_skipped) + string_bytes;
}

static char *shard_table_put(char *at, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(at, bytes, n);
    return at + n;
}

int rd_shard_table_make(const struct rd_shard *shard, const struct rd_shard_object *object, void **ret_bytes,
                        size_t *ret_n)
{
    /* Behind those of the scan, which may have none: "", why it is cut, why it is damaged. */
    const uint64_t cut = shard->strings.used + 1, why = cut + strlen(shard->cut.s) + 1,
                   strings = why + strlen(shard->why.s) + 1;
    const size_t n = size_of(shard->count, shard->skipped_count, strings);
    struct header header = {.magic = MAGIC,
                            .version = VERSION,
                            .endian = ENDIAN,
                            .file_bytes = n,
                            .string_bytes = strings,
                            .count = shard->count,
                            .skipped_count = shard->skipped_count,
                            .has_labels = shard->has_labels,
                            .is_damaged = shard->err < 0,
                            .cut = (uint32_t)cut,
                            .why = (uint32_t)why,
                            .object = *object};
    char *bytes, *at;

    if (n > RD_SHARD_TABLE_MAX || strings > UINT32_MAX)
        return -EFBIG;
    bytes = calloc(1, n);
    if (!bytes)
        return -ENOMEM;
    at = shard_table_put(bytes, &header, sizeof header);
    at = shard_table_put(at, shard->images, shard->count * sizeof *shard->images);
    at = shard_table_put(at, shard->skipped, shard->skipped_count * sizeof *shard->skipped);
    at = shard_table_put(at, shard->strings.bytes, shard->strings.used);
    at = shard_table_put(at, "", 1);
    at = shard_table_put(at, shard->cut.s, strlen(shard->cut.s) + 1);
    shard_table_put(at, shard->why.s, strlen(shard->why.s) + 1);
    *ret_bytes = bytes;
    *ret_n = n;
    return 0;
}

static const char *check_header(const struct header *header, size_t n)
{
    if (header->magic != MAGIC || header->version != VERSION || header->endian != ENDIAN)
        return "it is none of this version and machine";
    if (header->file_bytes != n || header->string_bytes > n ||
        size_of(header->count, header->skipped_count, header->string_bytes) != n)
        return "it is cut short or too long";
    if (header->object.etag[sizeof header->object.etag - 1] || header->object.bytes > INT64_MAX)
        return "what it says of its object is damaged";
    return NULL;
}

/* With the last byte NUL every offset inside names a string that ends inside. */
static const char *check_content(const struct rd_shard *shard, const struct header *header)
{
    const uint64_t strings = header->string_bytes;
    bool bad = header->cut >= strings || header->why >= strings;

    if (strings == 0 || shard->strings.bytes[0] || shard->strings.bytes[strings - 1])
        return "its strings do not end";
    for (uint32_t i = 0; i < shard->count; i++) {
        const struct rd_shard_image *image = &shard->images[i];

        bad |= image->member >= strings || image->file >= strings || image->label >= strings ||
               image->offset < RD_TAR_BLOCK || image->offset > header->object.bytes ||
               image->bytes > header->object.bytes - image->offset || image->number < RD_NO_NUMBER;
    }
    for (uint32_t i = 0; i < shard->skipped_count; i++)
        bad |= shard->skipped[i].name >= strings || shard->skipped[i].note >= strings ||
               shard->skipped[i].kind >= RD_SKIP_KINDS;
    return bad ? "it refers to what it does not hold" : NULL;
}

/* A copy of items; one byte more than nothing, so that NULL says that there is no memory. */
static void *copy(const char *from, size_t n)
{
    void *to = malloc(n + 1);

    if (to && n > 0)
        memcpy(to, from, n);
    return to;
}

int rd_shard_table_take(const void *bytes, size_t n, struct rd_shard *shard,
                        struct rd_shard_object *ret_object, struct im_text *text)
{
    struct header header;
    const char *at = (const char *)bytes + sizeof header, *wrong;

    if (n < sizeof header)
        return im_fail(text, -EBADMSG, "it is no table of a shard");
    memcpy(&header, bytes, sizeof header);
    wrong = check_header(&header, n);
    if (wrong)
        return im_fail(text, -EBADMSG, "the table of the shard cannot be used: %s", wrong);
    shard->count = header.count;
    shard->skipped_count = header.skipped_count;
    shard->images = copy(at, header.count * sizeof *shard->images);
    at += header.count * sizeof *shard->images;
    shard->skipped = copy(at, header.skipped_count * sizeof *shard->skipped);
    at += header.skipped_count * sizeof *shard->skipped;
    shard->strings = (struct rd_names){
        .bytes = copy(at, header.string_bytes), .used = header.string_bytes, .capacity = header.string_bytes};
    if (!shard->images || !shard->skipped || !shard->strings.bytes) {
        rd_shard_fini(shard);
        return -ENOMEM;
    }
    wrong = check_content(shard, &header);
    if (wrong) {
        rd_shard_fini(shard);
        shard->count = shard->skipped_count = 0;
        return im_fail(text, -EBADMSG, "the table of the shard cannot be used: %s", wrong);
    }
    shard->has_labels = header.has_labels != 0;
    shard->err = header.is_damaged ? -EBADMSG : 0;
    snprintf(shard->cut.s, sizeof shard->cut.s, "%s", rd_shard_string(shard, header.cut));
    snprintf(shard->why.s, sizeof shard->why.s, "%s", rd_shard_string(shard, header.why));
    if (ret_object)
        *ret_object = header.object;
    return 0;
}
