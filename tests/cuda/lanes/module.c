/* imsuper-cuda.so for a machine without a GPU: the real backend over the host's GPU. */
#include <errno.h>
#include <stddef.h>

#include "tests/cuda/lanes/host.h"
#include "trainer/backends/backend.h"
#include "trainer/backends/cuda/device.h"
#include "trainer/backends/cuda/module.h"
#include "trainer/comm/comm.h"

extern const struct tr_cuda_table tr_cuda_table;

__attribute__((visibility("default"))) const struct tr_cuda_table tr_cuda_table = {
    .version = TR_CUDA_VERSION,
    .build = IMSUPER_BUILD_ID,
    .gpu_count = tr_gpu_count,
    .gpu_query = tr_gpu_query,
    .range_push = tr_gpu_range_push,
    .range_pop = tr_gpu_range_pop,
    .backend = &tr_backend_cuda,
    .comm = &host_gpu_comm,
};
