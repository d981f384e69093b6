/* A file of torch.save() from a stranger: whatever the bytes, they are refused, or what comes out of them is a right
 * safetensors file. */
#include "tests/fuzz/fuzz.h"

#include "tests/fuzz/converted.h"
#include "trainer/checkpoint/torch_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct converted c = {NULL, 0};
    const struct tr_sink sink = {&c, converted_keep};
    struct im_text text = {""};

#if defined(__has_feature)
#if __has_feature(memory_sanitizer)
    if (size > 0 && data[0] == 'P') /* libzip is not instrumented */
        return 0;
#endif
#endif
    if (size > 1 << 20)
        return 0;
    converted_check(&c, tr_torch_convert(data, size, &sink, &text), &text);
    return 0;
}
