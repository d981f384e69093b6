/* Names and sizes of GPU element types. Built on every machine. */
#include "trainer/backends/cuda/device.h"

const char *tr_gpu_dtype_name(enum imk_dtype type)
{
    static const char *const names[IMK_DTYPES] = {
        [IMK_F32] = "fp32", [IMK_BF16] = "bf16", [IMK_F16] = "fp16"};

    return names[type];
}
