/* An ONNX file from a stranger: whatever the bytes, they are refused, or what comes out of them is a right
 * safetensors file. */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/converted.h"
#include "trainer/checkpoint/onnx_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct converted c = {NULL, 0};
    const struct tr_sink sink = {&c, converted_keep};
    const struct tr_onnx_data second = {"data.onnx.data", data, size};
    struct im_text text = {""};

    if (size > 1 << 20)
        return 0;
    converted_check(&c, tr_onnx_convert(data, size, &second, &sink, &text), &text);
    return 0;
}
