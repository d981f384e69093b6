/* Names and sizes of GPU element types. Built on every machine. */
#include "trainer/backends/cuda/device.h"

size_t tr_gpu_type_bytes(enum tr_gpu_type type)
{
    return type == TR_GPU_F32 ? 4 : 2;
}

const char *tr_gpu_type_name(enum tr_gpu_type type)
{
    static const char *const names[TR_GPU_TYPES] = {
        [TR_GPU_F32] = "fp32", [TR_GPU_BF16] = "bf16", [TR_GPU_F16] = "fp16"};

    return names[type];
}
