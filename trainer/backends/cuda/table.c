/* The one symbol that imsuper-cuda.so exports. */
#include "trainer/backends/cuda/module.h"

#include <stddef.h>

#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/libraries.h"
#include "trainer/comm/comm.h"

extern const struct tr_cuda_table tr_cuda_table;

__attribute__((visibility("default"))) const struct tr_cuda_table tr_cuda_table = {
    .version = TR_CUDA_VERSION,
    .build = IMSUPER_BUILD_ID,
    .gpu_count = tr_gpu_count,
    .gpu_query = tr_gpu_query,
    .libraries = tr_cuda_libraries,
    .range_push = tr_gpu_range_push,
    .range_pop = tr_gpu_range_pop,
#ifdef IMSUPER_NCCL
    .comm = &tr_comm_nccl,
#endif
    .backend = &tr_backend_cuda,
};
