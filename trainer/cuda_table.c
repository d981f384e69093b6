/* What imsuper-cuda.so exports. The one symbol of the module that others see. */
#include "trainer/cuda_module.h"

#include <stddef.h>

#include "trainer/backend.h"
#include "trainer/cuda_device.h"

extern const struct tr_cuda_table tr_cuda_table;

__attribute__((visibility("default"))) const struct tr_cuda_table tr_cuda_table = {
    .version = TR_CUDA_VERSION,
    .build = IMSUPER_BUILD_ID,
    .gpu_count = tr_gpu_count,
#ifdef IMSUPER_CUDA_BACKEND
    .backend = &im_backend_cuda,
#endif
};
