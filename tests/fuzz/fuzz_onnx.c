/* An ONNX file from a stranger: whatever the bytes, they are refused, or what comes out of them is a right
 * safetensors file. */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/base/err.h"
#include "trainer/checkpoint/onnx_file.h"

struct memory {
    char *bytes;
    size_t n;
};

static int keep(void *context, const void *bytes, size_t n, struct im_text *text)
{
    struct memory *m = context;
    char *grown = realloc(m->bytes, m->n + n + 1);

    (void)text;
    im_assert(grown != NULL);
    memcpy(grown + m->n, bytes, n);
    m->bytes = grown;
    m->n += n;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory m = {NULL, 0};
    const struct tr_sink sink = {&m, keep};
    struct tr_safetensors *file = NULL;
    const struct tr_onnx_data second = {"data.onnx.data", data, size};
    struct im_text text = {""};

    if (size > 1 << 20)
        return 0;
    if (tr_onnx_convert(data, size, &second, &sink, &text) < 0)
        im_assert(text.s[0] != '\0');
    else
        im_assert(tr_safetensors_parse("answer", m.bytes, m.n, &file, &text) == 0);
    tr_safetensors_close(&file);
    free(m.bytes);
    return 0;
}
