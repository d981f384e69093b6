/* Any bytes as the devkit's meta.mat: refused with a sentence, or names of numbers. What is
 * packed by zlib is hard to reach by chance, so that the same bytes are tried behind a header of ours as well. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "reader/dataset/mat.h"

static void read_one(const uint8_t *bytes, size_t n)
{
    struct rd_numbering numbering = {.count = 0};
    struct im_text text = {""};
    int err = rd_mat_read(bytes, n, "a file", &numbering, &text);
    uint32_t named = 0;

    im_assert(err == 0 || err == -ENOMEM || (err == -EBADMSG && text.s[0]));
    for (uint64_t i = 0; err == 0 && i < numbering.count; i++) {
        const char *name = rd_numbering_name(&numbering, i);

        im_assert(!name || (strlen(name) > 0 && strlen(name) < 256));
        named += name != NULL;
    }
    im_assert(err < 0 || (named > 0 && numbering.count <= RD_NUMBERS_MAX + 1));
    im_assert(err == 0 || numbering.count == 0);
    rd_numbering_fini(&numbering);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
    uint8_t *behind = calloc(n + 128, 1);

    im_assert(behind != NULL);
    read_one(bytes, n);
    memcpy(behind + 126, "IM", 2);
    memcpy(behind + 128, bytes, n);
    read_one(behind, n + 128);
    free(behind);
    return 0;
}
