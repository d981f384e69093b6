/* Shared objects that are not imsuper's CUDA module, or not of this build. */
#include <stddef.h>

#include "trainer/backends/cuda/module.h"

size_t cudnnGetVersion(void);
int other_module(void);

int other_module(void)
{
#ifdef NEEDS_CUDNN
    return (int)cudnnGetVersion();
#else
    return 0;
#endif
}

#ifdef OTHER_BUILD
extern const struct tr_cuda_table tr_cuda_table;
const struct tr_cuda_table tr_cuda_table = {.version = TR_CUDA_VERSION, .build = "0.0.0 of another day"};
#endif
