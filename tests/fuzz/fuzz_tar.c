/* Any bytes as a shard: refused with a sentence, or its samples are members that lie inside of it; and its table. The checksums of headers
 * are put right first in half of the tries, as chance would never get past them. */
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reader/dataset/shard_table.h"

struct input {
    const unsigned char *bytes;
    size_t n;
};

static int64_t read_at(void *context, uint64_t offset, void *buffer, size_t n)
{
    const struct input *input = context;
    const size_t left = offset < input->n ? input->n - (size_t)offset : 0;

    n = n < left ? n : left;
    if (n > 0)
        memcpy(buffer, input->bytes + offset, n);
    return (int64_t)n;
}

/* At every block that is not empty, for a header may be in each. */
static void put_checksums_right(unsigned char *bytes, size_t n)
{
    for (size_t at = 0; at + RD_TAR_BLOCK <= n; at += RD_TAR_BLOCK) {
        unsigned char *block = bytes + at;
        char digits[8];
        unsigned sum = 0;

        if (memcmp(block + 257, "ustar", 5) != 0)
            continue;
        memset(block + 148, ' ', 8);
        for (int i = 0; i < RD_TAR_BLOCK; i++)
            sum += block[i];
        snprintf(digits, sizeof digits, "%06o", sum);
        memcpy(block + 148, digits, 7);
    }
}

static void must_be_inside(const struct rd_shard *shard, uint64_t n)
{
    for (uint32_t i = 0; i < shard->count; i++) {
        const struct rd_shard_image *image = &shard->images[i];

        if (image->offset > n || image->bytes > n - image->offset ||
            strlen(rd_shard_string(shard, image->member)) + strlen(rd_shard_string(shard, image->file)) +
                    strlen(rd_shard_string(shard, image->label)) >
                shard->strings.used)
            abort();
    }
    for (uint32_t i = 0; i < shard->skipped_count; i++)
        if (strlen(rd_shard_string(shard, shard->skipped[i].name)) > shard->strings.used)
            abort();
}

/* The table of a shard is the shard again; with some of its bytes changed it is refused, or leads nowhere outside. */
static void fuzz_table(const struct rd_shard *shard, const unsigned char *bytes, size_t n)
{
    struct rd_shard_object object = {.bytes = n, .etag = "\"x\""}, now;
    struct rd_shard copy = {.path = "fuzz.tar"};
    struct im_text text;
    unsigned char *table;
    void *made;
    size_t table_n;

    if (rd_shard_table_make(shard, &object, &made, &table_n) < 0)
        abort();
    table = made;
    if (rd_shard_table_take(table, table_n, &copy, &now, &text) < 0 || copy.count != shard->count ||
        copy.skipped_count != shard->skipped_count || now.bytes != n || strcmp(now.etag, object.etag) != 0 ||
        strcmp(copy.cut.s, shard->cut.s) != 0)
        abort();
    must_be_inside(&copy, n);
    rd_shard_fini(&copy);
    for (size_t i = 0; i + 3 <= n && i < 96; i += 3)
        table[(bytes[i] | (size_t)bytes[i + 1] << 8) % table_n] = bytes[i + 2];
    copy = (struct rd_shard){.path = "fuzz.tar"};
    if (rd_shard_table_take(table, table_n, &copy, &now, &text) == 0)
        must_be_inside(&copy, now.bytes);
    rd_shard_fini(&copy);
    free(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1); /* of exactly n bytes, for the sanitizer */
    struct rd_tar *tar = calloc(1, sizeof *tar);
    struct input input = {copy, n};
    struct rd_shard shard = {.path = "fuzz.tar"};

    if (!copy || !tar)
        abort();
    if (n > 0)
        memcpy(copy, bytes, n);
    if (n > 0 && bytes[n / 2] % 2 == 0)
        put_checksums_right(copy, n);
    tar->read = read_at;
    tar->context = &input;
    tar->bytes = n;
    if (rd_shard_read(tar, &shard) == 0) {
        uint64_t before = 0;

        for (uint32_t i = 0; i < shard.count; i++) {
            const struct rd_shard_image *image = &shard.images[i];

            if (image->offset < before || image->offset > n || image->bytes > n - image->offset ||
                strlen(rd_shard_string(&shard, image->member)) == 0)
                abort();
            before = image->offset;
        }
        fuzz_table(&shard, bytes, n);
    }
    rd_tar_fini(tar);
    rd_shard_fini(&shard);
    free(tar);
    free(copy);
    return 0;
}
