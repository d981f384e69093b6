/* Seals checkpoint files. Two levels: the CRC of each tensor tells which one is damaged, the hash over
 * everything else (names, types, shapes, metadata and those CRCs) covers every bit of the header. The hash
 * also identifies the content: see "state" in checkpoint.h. */
#include "trainer/checkpoint/seal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/crc32c.h"
#include "ipc/base/err.h"
#include "ipc/base/hash.h"

enum { CRC_CHARS = 9 }; /* of one entry of the list: eight digits and a blank */

/* Hashes text with its NUL, so that different lists of texts never hash the same bytes. */
static void add_text(struct im_hash *h, const char *s)
{
    im_hash_add(h, s, strlen(s) + 1);
}

static void add_tensor(struct im_hash *h, const struct tr_tensor *t, uint32_t crc)
{
    uint64_t rank = (uint64_t)t->rank;

    add_text(h, t->name);
    add_text(h, tr_dtype_name(t->dtype));
    im_hash_add(h, &rank, sizeof rank);
    im_hash_add(h, t->shape, sizeof t->shape[0] * (size_t)t->rank);
    im_hash_add(h, &crc, sizeof crc);
}

int tr_seal_make(const struct tr_tensor *const *tensors, size_t count, const struct tr_pair *metadata,
                 size_t metadata_count, struct tr_seal *ret_seal)
{
    struct im_hash *h = im_hash_new(0);
    char *crcs = malloc(count * CRC_CHARS + 1);

    if (!h || !crcs) {
        im_hash_free(&h);
        free(crcs);
        return -ENOMEM;
    }
    crcs[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        size_t bytes = 0;
        uint32_t crc;

        im_assert(tr_tensor_bytes(tensors[i], &bytes) == 0);
        crc = bytes ? im_crc32c(0, tensors[i]->data, bytes) : 0;
        snprintf(crcs + i * CRC_CHARS, CRC_CHARS + 1, i + 1 < count ? "%08" PRIx32 " " : "%08" PRIx32, crc);
        add_tensor(h, tensors[i], crc);
    }
    for (size_t i = 0; i < metadata_count; i++) {
        add_text(h, metadata[i].key);
        add_text(h, metadata[i].value);
    }
    snprintf(ret_seal->checksum, sizeof ret_seal->checksum, "%016" PRIx64, im_hash_value(h));
    ret_seal->crcs = crcs;
    im_hash_free(&h);
    return 0;
}

/* Names the tensor that differs from the list in the file; the list's length was checked. */
static int name_damage(const char *path, const struct tr_safetensors *file, const char *want, const char *got,
                       struct im_text *text)
{
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        if (memcmp(want + i * CRC_CHARS, got + i * CRC_CHARS, CRC_CHARS - 1) != 0)
            return im_fail(text, -EBADMSG,
                           "%s is damaged: the bytes of tensor \"%.200s\" have crc32c %.8s, not %.8s", path,
                           tr_safetensors_at(file, i)->name, got + i * CRC_CHARS, want + i * CRC_CHARS);
    }
    return im_fail(text, -EBADMSG, "%s is damaged: its list of checksums is malformed", path);
}

static int compare_crcs(const char *path, const struct tr_safetensors *file, const struct tr_seal *got,
                        struct im_text *text)
{
    const char *crcs = tr_safetensors_metadata(file, TR_SEAL_CRC_KEY);
    const char *checksum = tr_safetensors_metadata(file, TR_SEAL_CHECKSUM_KEY);

    if (strlen(crcs) != strlen(got->crcs))
        return im_fail(text, -EBADMSG, "%s is damaged: the number of checksums is not the number of tensors",
                       path);
    if (strcmp(crcs, got->crcs) != 0)
        return name_damage(path, file, crcs, got->crcs, text);
    if (strcmp(checksum, got->checksum) != 0)
        return im_fail(text, -EBADMSG, "%s is damaged: its header has checksum %s, not %.16s", path,
                       got->checksum, checksum);
    return 0;
}

int tr_seal_verify(const char *path, const struct tr_safetensors *file, struct im_text *text)
{
    size_t count = tr_safetensors_count(file), pairs = tr_safetensors_metadata_count(file), used = 0;
    const struct tr_tensor **tensors = malloc((count + 1) * sizeof *tensors);
    struct tr_pair *metadata = malloc((pairs + 1) * sizeof *metadata);
    struct tr_seal seal = {NULL, ""};
    int err = tensors && metadata ? 0 : -ENOMEM;

    if (err == 0 && (!tr_safetensors_metadata(file, TR_SEAL_CRC_KEY) ||
                     !tr_safetensors_metadata(file, TR_SEAL_CHECKSUM_KEY))) {
        err = im_fail(text, -EBADMSG, "%s is not an imsuper checkpoint: it has no checksums", path);
        goto out;
    }
    for (size_t i = 0; i < count && err == 0; i++)
        tensors[i] = tr_safetensors_at(file, i);
    for (size_t i = 0; i < pairs && err == 0; i++) {
        struct tr_pair pair = tr_safetensors_metadata_at(file, i);

        if (strcmp(pair.key, TR_SEAL_CRC_KEY) != 0 && strcmp(pair.key, TR_SEAL_CHECKSUM_KEY) != 0)
            metadata[used++] = pair;
    }
    if (err == 0)
        err = tr_seal_make(tensors, count, metadata, used, &seal);
    if (err == 0)
        err = compare_crcs(path, file, &seal, text);
    else
        im_fail(text, err, "cannot verify %s: out of memory", path);
out:
    free(tensors);
    free(metadata);
    free(seal.crcs);
    return err;
}
