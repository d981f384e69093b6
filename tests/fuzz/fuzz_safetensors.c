/* Weights from a stranger: whatever the bytes, the reader refuses them or every tensor it shows can
 * be read whole. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include "ipc/base/crc32c.h"
#include "ipc/base/err.h"
#include "trainer/checkpoint/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tr_safetensors *file = NULL;
    struct im_text text = {""};
    size_t total = 0;

    if (tr_safetensors_parse("input", data, size, &file, &text) < 0) {
        im_assert(text.s[0] != '\0' && !file);
        return 0;
    }
    for (size_t i = 0; i < tr_safetensors_count(file); i++) {
        const struct tr_tensor *t = tr_safetensors_at(file, i);
        size_t bytes;

        im_assert(tr_tensor_bytes(t, &bytes) == 0);
        im_assert(tr_safetensors_find(file, t->name) == t);
        /* Touches the first and last byte, which is where a wrong bound would show. */
        if (bytes)
            (void)im_crc32c(im_crc32c(0, t->data, 1), (const char *)t->data + bytes - 1, 1);
        total += bytes;
    }
    im_assert(total <= size);
    for (size_t i = 0; i < tr_safetensors_metadata_count(file); i++)
        im_assert(tr_safetensors_metadata(file, tr_safetensors_metadata_at(file, i).key) != NULL);
    tr_safetensors_close(&file);
    return 0;
}
