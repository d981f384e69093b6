/* A libnccl.so.2 from before 2.14: it has communicators that block, and no others. */
#include "tests/cuda/nccl/nccl.h"

ncclResult_t ncclGetVersion(int *version)
{
    *version = 2804;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    (void)id;
    return ncclSystemError;
}
